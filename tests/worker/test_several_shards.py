"""One worker for several shards at once: what they share, and how one of them ends alone."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from audioset_batch.config import Config
from audioset_batch.egress import Grant, Verdict
from audioset_batch.errors import EgressExhausted, StorageUnusable
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import Segment
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import read_rows
from audioset_batch.record.state import read_state
from audioset_batch.sharedfs.lease import Holder, Lease, is_held
from audioset_batch.standin import Fault, Trouble
from audioset_batch.worker.coordinator import Coordinator
from audioset_batch.worker.messages import Attempt, AttemptResult, Job
from audioset_batch.worker.segment_queue import QueueEntry, SegmentQueue
from audioset_batch.worker.stop import StopRequest
from tests.support.loopback import Project
from tests.support.running import Worker
from tests.support.verdicts import check_not_asked_again, leftovers, settled_at
from tests.support.waiting import wait_until

MakeProject = Callable[..., Project]
STOPPED = 75


def split(project: Project, shards: int) -> Project:
    """Into so many shards; a second probe, where the first is not enough, comes soon."""
    project.settings["egress"][0]["pause_seconds"] = 1.0
    project.write_config()
    project.prep(shards)
    return project


def shards_of(project: Project) -> list[ShardId]:
    return DataDir(project.data).shards("eval_segments")


def rows_of(project: Project, number: int) -> list[dict[str, Any]]:
    return list(read_rows(DataDir(project.data).manifest(ShardId("eval_segments", number))))


def lease_of(project: Project, number: int) -> Path:
    return DataDir(project.data).lease(ShardId("eval_segments", number))


def check_everything(project: Project, worker: Worker) -> None:
    project.check(project.merge(), project.youtube.catalog)
    check_not_asked_again(settled_at(worker.rows()), project.youtube.events())
    assert leftovers(project.data) == []


def most_at_once(project: Project) -> int:
    """How many shards had a segment between the beginning of its first resolve and its row at one time."""
    begun = {event["ytid"]: event["time"] for event in reversed(project.youtube.events("resolve"))}
    return max(
        len(
            {
                shard.number
                for shard in shards_of(project)
                for row in rows_of(project, shard.number)
                if begun[row["ytid"]] <= moment < begun[row["ytid"]] + row["elapsed_seconds"]
            }
        )
        for moment in begun.values()
    )


def test_shards_of_two_rows_fill_the_processes_and_survive_a_death(make_project: MakeProject) -> None:
    project = split(make_project(23, delay=0.2, threads=8), 12)
    with Worker(project, "all") as worker:
        worker.wait_rows(4)
        os.kill(worker.decoders()[0], signal.SIGSEGV)
        assert worker.end() == 0
        assert "died of SIGSEGV" in worker.log
    check_everything(project, worker)
    assert all({row["shard"] for row in rows_of(project, n)} == {n} for n in range(1, 13))
    assert most_at_once(project) >= 4


def test_only_the_shards_that_were_asked_for(make_project: MakeProject) -> None:
    project = split(make_project(5, delay=0), 5)
    project.worker("5,1-3:2")
    assert {n for n in range(1, 6) if rows_of(project, n)} == {1, 3, 5}
    missing = project.worker("4-7", status=2)
    assert "there is no shard 6 (nor 1 more of those)" in missing.stderr


def test_a_held_shard_is_left_to_its_holder_and_that_of_a_dead_one_taken(make_project: MakeProject) -> None:
    """Neither can be told from the other at first: both are on a machine elsewhere."""
    project = split(make_project(8, delay=0, lease_seconds=2.0), 4)
    (project.data / "state").mkdir(exist_ok=True)
    alive = Lease.acquire(lease_of(project, 1), Holder(host="node-7", pid=11, token=""), 2.0)
    dead = Lease.acquire(lease_of(project, 2), Holder(host="node-8", pid=12, token=""), 2.0)
    with alive:
        dead._ended.set()  # no sign of life from now on
        done = project.worker("all", status=STOPPED)
        assert "eval_segments.01 is being worked on by host node-7" in done.stderr
        assert "eval_segments.02: taking over from host node-8" in done.stderr
        assert [len(rows_of(project, n)) for n in (1, 2, 3, 4)] == [0, 2, 2, 2]
    project.worker("all")
    project.check(project.merge(), project.youtube.catalog)


@pytest.mark.slow
def test_a_lost_shard_ends_alone(make_project: MakeProject) -> None:
    project = split(make_project(18, delay=0.5, threads=6, state_seconds=60), 3)
    with Worker(project, "all", prefix=("env", "SLURM_JOB_ID=77")) as worker:
        wait_until(lambda: rows_of(project, 1), "a row of shard 1", 60)
        with Lease.acquire(lease_of(project, 1), Holder.current("77", 1), 60):  # as the job does after a requeue
            before = rows_of(project, 1)
            state = DataDir(project.data).state(ShardId("eval_segments", 1))
            state.write_text("the heir's")
            assert worker.end() == STOPPED
            assert "eval_segments.01: lost to another worker (job 77 (restart 1)" in worker.log
            assert rows_of(project, 1) == before, "nothing more is recorded"
            assert state.read_text() == "the heir's"
        assert [len(rows_of(project, n)) for n in (2, 3)] == [6, 6], worker.log
        assert len(before) < 6
    assert leftovers(project.data) == []
    project.worker("all")
    project.check(project.merge(), project.youtube.catalog)


def test_a_signal_ends_all_and_each_is_left_in_order(make_project: MakeProject) -> None:
    project = split(make_project(8, delay=0, grace_seconds=0.3), 4)
    data = DataDir(project.data)
    with Worker(project, "all") as worker:
        project.youtube.add_fault(Fault(Trouble.STALL, seconds=60))
        wait_until(lambda: sum(is_held(data.lease(shard)) for shard in shards_of(project)) >= 2, "two open shards", 60)
        held = [shard for shard in shards_of(project) if is_held(data.lease(shard))]
        wait_until(lambda: project.youtube.events("resolve"), "a segment in flight", 60)
        worker.send(signal.SIGTERM)
        assert worker.end(30) == STOPPED
        assert "they stay pending" in worker.log
    for shard in held:
        state = read_state(data.state(shard))
        assert state is not None and (state.finished, state.note) == (True, "stopped by signal SIGTERM")
        assert not is_held(data.lease(shard))
    assert leftovers(project.data) == []
    project.youtube.clear_faults()
    project.worker("all")
    project.check(project.merge(), project.youtube.catalog)


def test_a_damaged_shard_keeps_no_other_waiting(make_project: MakeProject) -> None:
    project = split(make_project(6, delay=0), 3)
    (project.data / "eval_segments.csv.02").write_text('no_id, 30.000, 40.000, "/m/09x0r"\n')
    done = project.worker("all", status=1)
    assert "eval_segments.csv.02" in done.stderr
    assert [len(rows_of(project, n)) for n in (1, 2, 3)] == [2, 0, 2]


def test_what_is_no_file_in_place_of_a_manifest_keeps_no_other_waiting(make_project: MakeProject) -> None:
    project = split(make_project(6, delay=0), 3)
    (project.data / "manifests" / "eval_segments.01.jsonl").mkdir(parents=True)
    done = project.worker("all", status=1)
    assert "eval_segments.01.jsonl is a directory" in done.stderr
    assert [len(rows_of(project, n)) for n in (2, 3)] == [2, 2]


@pytest.mark.parametrize(
    ("unusable", "opened"), [({2}, [1, 2, 3, 4, 5]), ({1, 3}, [1, 2, 3, 4, 5]), ({1, 2, 4, 5}, [1, 2, 3, 4])]
)
def test_of_shards_that_cannot_be_used_a_few_are_left_out(unusable: set[int], opened: list[int]) -> None:
    tried: list[int] = []

    def open_shard(shard: ShardId) -> Any:  # mocks: root, as whom tests run in CI, may read every file
        tried.append(shard.number)
        if shard.number in unusable:
            raise StorageUnusable(f"{shard}: Permission denied")
        shown = Mock(done=True, lost=None, held=[], queue=SegmentQueue(()))
        shown.isolating_errors.return_value = contextlib.nullcontext()
        shown.finish.return_value = Counter(ok=1)
        return shown

    pool, egress = Mock(), Mock(reserved=0)
    pool.wait.return_value = ()
    egress.poll_interval.return_value = 0
    egress.probe_due.return_value = None
    shards = [ShardId("eval_segments", number) for number in range(1, 6)]
    with pytest.raises(StorageUnusable):
        Coordinator(Config(), shards, open_shard, pool, egress, StopRequest(), Counter()).run()
    assert tried == opened


class _TwoSegments:
    """A shard as the coordinator sees it. The outcome of its first segment is decided by that of the second."""

    def __init__(self) -> None:
        segments = (Segment("eval_segments", ytid, 0, 10_000, ()) for ytid in ("first______", "second_____"))
        self.queue = SegmentQueue(segments)
        self.held: list[str] = []
        self.lost, self.in_flight, self.tmp_dir = None, 0, Path()
        self.isolating_errors = contextlib.nullcontext
        self.review_held = self.report_progress = lambda: None
        self.record_published = lambda entry: False
        self.finish = lambda: Counter({Status.UNAVAILABLE: 1, Status.OK: 1})
        self.close = lambda error: None

    @property
    def done(self) -> bool:
        return not (self.in_flight or len(self.queue) or self.held)

    @property
    def unsettled(self) -> bool:
        return bool(self.held)

    def take(self) -> QueueEntry:
        self.in_flight += 1
        return self.queue.pop()

    def answered(self, entry: QueueEntry, grant: Grant, attempt: Attempt, verdict: Verdict) -> None:
        self.held = [] if self.held else [entry.segment.ytid]


def test_a_run_does_not_end_before_it_knows_whether_the_next_slot_decides_an_outcome() -> None:
    jobs: list[Job] = []
    pool, egress, shard = Mock(free=8), Mock(reserved=0), _TwoSegments()
    pool.submit = lambda job, alone: jobs.append(job)
    pool.wait = lambda seconds: [Attempt(jobs.pop().number, AttemptResult.UNAVAILABLE)] if jobs else []
    egress.poll_interval.return_value = 0
    egress.probe_due.return_value = None
    granted: list[Grant] = []

    def try_acquire(want: int) -> Grant:
        if granted and not coordinator.unsettled:
            raise EgressExhausted("the next slot is an hour away")
        granted.append(Mock(index=0, probe_ytid="", start_by=0.0))
        return granted[-1]

    egress.try_acquire = try_acquire
    number = ShardId("eval_segments", 1)
    coordinator = Coordinator(Config(), [number], lambda _: shard, pool, egress, StopRequest(), Counter())  # type: ignore[arg-type, return-value]
    assert coordinator.run() == {Status.UNAVAILABLE: 1, Status.OK: 1}
    assert len(granted) == 2


def test_a_link_that_a_neighbour_puts_in_place_of_a_lease_ends_its_shard_alone(make_project: MakeProject) -> None:
    project = split(make_project(18, delay=0.5, threads=6, state_seconds=60), 3)
    with Worker(project, "all") as worker:
        wait_until(lambda: rows_of(project, 1), "a row of shard 1", 60)
        for path in lease_of(project, 1).glob("holder.*"):
            path.unlink()
            path.symlink_to("/etc/hostname")
        assert worker.end() == 1
    assert [len(rows_of(project, n)) for n in (2, 3)] == [6, 6], worker.log
    assert len(rows_of(project, 1)) < 6


@pytest.mark.slow
def test_two_workers_share_all_shards(make_project: MakeProject) -> None:
    project = split(make_project(40, delay=0.2, lease_seconds=4), 20)
    with Worker(project, "all") as first, Worker(project, "all") as second:
        ended = {first.end(), second.end()}
        assert ended <= {0, STOPPED}
        assert not {status for status in ended if status} or "is being worked on by" in first.log + second.log
    project.worker("all")
    check_everything(project, first)
    assert "segments to do" in first.log and "segments to do" in second.log, "both had some"


@pytest.mark.slow
def test_kills_lose_and_double_nothing(make_project: MakeProject) -> None:
    project = split(make_project(30, delay=0.1, threads=6), 15)
    for rows in (2, 6, 11, 17):
        with Worker(project, "all") as worker:
            wait_until(
                lambda want=rows, one=worker: len(one.rows()) >= want or one.process.poll() is not None, "rows", 60
            )
            worker.send(signal.SIGKILL)
            worker.process.wait(5)
    with Worker(project, "all") as worker:
        assert worker.end() == 0
    keys = [row["ytid"] for row in worker.rows()]
    assert sorted(keys) == sorted(row.ytid for row in project.subsets["eval_segments"]), "each segment has one row"
    check_everything(project, worker)
