"""A server that lies, stalls, floods or sends rubbish: one video each, in one shard with healthy ones, all at once."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.standin import Catalog, Fault, Standin, Trouble, Video, Where
from tests.support.loopback import Project, make_rows
from tests.support.running import Worker, descendants_of

HEALTHY = 50
TIMEOUT = 12
SOCKET_TIMEOUT = 5
MEMORY = 700 << 20

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hostile")]  # one run for all, of a minute

MEDIA = {
    Trouble.SERVER_ERROR: "http_error",
    Trouble.FORBIDDEN: "media_forbidden",
    Trouble.RESET: "network",
    Trouble.STALL: "timeout",
    Trouble.SLOW: "timeout",
    Trouble.HTML: "http_error",
    Trouble.GARBAGE: "decode_error",
    Trouble.EMPTY: "truncated",
    Trouble.TRUNCATE: "truncated",
    Trouble.REDIRECT_LOOP: "http_error",
    Trouble.ENDLESS: "decode_error",
    Trouble.NO_SOUND: "decode_error",
    Trouble.SHORTER_VIDEO: "decode_error",
    Trouble.HUGE_HEADER: "ok",  # of one of the two files; the other can be read in spite of it
    Trouble.WRONG_LENGTH: "ok",
    Trouble.IGNORE_RANGE: "ok",
    Trouble.HUGE_LENGTH: "ok",
}
"""What each comes to when the media answer so: the reason, or `ok` where the lie does no harm."""

PLAYER = {
    Trouble.SERVER_ERROR: "http_error",
    Trouble.FORBIDDEN: "http_error",
    Trouble.RESET: "network",
    Trouble.STALL: "timeout",
    Trouble.SLOW: "timeout",
    Trouble.HTML: "http_error",
    Trouble.GARBAGE: "http_error",
    Trouble.EMPTY: "http_error",
    Trouble.TRUNCATE: "network",
    Trouble.WRONG_LENGTH: "network",
    Trouble.REDIRECT_LOOP: "http_error",
    Trouble.ENDLESS: "http_error",
    Trouble.HUGE_LENGTH: "timeout",
}
"""The same for the answer to a resolve."""

RECOVERS = (
    Fault(Trouble.FORBIDDEN, first=1),
    Fault(Trouble.SERVER_ERROR, first=2),
    Fault(Trouble.RESET, first=1, after_bytes=1000),
    Fault(Trouble.SERVER_ERROR, where=Where.PLAYER, first=2),
)
"""Goes away after the first tries: 403 until the video is resolved again, 5xx at first."""


@dataclass
class Case:
    """One run with every trouble in it."""

    project: Project
    worker: Worker
    status: int
    rows: dict[str, dict[str, Any]]
    media: dict[Trouble, str]
    player: dict[Trouble, str]
    recovering: list[str]
    healthy: list[str]
    peak: int


class Memory:
    """Samples the memory of a process and all below it."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.peak = max(self.peak, sum(map(resident, [self._pid, *descendants_of(self._pid)])))

    def end(self) -> int:
        self._ended.set()
        self._thread.join()
        return self.peak


