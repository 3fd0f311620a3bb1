"""Which rows a look counts: none of a living worker, those that a dead one left uncounted, and each only once."""

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.config import Config
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import ManifestWriter
from audioset_batch.record.state import ShardState
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.slurm.queue import JobEnd
from audioset_batch.status import collect as collect_module
from audioset_batch.status import shards as shards_module
from audioset_batch.status.collect import Collector, collect
from audioset_batch.status.queue import Queue
from audioset_batch.status.shards import Seen, ShardReader
from audioset_batch.status.text import render

EVAL, BALANCED = ShardId("eval_segments", 1), ShardId("balanced_train_segments", 1)
PLANNED = 10


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Shard 1 of two subsets."""
    data = DataDir(tmp_path)
    data.states.mkdir()
    for shard in (EVAL, BALANCED):
        rows = [f'{shard.subset[:8]}{n:03d}, 0.000, 10.000, "/m/09x0r"\n' for n in range(PLANNED)]
        data.shard_csv(shard).write_text(f"# a\n# num_segs={len(rows)}\n# b\n" + "".join(rows))
    return data


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def record(data: DataDir, shard: ShardId, ok: int, failed: int = 0) -> None:
    """Write rows about the first segments."""
    data.manifests.mkdir(exist_ok=True)
    outcomes = [(Status.OK, "")] * ok + [(Status.FAILED, str(Reason.TIMEOUT))] * failed
    with ManifestWriter(data.manifest(shard)) as manifest:
        for segment, (status, reason) in zip(read_shard(data.shard_csv(shard), shard.subset), outcomes, strict=False):
            manifest.append(ManifestRow.of(segment, shard.number, status, reason=reason))


def tell(data: DataDir, shard: ShardId, seconds_ago: float, **values: object) -> None:
    """A state file of so long ago."""
    state = ShardState(planned=PLANNED, updated_at="2026-01-01T00:00:00+00:00", job_id="7_1", host="node07")
    data.state(shard).write_text(json.dumps(dataclasses.asdict(state) | values))
    moment = time.time() - seconds_ago
    os.utime(data.state(shard), (moment, moment))


def seen(data: DataDir, shard: ShardId = EVAL, *, exact: bool = False) -> Seen:
    return next(one for one in ShardReader(data, exact=exact).read() if one.shard == shard)


@pytest.fixture
def held(data: DataDir) -> Iterator[Lease]:
    """A worker on another node holds the first shard."""
    holder = dataclasses.replace(Holder.current("7_1"), host="node07", boot="another kernel")
    with Lease.acquire(data.lease(EVAL), holder, 60.0) as lease:
        yield lease


@pytest.mark.usefixtures("held")
def test_a_living_workers_manifest_is_left_alone(data: DataDir) -> None:
    record(data, EVAL, ok=5)
    tell(data, EVAL, 25, counts={"ok": 3})
    one = seen(data)
    assert one.counts == {"ok": 3, "unavailable": 0, "failed": 0, "pending": 7}
    assert one.exact and abs(time.time() - 25 - one.counted_at) < 5, "its state file will be renewed"
    assert seen(data, exact=True).counts["ok"] == 5


@pytest.mark.usefixtures("held")
def test_a_silent_state_file_of_a_living_worker_is_helped(data: DataDir) -> None:
    record(data, EVAL, ok=5)
    tell(data, EVAL, 1000, counts={"ok": 3})
    assert seen(data).counts["ok"] == 5


def test_what_a_dead_worker_left_is_counted(data: DataDir) -> None:
    record(data, EVAL, ok=5, failed=2)
    tell(data, EVAL, 25, counts={"ok": 3})
    one = seen(data)
    assert one.exact and one.counts == {"ok": 5, "unavailable": 0, "failed": 2, "pending": 3}
    assert one.reasons == {"timeout": 2}


def test_the_last_rows_of_a_killed_worker_are_counted_however_soon_after_the_state_they_came(data: DataDir) -> None:
    record(data, EVAL, ok=5)
    tell(data, EVAL, 1, counts={"ok": 3})
    assert seen(data).counts["ok"] == 5
    tell(data, EVAL, 1, counts={"ok": 3}, finished=True)
    assert seen(data).counts["ok"] == 3, "a worker that has ended has counted all; NFS may date rows later"
    assert seen(data, exact=True).counts["ok"] == 5


def test_too_much_to_read_is_told(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    record(data, EVAL, ok=5)
    tell(data, EVAL, 1000, counts={"ok": 3})
    monkeypatch.setattr(shards_module, "_MOST_BYTES", 100)
    one = seen(data)
    assert not one.exact and one.counts["ok"] == 3
    text = render(collect(data, Config(data_dir=data.root)))
    assert "1 shard has rows that are NOT COUNTED here: counts as of 20" in text and "--exact" in text
    assert seen(data, exact=True).counts["ok"] == 5


def test_many_shards_to_read_are_told_as_well(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for shard in (EVAL, BALANCED):
        record(data, shard, ok=5)
    monkeypatch.setattr(shards_module, "_BYTES_OF_A_SHARD", shards_module._MOST_BYTES // 2)
    found = ShardReader(data).read()
    assert [(one.exact, one.counts["ok"]) for one in found] == [(False, 0), (False, 0)], "all or none"
    assert "2 shards have rows that are NOT COUNTED here; --exact" in render(collect(data, Config(data_dir=data.root)))
    assert [one.counts["ok"] for one in ShardReader(data, exact=True).read()] == [5, 5]


def test_rows_are_read_once(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    record(data, EVAL, ok=5)
    reader = ShardReader(data)
    assert next(iter(reader.read())).counts["ok"] == 5
    monkeypatch.setattr("audioset_batch.merge.shard_table.shard_table", None)
    assert next(iter(reader.read())).counts["ok"] == 5
    monkeypatch.undo()
    data.manifest(EVAL).unlink()
    record(data, EVAL, ok=6)
    assert next(iter(reader.read())).counts["ok"] == 6


@pytest.mark.usefixtures("held")
def test_a_task_comes_to_its_next_subset(data: DataDir) -> None:
    tell(data, EVAL, 1)
    tell(data, BALANCED, 1000, finished=True, note="stopped by signal SIGUSR1")
    lines = {line.seen.shard: line for line in collect(data, Config(data_dir=data.root)).shards}
    assert lines[EVAL].activity == "running"
    assert (lines[BALANCED].activity, lines[BALANCED].note) == ("queued", "after eval_segments.01")
    assert lines[BALANCED].job_id == "7_1"


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_single_job_comes_to_all_its_shards(data: DataDir, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """It has ended one of them, with failed segments, and has not begun the other."""
    queue = Queue(answered=True, shards={"12": (1,)}, **{state: frozenset({"12"})})  # type: ignore[arg-type]
    monkeypatch.setattr(collect_module, "read_queue", lambda *_: queue)
    tell(data, EVAL, 1000, job_id="12", counts={"ok": 9, "failed": 1}, finished=True)
    lines = {line.seen.shard: line for line in collect(data, Config(data_dir=data.root)).shards}
    assert (lines[BALANCED].activity, lines[BALANCED].job_id) == ("queued", "12")
    assert lines[EVAL].activity == ("queued" if state == "waiting" else "open")


def test_who_ended_it(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that came to its end with failed segments exits with 1, which SLURM calls FAILED."""
    ends = {"7_1": JobEnd("FAILED", "1:0"), "8_1": JobEnd("OUT_OF_MEMORY", "0:125")}
    monkeypatch.setattr(collect_module, "read_queue", lambda *_: Queue(answered=True, ended=ends))
    tell(data, EVAL, 1000, counts={"ok": 9, "failed": 1}, finished=True)
    tell(data, BALANCED, 1000, job_id="8_1")
    lines = {line.seen.shard: line for line in collect(data, Config(data_dir=data.root)).shards}
    assert (lines[EVAL].activity, lines[EVAL].note) == ("open", "")
    assert (lines[BALANCED].activity, lines[BALANCED].note) == ("stopped", "SLURM: OUT_OF_MEMORY, exit 0:125")


def test_watching_asks_slurm_now_and_then(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(*_: object) -> Queue:
        asked.append(1)
        return Queue()

    monkeypatch.setattr(collect_module, "read_queue", ask)
    collector = Collector(data, Config(data_dir=data.root))
    for _ in range(3):
        collector.look()
    assert len(asked) == 1
    collect(data, Config(data_dir=data.root), ask_slurm=False)
    assert len(asked) == 1


def test_a_silent_slurm_keeps_nobody_waiting(data: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(data, EVAL, 1000)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sbatch", "squeue", "sacct"):
        (tools / name).write_text("#!/bin/sh\nexec sleep 1000\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr("audioset_batch.status.queue._PATIENCE", 0.5)
    overview = collect(data, Config(data_dir=data.root))
    assert overview.slurm == "silent" and "squeue did not answer\nwithin 0.5 s" in render(overview)
