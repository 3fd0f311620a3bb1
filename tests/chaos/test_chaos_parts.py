"""The chaos test's own parts: its verdicts find what they look for, and it leaves nothing behind however it ends."""

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.standin import Catalog, Outcome, Video
from tests.chaos.cluster_run import Sightings
from tests.support import CHECKOUT
from tests.support.loopback import make_rows
from tests.support.loopback.project import GOOD_VIDEO
from tests.support.slurm_cluster import missing_programs
from tests.support.slurm_cluster.processes import with_environment
from tests.support.verdicts import (
    check_budget,
    check_came_back,
    check_drifts,
    check_failures,
    check_hashes,
    check_no_ban_recorded,
    check_not_asked_again,
    check_probes,
    leftovers,
    pause_steps,
    settled_at,
    tracebacks,
)
from tests.support.waiting import wait_until


def resolves(*times: float, ytid: str = "aaaaaaaaaaa", egress: str = "one") -> list[dict[str, object]]:
    return [{"kind": "resolve", "time": time, "ytid": ytid, "egress": egress} for time in times]


def test_a_budget_is_exceeded_in_any_window_of_one_egress() -> None:
    assert check_budget(resolves(0, 5, 9.9, 10, 15), 3, 10) == 3
    assert check_budget(resolves(0, 1) + resolves(0, 1, egress="two"), 2, 10) == 2
    with pytest.raises(AssertionError, match="4 resolves"):
        check_budget(resolves(0, 7, 8, 9, 16.9), 3, 10)


def test_too_many_resolves_in_a_drift_are_found() -> None:
    catalog = Catalog.of(Video("aaaaaaaaaaa"))
    check_drifts(resolves(0, 5, 10, 11, 12), catalog, [(4, 12)], most=3)
    with pytest.raises(AssertionError, match="4 resolves"):
        check_drifts(resolves(5, 6, 7, 8, 12), catalog, [(0, 1), (4, 12)], most=3)


def test_asking_again_after_a_row_is_found() -> None:
    check_not_asked_again({"aaaaaaaaaaa": 50.0}, resolves(10, 49))
    row = {"ytid": "aaaaaaaaaaa", "status": "ok", "finished_at": "1970-01-01T00:00:50+00:00"}
    assert settled_at([row, row | {"ytid": "b", "status": "failed"}]) == {"aaaaaaaaaaa": pytest.approx(50, abs=0.01)}
    check_not_asked_again({}, resolves(51))
    with pytest.raises(AssertionError, match="asked for again"):
        check_not_asked_again({"aaaaaaaaaaa": 50.0}, resolves(10, 51))


def test_rows_are_seen_when_they_come_and_again_after_their_manifest_was_replaced(tmp_path: Path) -> None:
    def lines(*rows: tuple[str, str]) -> str:
        times = {"start_seconds": 0.0, "end_seconds": 10.0, "reason": "network", "finished_at": "then"}
        return "".join(json.dumps({"subset": "a", "ytid": y, "status": s} | times) + "\n" for y, s in rows)

    data = DataDir(tmp_path)
    manifest = data.manifest(ShardId("a", 1))
    manifest.parent.mkdir()
    sightings = Sightings(data)
    assert sightings.look() == 0
    manifest.write_text(lines(("one", "ok"), ("two", "failed")) + '{"subset": ')
    assert sightings.look() == 2
    seen = dict(sightings.settled)
    assert list(seen) == ["one"] and list(sightings.failed) == [("two", "network", "then")]
    sightings.forget(["one"])
    older = tmp_path / "older"
    older.write_text(lines(("three", "unavailable"), ("one", "ok"), ("two", "failed")))
    older.replace(manifest)
    assert sightings.look() == 3 and sorted(sightings.settled) == ["one", "three"]
    assert sightings.settled["one"] > seen["one"] and len(sightings.failed) == 1


def test_a_second_probe_in_one_step_of_a_pause_is_found(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "at": at, "event": "extended"} for at in (10.0, 20.0, 30.0)] + [{"epoch": 2, "at": 50.0}]
    (tmp_path / "pauses.jsonl.1").write_text("\n".join(map(json.dumps, rows[:2])))
    (tmp_path / "pauses.jsonl").write_text("\n".join(map(json.dumps, rows[2:])) + "\n{torn")
    steps = {"one": pause_steps(tmp_path)}
    assert steps == {"one": [[10.0, 20.0, 30.0], [50.0]]}
    good = resolves(15, 25, 35, 36, ytid=GOOD_VIDEO)
    assert check_probes(good + resolves(16), steps, []) == 2
    twice = good + resolves(17, ytid=GOOD_VIDEO)
    assert check_probes(twice, steps, [16.0]) == 3, "the prober may have been killed"
    with pytest.raises(AssertionError, match="2 probes"):
        check_probes(twice, steps, [36.0])


