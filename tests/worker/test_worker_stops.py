"""Signals, rivals and lost leases: who stops, how soon, and what is left."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.swap import splitting
from audioset_batch.sharedfs.lease import is_held
from audioset_batch.standin import Fault, Trouble
from tests.support.loopback import Project
from tests.support.running import Worker, descendants_of
from tests.support.verdicts import check_not_asked_again, leftovers, settled_at
from tests.support.waiting import wait_until

MakeProject = Callable[..., Project]
STOPPED = 75


def finish_and_check(project: Project) -> None:
    project.youtube.clear_faults()
    project.youtube.set_delay(0)
    project.worker(1)
    project.check(project.merge(), project.youtube.catalog)
    assert leftovers(project.data) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_what_is_in_flight_finish(make_project: MakeProject, number: int) -> None:
    project = make_project(24)
    with Worker(project) as worker:
        worker.wait_rows(3)
        before = len(worker.rows())
        worker.send(number)
        assert worker.end(8 + 5) == STOPPED
        assert f"stopped by signal {signal.Signals(number).name}" in worker.log
        assert before < len(worker.rows()) <= before + 4 + 1, "the four in flight, no more"
    assert leftovers(project.data) == []
    finish_and_check(project)


@pytest.mark.slow
def test_what_cannot_finish_in_time_stays_pending(make_project: MakeProject) -> None:
    project = make_project(8, grace_seconds=1)
    with Worker(project) as worker:
        worker.wait_rows(1)
        project.youtube.add_fault(Fault(Trouble.STALL))
        since = time.time()
        wait_until(lambda: project.youtube.events("resolve", since=since), "a segment whose media stall")
        rows = worker.rows()
        worker.send(signal.SIGTERM)
        assert worker.end(20) == STOPPED, "before worker.segment_timeout"
        assert "they stay pending" in worker.log
        assert all(row["status"] != "failed" for row in worker.rows())
        assert len(worker.rows()) <= len(rows) + 1
    assert leftovers(project.data) == []
    finish_and_check(project)


@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGTERM, 2.4),
        (signal.SIGUSR1, 1.6),
        *(
            pytest.param(number, after, marks=pytest.mark.slow)
            for number, after in (
                (signal.SIGTERM, 0.8),
                (signal.SIGTERM, 1.6),
                (signal.SIGUSR1, 0.8),
                (signal.SIGUSR1, 2.4),
            )
        ),
    ],
)
def test_a_signal_to_every_process_reaches_no_helper(make_project: MakeProject, number: int, after: float) -> None:
    """As scancel and `--signal=USR1` without `B:` send it; sox converts all the time here."""
    project = make_project(16, delay=0.02)
    project.settings["audio"] = {"sample_rate": 32000}
    project.write_config()
    with Worker(project) as worker:
        time.sleep(after)
        for pid in descendants_of(worker.process.pid):
            with contextlib.suppress(ProcessLookupError):  # sox does not live long
                os.kill(pid, number)
        time.sleep(0.2)
        worker.send(number)
        status = worker.end(15)
        if status in (-signal.SIGTERM, -signal.SIGUSR1):
            assert not worker.rows(), "it had not begun yet"
        else:
            assert status in (STOPPED, 0), worker.log
        odd = [row for row in worker.rows() if row["status"] == "failed" or row["attempts"] != 1]
        assert not odd, f"{[(row['status'], row['attempts'], row['detail']) for row in odd]}\n{worker.log}"
        assert "died of" not in worker.log
    assert leftovers(project.data) == []


def unheard(pid: int, field: str) -> set[signal.Signals]:
    """Signals that a process ignores (`SigIgn`) or has blocked (`SigBlk`)."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith(field))
    mask = int(line.split()[1], 16)
    return {number for number in signal.Signals if mask >> (number - 1) & 1}


def test_helpers_inherit_that_signals_are_ignored_and_blocked(make_project: MakeProject) -> None:
    project = make_project(8)
    with Worker(project) as worker:
        worker.wait_rows(1)
        for pid in worker.decoders():
            for field in ("SigIgn", "SigBlk"):  # sox handles some itself, but unblocks none
                assert unheard(pid, field) >= {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP}


def test_two_workers_on_one_shard(make_project: MakeProject) -> None:
    project = make_project(24, delay=1)  # the first is at work for longer than the second takes to start
    with Worker(project) as first:
        first.wait_rows(1)
        with Worker(project) as second:
            assert second.end() == STOPPED
            project.youtube.set_delay(0)
            assert f"host {socket.gethostname()}, process {first.process.pid}" in second.log
        assert first.end() == 0
    finish_and_check(project)


def test_nothing_is_begun_while_prep_splits(make_project: MakeProject) -> None:
    project = make_project(2)
    with splitting(DataDir(project.data)):
        assert "prep is splitting" in project.worker(1, status=STOPPED).stderr
    assert not project.youtube.events()
    finish_and_check(project)


def lease_of(project: Project) -> Path:
    return DataDir(project.data).lease(ShardId("eval_segments", 1))


@pytest.mark.slow
def test_a_sleeper_whose_shard_was_taken_records_nothing(make_project: MakeProject) -> None:
    project = make_project(14, delay=0.3, lease_seconds=2, state_seconds=0.001)
    with Worker(project) as sleeper:
        sleeper.wait_rows(2)
        sleeper.send(signal.SIGSTOP)  # maybe as it replaces its state file, which the heir clears
        wait_until(lambda: not is_held(lease_of(project)), "the end of the lease")
        with Worker(project) as heir:
            assert heir.end() == 0
            assert f"taking over from host {socket.gethostname()}, process {sleeper.process.pid}" in heir.log
        manifest = next((project.data / "manifests").glob("*.jsonl")).read_bytes()
        files = {p: p.stat().st_ino for p in (project.data / "data").rglob("*.flac")}
        sleeper.send(signal.SIGCONT)
        assert sleeper.end() == STOPPED
        assert "lost to another worker" in sleeper.log
    assert next((project.data / "manifests").glob("*.jsonl")).read_bytes() == manifest
    assert {p: p.stat().st_ino for p in (project.data / "data").rglob("*.flac")} == files
    finish_and_check(project)


@pytest.mark.slow
def test_a_sleeper_that_waited_for_its_budget_asks_for_nothing_again(make_project: MakeProject) -> None:
    """Nothing of it was in flight, so no answer makes it look at its lease: a free slot must."""
    project = make_project(14, delay=0, lease_seconds=2)
    project.settings["egress"][0] |= {"videos_per_hour": 10, "window_seconds": 10}
    project.write_config()
    with Worker(project) as sleeper:
        sleeper.wait_rows(2)
        sleeper.send(signal.SIGSTOP)
        before = len(sleeper.rows())
        wait_until(lambda: not is_held(lease_of(project)), "the end of the lease")
        with Worker(project) as heir:
            heir.wait_rows(before + 3)
            sleeper.send(signal.SIGCONT)
            assert sleeper.end() == STOPPED
            assert "lost to another worker" in sleeper.log
            assert heir.end() == 0
        check_not_asked_again(settled_at(heir.rows()), project.youtube.events())
    finish_and_check(project)
