"""Drifts and outages through the real worker, by the log of the server: few resolves, none held against a segment."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audioset_batch.egress import read_pauses
from audioset_batch.standin import Catalog, Fault, Outage, Outcome, Standin, Trouble, Where
from tests.support.loopback import Project, make_rows
from tests.support.loopback.project import GOOD_VIDEO
from tests.support.waiting import wait_until

DRIFTS = {
    "media_forbidden": Fault(Trouble.FORBIDDEN),
    "no_usable_format": Fault(Trouble.NO_ADDRESSES, where=Where.PLAYER),
    "new_words": Fault(Trouble.NEW_WORDS, where=Where.PLAYER),
    "new_screen": Fault(Trouble.NEW_SCREEN, where=Where.PLAYER),
    "http_error": Fault(Trouble.FORBIDDEN, where=Where.PLAYER),
    "internal": Fault(Trouble.GARBAGE, where=Where.PLAYER),
}


@pytest.fixture
def project(tmp_path: Path, media_cache: Path) -> Iterator[Project]:
    rows = make_rows(32, seed=5)
    needs = {row.ytid: row.end_ms / 1000 for row in rows}
    catalog = Catalog.from_ids(
        needs, seed=1, unavailable_share=0.3, outcomes=[Outcome.REMOVED, Outcome.PRIVATE], seconds=(60.0,)
    )
    with Standin(catalog, media_cache, egresses=("loopback", "second")) as youtube:
        project = Project(tmp_path, {"eval_segments": rows}, youtube)
        youtube.prepare()
        project.settings["egress"][0].update(pause_seconds=0.5, pause_factor=1.0, max_wait=60)
        project.settings["youtube"] = {"args": ["--no-cache-dir", "--socket-timeout", "2"]}
        project.write_config()
        project.prep(1)
        yield project


def lost(project: Project, since: float) -> int:
    """Resolves of planned videos that are there, from then on."""
    good = {ytid for (_, ytid) in project.rows() if project.youtube.catalog.get(ytid).outcome is Outcome.OK}
    return sum(event["ytid"] in good for event in project.youtube.events("resolve", since=since))


def at_work(project: Project, steps: Callable[[], None]) -> None:
    """Do `steps` while a worker runs."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            project.worker(1)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    try:
        steps()
    finally:
        project.youtube.clear_faults()
        project.youtube.cut(None)
        worker.join()
    assert not failed, failed


def check(project: Project) -> None:
    """All is there, and no row tells of what was the egress's own."""
    project.check(project.merge(), project.youtube.catalog)
    rows = (project.data / "manifests" / "eval_segments.01.jsonl").read_text()
    assert '"status":"failed"' not in rows


def one_drift(project: Project, fault: Fault) -> None:
    """Begin a drift while the worker works, end it in the pause that it makes, and wait until clips come again."""
    pauses = len(read_pauses(project.data / ".egress" / "loopback"))
    began = time.time()
    project.youtube.add_fault(fault)
    wait_until(lambda: len(read_pauses(project.data / ".egress" / "loopback")) > pauses, "a pause")
    assert lost(project, began) <= 25 + 4, "what was in flight before"
    project.youtube.clear_faults()
    ended = time.time()
    wait_until(lambda: any(e["status"] == 206 for e in project.youtube.events("media", since=ended)), "a clip")


def test_all_media_refused_for_a_while(project: Project) -> None:
    at_work(project, lambda: one_drift(project, DRIFTS["media_forbidden"]))
    check(project)
    (pause,) = read_pauses(project.data / ".egress" / "loopback")
    assert pause.kind == "drift" and "update yt-dlp" in pause.detail
    told = project.run("status", str(project.data), "--config", str(project.config)).stdout
    assert "drift" not in told, "it is over"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in DRIFTS if kind != "media_forbidden"])
def test_each_kind_of_drift(project: Project, kind: str) -> None:
    at_work(project, lambda: one_drift(project, DRIFTS[kind]))
    check(project)
    assert read_pauses(project.data / ".egress" / "loopback")[0].kind == "drift"


def test_a_drift_that_lasts_is_told_to_everybody_and_costs_little(project: Project) -> None:
    project.settings["egress"][0].update(pause_seconds=300, max_wait=1)
    project.write_config()
    project.youtube.add_fault(DRIFTS["media_forbidden"])
    done = project.worker(1, status=75)
    words = "update yt-dlp (audioset-batch update-yt-dlp"
    assert words in done.stderr
    assert lost(project, 0) <= 25
    assert len(project.youtube.events("resolve", GOOD_VIDEO)) == 1
    project.worker(1, status=75)
    assert lost(project, 0) <= 25, "another task loses nothing"
    table = project.merge(status=1)
    assert set(table.status) <= {"pending", "unavailable"}
    status = project.run("status", str(project.data), "--config", str(project.config), status=(0, 1))
    assert words in " ".join(status.stdout.split())
    project.run("report", str(project.data))
    assert words in (project.data / "report.html").read_text()


@pytest.mark.slow
def test_a_drift_that_spares_the_probe_leaves_segments_pending(project: Project) -> None:
    project.settings["egress"][0].update(pause_seconds=4)
    project.write_config()
    project.youtube.add_fault(Fault(Trouble.FORBIDDEN, sparing=GOOD_VIDEO))
    began = time.time()
    done = []
    worker = threading.Thread(target=lambda: done.append(project.worker(1, status=(0, 75))))
    worker.start()
    wait_until(lambda: lost(project, began) >= 40, "forty lost resolves")
    time.sleep(3)
    assert lost(project, began) <= 46
    status = project.run("status", str(project.data), "--config", str(project.config), status=(0, 1)).stdout
    assert "one slot in 20" in " ".join(status.split())
    project.youtube.clear_faults()
    worker.join()
    check(project)


# Outages


@pytest.mark.parametrize(
    "outage", [Outage.REFUSED, *(pytest.param(o, marks=pytest.mark.slow) for o in Outage if o is not Outage.REFUSED)]
)
def test_an_outage_is_waited_out(project: Project, outage: Outage) -> None:
    project.settings["egress"][0].update(pause_seconds=15)
    project.write_config()

    def steps() -> None:
        wait_until(lambda: len(project.youtube.events("media")) > 4, "media requests")
        project.youtube.cut(outage)
        wait_until(lambda: read_pauses(project.data / ".egress" / "loopback"), "a pause")
        project.youtube.cut(None)

    at_work(project, steps)
    check(project)
    pauses = read_pauses(project.data / ".egress" / "loopback")
    assert {pause.kind for pause in pauses} == {"outage"}


@pytest.mark.slow
def test_a_dead_proxy_beside_a_good_one(project: Project) -> None:
    dead = project.settings["egress"][0] | {"name": "dead", "proxy": "http://127.0.0.1:9", "pause_seconds": 900}
    project.settings["egress"].append(dead)
    project.write_config()
    project.worker(1)
    check(project)
    assert set(project.merge().egress) == {"loopback"}
    (pause,) = read_pauses(project.data / ".egress" / "dead")
    assert pause.kind == "outage"


def test_no_way_out_at_all(project: Project) -> None:
    project.settings["egress"][0].update(proxy="http://127.0.0.1:9", pause_seconds=900, max_wait=1)
    project.write_config()
    done = project.worker(1, status=75)
    assert "cannot be reached" in done.stderr
    assert set(project.merge(status=1).status) == {"pending"}