def test_a_good_video_that_failed_while_nothing_was_wrong_with_it_is_found() -> None:
    there, gone = make_rows(2, seed=1)
    catalog = Catalog.of(Video(there.ytid, seconds=10_000), Video(gone.ytid, outcome=Outcome.REMOVED))
    failed = {(there.ytid, "network", "then"): 15.0, (gone.ytid, "network", "then"): 99.0}
    check_failures(failed, [there, gone], catalog, [(10.0, 20.0, {"network"})])
    for excuse in ((16.0, 20.0, {"network"}), (10.0, 20.0, {"internal"})):
        with pytest.raises(AssertionError, match="nothing was wrong"):
            check_failures(failed, [there, gone], catalog, [excuse])


def test_a_task_that_gave_up_in_a_ban_is_found() -> None:
    check_came_back([(5.0, "FAILED 75"), (15.0, "FAILED 9"), (15.0, "COMPLETED 0")], [(10.0, 20.0)])
    with pytest.raises(AssertionError, match="did not come back"):
        check_came_back([(15.0, "FAILED 75")], [(10.0, 20.0)])


def test_a_file_that_is_not_the_one_of_its_row_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(b"abc")
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    row = {"status": "ok", "audio_path": "a.flac", "audio_bytes": 3, "audio_sha256": sha}
    check_hashes(pd.DataFrame([row]), tmp_path)
    for other in ({"audio_bytes": 4}, {"audio_sha256": sha[::-1]}):
        with pytest.raises(AssertionError, match="bytes, "):
            check_hashes(pd.DataFrame([row | other]), tmp_path)


def test_a_ban_that_became_an_outcome_is_found() -> None:
    planned = make_rows(2, seed=1)
    project: Any = SimpleNamespace(rows=lambda: {("eval_segments", row.ytid): row for row in planned})
    there, gone = (row.ytid for row in planned)
    catalog = Catalog.of(Video(there, seconds=10_000), Video(gone, outcome=Outcome.REMOVED))
    row = {"subset": "eval_segments", "ytid": gone, "status": "unavailable", "reason": "removed", "detail": ""}
    failed = row | {"ytid": there, "status": "failed", "reason": "http_error", "detail": "HTTP Error 503"}
    check_no_ban_recorded([row, failed], project, catalog)
    for wrong in (
        row | {"ytid": there, "reason": "nonexistent"},
        row | {"reason": "private"},
        failed | {"detail": "HTTP Error 429"},
        failed | {"detail": "Sign in to confirm you're not a bot"},
    ):
        with pytest.raises(AssertionError, match="recorded"):
            check_no_ban_recorded([wrong], project, catalog)


def test_tracebacks_are_found_in_the_logs_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "audiosetdl-1_1.log").write_text("all is well\n")
    assert tracebacks(tmp_path) == []
    (tmp_path / "audiosetdl-1_2.log").write_text("x\nTraceback (most recent call last):\n")
    assert tracebacks(tmp_path) == ["audiosetdl-1_2.log"]


def test_temporary_files_are_found_by_name_and_by_place(tmp_path: Path) -> None:
    for name in ("data/clip.flac", "state/x.json.tmp", ".tmp/shard.01/clip.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(leftovers(tmp_path)) == [".tmp/shard.01/clip.flac", "state/x.json.tmp"]


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_by_a_signal_it_leaves_nothing_running_and_nothing_mounted(tmp_path: Path, number: int) -> None:
    if missing := missing_programs():
        pytest.skip(f"NO SLURM HERE, NOT TESTED: {', '.join(missing)} missing")
    mark = f"chaos-{secrets.token_hex(8)}"
    env = os.environ | {"CHAOS_TEST": mark, "TMPDIR": str(tmp_path)}
    with (tmp_path / "run.log").open("wb") as log:
        command = [sys.executable, "-m", "tests.chaos.run", "--short"]
        run = subprocess.Popen(command, env=env, cwd=CHECKOUT, stdout=log, stderr=log)
    try:
        wait_until(lambda: b"recorded" in (tmp_path / "run.log").read_bytes() or run.poll() is not None, "a fault", 120)
        assert run.poll() is None, (tmp_path / "run.log").read_text()
        run.send_signal(number)
        assert run.wait(60) == (128 + number if number == signal.SIGTERM else -number)
        wait_until(lambda: not list(with_environment(f"CHAOS_TEST={mark}")), "the end of all processes", 60)
    finally:
        for process in with_environment(f"CHAOS_TEST={mark}"):
            process.signal(signal.SIGKILL)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    if number == signal.SIGTERM:
        assert not list(tmp_path.glob("chaos-*"))