def resident(pid: int) -> int:
    """Bytes in memory of one process, 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, media_cache: Path) -> Iterator[Case]:
    rows = [
        replace(row, start_ms=row.start_ms % 40_000 + 6000, end_ms=row.start_ms % 40_000 + 16_000)
        for row in make_rows(len(MEDIA) + len(PLAYER) + len(RECOVERS) + HEALTHY, seed=7)
    ]
    ids = [row.ytid for row in rows]
    catalog = Catalog.of(*(Video(row.ytid, seconds=60, itags=(140, 251)) for row in rows))
    folder = tmp_path_factory.mktemp("hostile")
    with Standin(catalog, media_cache) as youtube:
        youtube.prepare()
        left = iter(ids[::2] + ids[1::2])  # healthy ones are in flight beside them
        media = {trouble: next(left) for trouble in MEDIA}
        player = {trouble: next(left) for trouble in PLAYER}
        for trouble, ytid in media.items():
            youtube.add_fault(Fault(trouble, ytid=ytid, seconds=60, bytes_per_second=100))
        for trouble, ytid in player.items():
            youtube.add_fault(Fault(trouble, where=Where.PLAYER, ytid=ytid, seconds=60, bytes_per_second=100))
        recovering = []
        for fault in RECOVERS:
            ytid = next(left)
            recovering.append(ytid)
            youtube.add_fault(Fault(fault.trouble, fault.where, ytid, first=fault.first, after_bytes=fault.after_bytes))
        settings = {
            "worker": {
                "processes": 1,
                "threads": 6,
                "retries": 2,
                "backoff_seconds": 0.1,
                "segment_timeout": TIMEOUT,
            },
            "youtube": {"args": ["--no-cache-dir", "--socket-timeout", str(SOCKET_TIMEOUT)]},
        }
        project = Project(folder, {"eval_segments": rows}, youtube, settings)
        project.prep(1)
        with Worker(project) as worker:
            memory = Memory(worker.process.pid)
            try:
                status = worker.end(280)
            finally:
                peak = memory.end()
            found = {row["ytid"]: row for row in worker.rows()}
            yield Case(project, worker, status, found, media, player, recovering, list(left), peak)


def test_every_segment_is_told_of_once(case: Case) -> None:
    assert case.status == 1
    assert len(case.rows) == len(case.worker.rows()) == len(case.project.subsets["eval_segments"])


@pytest.mark.parametrize("trouble", MEDIA, ids=str)
def test_media_trouble_ends_in_its_reason(case: Case, trouble: Trouble) -> None:
    check_reason(case.rows[case.media[trouble]], MEDIA[trouble])


@pytest.mark.parametrize("trouble", PLAYER, ids=str)
def test_player_trouble_ends_in_its_reason(case: Case, trouble: Trouble) -> None:
    check_reason(case.rows[case.player[trouble]], PLAYER[trouble])


def check_reason(row: dict[str, Any], expected: str) -> None:
    if expected == "ok":
        assert (row["status"], row["reason"]) == ("ok", ""), row
        return
    assert (row["status"], row["reason"], row["attempts"]) == ("failed", expected, 3), row
    assert row["elapsed_seconds"] < 3 * (TIMEOUT + 2), row
    assert row["detail"]


def test_what_goes_away_is_retried(case: Case) -> None:
    for ytid in case.recovering:
        assert case.rows[ytid]["status"] == "ok", case.rows[ytid]


def test_no_other_segment_is_harmed(case: Case) -> None:
    assert len(case.healthy) == HEALTHY
    assert {case.rows[ytid]["status"] for ytid in case.healthy} == {"ok"}
    assert {case.rows[ytid]["attempts"] for ytid in case.healthy} == {1}
    assert "worker process died" not in case.worker.log
    assert "its process was killed" not in case.worker.log


def test_memory_stays_bounded(case: Case) -> None:
    """Headers claimed gigabytes, a stream and a page never ended; without them the three processes take 300 MB."""
    assert case.peak < MEMORY, f"{case.peak / 1e6:.0f} MB"


def test_no_title_reaches_a_shell_a_path_or_a_row(case: Case) -> None:
    """Every title of the stand-in is made of `$(touch y)`, `../` and worse."""
    assert "touch" not in case.worker.log
    assert not any("touch" in str(row) for row in case.rows.values())
    found = {path.name for path in case.project.folder.rglob("*")}
    assert not {"x", "y", "z"} & found
    assert not [name for name in found if "touch" in name or "Stand-in" in name]


def test_what_is_there_is_exact_and_the_rest_comes_later(case: Case) -> None:
    case.project.youtube.clear_faults()
    case.project.worker(1)
    case.project.check(case.project.merge(), case.project.youtube.catalog)
