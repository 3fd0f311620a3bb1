"""Splitting, splitting again, and what a kill in the middle leaves."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.errors import ShardHeld
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, SegmentKey
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.split import ShardFinder, shard_bounds, split
from audioset_batch.plan.swap import ensure_settled, splitting, unfinished_split
from audioset_batch.plan.table import SegmentTable
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import ManifestWriter, encode_row, read_rows
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.lease import Holder, Lease

SUBSET = "eval_segments"


def table(numbers: range | list[int], subset: str = SUBSET) -> SegmentTable:
    values = np.array(list(numbers), dtype=np.int64)
    return SegmentTable(
        subset,
        np.array([f"-_{n:09d}" for n in values], dtype="S11"),
        values * 10,
        values * 10 + 10_000,
        pa.array(["/m/09x0r"] * len(values), type=pa.string()),
    )


def row(number: int, shard: int, status: Status = Status.OK, **more: object) -> ManifestRow:
    return ManifestRow(
        subset=SUBSET,
        shard=shard,
        ytid=f"-_{number:09d}",
        start_seconds=number * 10 / 1000,
        end_seconds=(number * 10 + 10_000) / 1000,
        labels="/m/09x0r",
        status=status,
        **more,  # type: ignore[arg-type]
    )


def record_all(data: DataDir) -> None:
    """Two rows for each planned segment, in the manifest of its shard."""
    for shard in data.shards(SUBSET):
        with ManifestWriter(data.manifest(shard)) as writer:
            for status in (Status.FAILED, Status.OK):
                for segment in read_shard(data.shard_csv(shard), SUBSET):
                    writer.append(row(int(segment.ytid[2:]), shard.number, status))


def all_rows(data: DataDir) -> Counter[tuple[str, str]]:
    return Counter(
        (values["ytid"], values["status"])
        for shard in data.recorded_shards()
        for values in read_rows(data.manifest(shard))
    )


def check_in_place(data: DataDir, shards: int) -> None:
    """Every row is in the manifest of the shard that plans it, says so, and comes after its earlier ones."""
    planned = {s.ytid: shard.number for shard in data.shards(SUBSET) for s in read_shard(data.shard_csv(shard), SUBSET)}
    seen: set[str] = set()
    for shard in data.recorded_shards():
        for values in read_rows(data.manifest(shard)):
            assert values["shard"] == shard.number == planned.get(values["ytid"], shards + 1)
            if values["status"] == "ok":
                assert values["ytid"] in seen
            seen.add(values["ytid"])


@given(st.integers(0, 5000), st.integers(1, 300))
def test_sizes_are_at_most_one_apart(rows: int, shards: int) -> None:
    bounds = shard_bounds(rows, shards)
    sizes = np.diff(bounds)
    assert len(sizes) == shards and sizes.sum() == rows and sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(("rows", "shards"), [(10, 1), (10, 3), (3, 10), (0, 2), (250, 101)])
def test_the_shards_are_the_plan(tmp_path: Path, rows: int, shards: int) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(rows))], shards, "labels Dog")
    assert [s.number for s in data.shards(SUBSET)] == list(range(1, shards + 1))
    read = [s for shard in data.shards(SUBSET) for s in read_shard(data.shard_csv(shard), SUBSET)]
    assert read == table(range(rows)).segments()
    if shards > 100:
        assert (tmp_path / "eval_segments.csv.09").exists() and (tmp_path / "eval_segments.csv.100").exists()
    header = data.shard_csv(ShardId(SUBSET, 1)).read_text().splitlines()[:3]
    assert all(line.startswith("# ") for line in header) and "labels Dog" in header[0]


def test_splitting_again_moves_every_row(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(50))], 5)
    record_all(data)
    before = all_rows(data)
    (tmp_path / "state").mkdir(exist_ok=True)
    for name in ("eval_segments.01.json", "eval_segments.05.json", "balanced_train_segments.09.json"):
        (tmp_path / "state" / name).write_text("{}")
    [report] = split(data, [table(range(50))], 3)
    assert (report.changed, report.outside) == (True, 0) and report.moved > 0
    assert [s.number for s in data.shards(SUBSET)] == [1, 2, 3]
    assert [s.number for s in data.recorded_shards()] == [1, 2, 3]
    assert all_rows(data) == before
    check_in_place(data, 3)
    assert [p.name for p in (tmp_path / "state").glob("*.json")] == ["balanced_train_segments.09.json"]
    assert not data.split_staging.exists()


def test_rows_outside_the_plan_are_kept_and_come_back(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(20))], 2)
    record_all(data)
    before = all_rows(data)
    [report] = split(data, [table([3, 4, 15])], 2)
    assert report.outside == 34
    assert [s.number for s in data.recorded_shards()] == [1, 2, 3] and all_rows(data) == before
    check_in_place(data, 2)
    [report] = split(data, [table(range(20))], 4)
    assert report.outside == 0 and all_rows(data) == before
    check_in_place(data, 4)


def test_the_same_split_again_touches_nothing_even_while_held(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(20))], 2)
    record_all(data)
    with hold(data, ShardId(SUBSET, 1)):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.csv.*")}
        assert [r.changed for r in split(data, [table(range(20))], 2)] == [False]
        assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.csv.*")}


def hold(data: DataDir, shard: ShardId) -> Lease:
    return Lease.acquire(data.lease(shard), Holder.current(job_id="5_1"), 60)


def test_refused_while_a_shard_is_held(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(20))], 2)
    with hold(data, ShardId(SUBSET, 2)):
        with pytest.raises(ShardHeld, match=r"eval_segments\.02 by job 5_1.*run this again"):
            split(data, [table(range(20))], 3)
        assert [s.number for s in data.shards(SUBSET)] == [1, 2] and not data.split_staging.exists()
    assert split(data, [table(range(20))], 3)[0].changed
    with hold(data, ShardId("balanced_train_segments", 1)):
        assert split(data, [table(range(20))], 4)[0].changed, "another subset's worker is not in the way"


def test_a_dead_worker_does_not_hold_its_shard(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(20))], 2)
    if (child := os.fork()) == 0:
        hold(data, ShardId(SUBSET, 2))
        os._exit(0)
    os.waitpid(child, 0)
    assert split(data, [table(range(20))], 3)[0].changed


def test_workers_wait_for_a_split(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(20))], 2)
    assert not ensure_settled(data)
    with splitting(data):
        with pytest.raises(ShardHeld, match="prep is splitting"):
            ensure_settled(data)
        with pytest.raises(ShardHeld, match="prep is splitting"):
            split(data, [table(range(20))], 3)
    assert not ensure_settled(data)


def test_lines_that_are_no_rows_are_kept_aside(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(4))], 2)
    record_all(data)
    before = all_rows(data)
    second = data.manifest(ShardId(SUBSET, 2))
    whole_but_open = encode_row(row(3, 2)).rstrip(b"\n")
    second.write_bytes(b"garbage\n" + second.read_bytes() + whole_but_open)
    data.torn(ShardId(SUBSET, 1)).write_bytes(b"older\n")
    split(data, [table(range(4))], 1)
    assert all_rows(data) == before + Counter({("-_000000003", "ok"): 1})
    assert data.torn(ShardId(SUBSET, 1)).read_bytes() == b"older\ngarbage\n"


def test_a_row_with_an_impossible_time_is_kept_aside(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(4))], 1)
    manifest = data.manifest(ShardId(SUBSET, 1))
    manifest.parent.mkdir(exist_ok=True)
    line = encode_row(row(3, 1))
    manifest.write_bytes(line.replace(b'"start_seconds":0.03', b'"start_seconds":' + b"9" * 30 + b".0"))
    split(data, [table(range(4))], 2)
    assert b"9" * 30 in data.torn(ShardId(SUBSET, 1)).read_bytes()


def test_rows_of_other_programs_are_renumbered_too(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    split(data, [table(range(4))], 2)
    values = json.loads(encode_row(row(3, 2)))
    data.manifests.mkdir()
    data.manifest(ShardId(SUBSET, 2)).write_text(json.dumps(dict(reversed(values.items()))) + "\n")
    split(data, [table(range(4))], 4)
    [moved] = read_rows(data.manifest(ShardId(SUBSET, 4)))
    assert moved == values | {"shard": 4}


def test_finder_agrees_with_the_table() -> None:
    plan = table(range(0, 100, 2))
    finder = ShardFinder(plan, 7)
    bounds = shard_bounds(50, 7)
    keys = [segment.key for segment in table(range(100)).segments()]
    expected = [next(k for k in range(1, 8) if n // 2 < bounds[k]) if n % 2 == 0 else None for n in range(100)]
    assert finder(keys) == expected
    assert finder([]) == [] and finder([SegmentKey(SUBSET, "-_000000000x", 0, 10_000)]) == [None]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.sets(st.integers(0, 15))), min_size=1, max_size=4))
def test_no_row_is_lost_or_doubled_by_any_splits(
    tmp_path_factory: pytest.TempPathFactory, splits: list[tuple[int, set[int]]]
) -> None:
    data = DataDir(tmp_path_factory.mktemp("splits"))
    split(data, [table(range(16))], 3)
    record_all(data)
    before = all_rows(data)
    for shards, plan in splits:
        split(data, [table(sorted(plan))], shards)
        assert all_rows(data) == before
        check_in_place(data, shards)


@pytest.mark.slow
def test_a_kill_at_any_point_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Die before the k-th rename, removal or write of the exchange, for each k, then run the command again."""
    origin = DataDir(tmp_path / "origin")
    origin.root.mkdir()
    split(origin, [table(range(12))], 4)
    record_all(origin)
    before = all_rows(origin)
    finished, rolled_back = 0, 0
    for k in range(1, 200):
        data = DataDir(tmp_path / f"kill{k}")
        shutil.copytree(origin.root, data.root)
        child = os.fork()
        if child == 0:
            _die_at_step(k)
            try:
                split(data, [table(range(10))], 2)
            finally:
                os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            break
        assert status == 9
        if unfinished_split(data):
            finished += 1
            assert ensure_settled(data)
            assert [s.number for s in data.shards(SUBSET)] == [1, 2]
        else:
            rolled_back += 1
        split(data, [table(range(10))], 2)
        assert all_rows(data) == before
        check_in_place(data, 2)
        assert not data.split_staging.exists()
        shutil.rmtree(data.root)
    assert finished >= 9 and rolled_back >= 5


def _die_at_step(k: int) -> None:
    left = k

    def counted(real):  # type: ignore[no-untyped-def]
        def call(self, *args, **options):  # type: ignore[no-untyped-def]
            nonlocal left
            if not str(args[0]).startswith("."):  # a clock, a file in the making
                left -= 1
                if left == 0:
                    os._exit(9)
            return real(self, *args, **options)

        return call

    for name in ("rename", "remove", "make_folder", "create", "open"):
        setattr(Folder, name, counted(getattr(Folder, name)))
