"""Cut the plan into N shards per subset, and take what is recorded along.

Shards are contiguous pieces of the CSV, so that their concatenation is the plan in the order of the CSV. Each is a
CSV in the released format, with three header lines of which the second promises its number of rows. Rows of
manifests that no shard plans are kept in the manifest after the last shard's (`<subset>.<N + 1>.jsonl`), which no
worker reads and `merge` counts as `outside_plan`; lines that are no rows go to `<subset>.01.jsonl.torn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import ShardHeld
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import SegmentKey
from audioset_batch.plan.move_rows import RowMover
from audioset_batch.plan.swap import Swap, ensure_settled, splitting
from audioset_batch.plan.table import YTID_DTYPE, SegmentTable, segment_hashes
from audioset_batch.record.tars import open_tars, publish_left_open_tars
from audioset_batch.sharedfs.folders import read_file
from audioset_batch.sharedfs.lease import read_lease
from audioset_batch.sharedfs.publish import storage

_MOST_TORN = 1 << 30


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What a split did to one subset.

    Attributes:
        changed: False if the shards were as they should be already.
        moved: Manifest rows that went to another shard.
        outside: Manifest rows about segments that are not in the plan.
    """

    subset: str
    shards: int
    changed: bool = False
    moved: int = 0
    outside: int = 0


def shard_bounds(rows: int, shards: int) -> list[int]:
    """Where the shards begin, and the end: `shards + 1` indices; sizes differ by at most one."""
    return [rows * k // shards for k in range(shards + 1)]


def split(data: DataDir, tables: Sequence[SegmentTable], shards: int, note: str = "") -> list[SplitReport]:
    """Make `shards` shards of each table's rows and move the rows of their manifests. Other subsets stay.

    Args:
        data: The data directory.
        tables: The plan of each subset to split.
        shards: Number of shards of each subset, at least 1.
        note: Says in the shards' first line how the plan was chosen.

    Raises:
        ShardHeld: a shard that would change is held by a worker; nothing was changed.
        StorageUnusable: files cannot be written; the next split continues or starts afresh.
    """
    ensure_settled(data)
    reports = []
    due: list[tuple[SegmentTable, list[bytes]]] = []
    for table in tables:
        texts = list(_shard_texts(table, shards, note))
        if _is_in_place(data, table.subset, texts):
            reports.append(SplitReport(table.subset, shards))
        else:
            due.append((table, texts))
    if not due:
        return reports
    with splitting(data) as lease:
        refuse_if_held(data, [table.subset for table, _ in due])
        swap = Swap(data)
        remove: list[Path] = []
        try:
            for table, texts in due:
                _publish_open_tars(data, table.subset)
                reports.append(_stage_subset(data, swap, table, texts, remove))
            lease.check()
        except BaseException:
            swap.abandon()
            raise
        swap.commit(remove)
    return [next(r for r in reports if r.subset == table.subset) for table in tables]


def _publish_open_tars(data: DataDir, subset: str) -> None:
    """What says up to where an open tar is good is its shard's manifest, whose rows are about to be scattered."""
    for shard in data.recorded_shards():
        if shard.subset == subset and open_tars(data, shard):
            info = read_lease(data.lease(shard))
            publish_left_open_tars(data, shard, fence=info is not None and not info.holder.is_dead())


def refuse_if_held(data: DataDir, subsets: Sequence[str]) -> None:
    """Raise `ShardHeld` if a worker holds a shard of one of `subsets`."""
    held = []
    for path in sorted(data.states.glob("*.lease")):
        if path.name.partition(".")[0] in subsets and (info := read_lease(path)) and info.alive:
            held.append(f"{path.name.removesuffix('.lease')} by {info}")
    if held:
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        raise ShardHeld(
            f"cannot split while shards are held: {', '.join(held[:5])}{more}. Wait for their workers or cancel "
            "them, then run this again"
        )


def choice_of(data: DataDir, subset: str) -> str:
    """How the planned rows of a subset with shards were chosen: the `note` of its `split`; "" if all were taken.

    Raises:
        StorageUnusable: its first shard cannot be read.
    """
    path = data.shard_csv(data.shards(subset)[0])
    with storage(data.root), path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().partition(f" of {subset} (")[2].strip().removesuffix(")")


def _shard_texts(table: SegmentTable, shards: int, note: str) -> Iterator[bytes]:
    lines = table.csv_lines()
    _, offsets, values = lines.buffers()
    starts = np.frombuffer(offsets, dtype=np.int32) if len(table) else np.zeros(1, dtype=np.int32)
    text = memoryview(values) if values is not None else memoryview(b"")
    bounds = shard_bounds(len(table), shards)
    chosen = f" ({note})" if note else ""
    for number in range(1, shards + 1):
        begin, end = bounds[number - 1], bounds[number]
        header = (
            f"# Segments csv made by audioset-batch: shard {number} of {shards} of {table.subset}{chosen}\n"
            f"# num_segs={end - begin}\n"
            "# YTID, start_seconds, end_seconds, positive_labels\n"
        )
        yield header.encode() + text[int(starts[begin]) : int(starts[end])]


def _is_in_place(data: DataDir, subset: str, texts: Sequence[bytes]) -> bool:
    present = data.shards(subset)
    wanted = [ShardId(subset, number) for number in range(1, len(texts) + 1)]
    return present == wanted and all(
        (path := data.shard_csv(shard)).stat().st_size == len(text) and path.read_bytes() == text
        for shard, text in zip(wanted, texts, strict=True)
    )


def _stage_subset(
    data: DataDir, swap: Swap, table: SegmentTable, texts: Sequence[bytes], remove: list[Path]
) -> SplitReport:
    subset, shards = table.subset, len(texts)
    for number, text in enumerate(texts, 1):
        swap.stage(data.shard_csv(ShardId(subset, number)), [text])
    remove += [data.shard_csv(shard) for shard in data.shards(subset)]

    recorded = [shard for shard in data.recorded_shards() if shard.subset == subset]
    side = data.torn(ShardId(subset, 1))

    def put(number: int | None, lines: list[bytes]) -> None:
        if number is not None:
            swap.stage(data.manifest(ShardId(subset, number)), lines, precious=True)
            return
        if side not in started and side.exists():
            swap.stage(side, [read_file(side, _MOST_TORN)], precious=True)
        started.add(side)
        swap.stage(side, lines, precious=True)

    started: set[Path] = set()
    mover = RowMover(subset, ShardFinder(table, shards), shards + 1, put)
    for shard in sorted(recorded, key=lambda one: one.number):
        mover.move(shard.number, data.manifest(shard))
    remove += [data.manifest(shard) for shard in recorded]

    # Counts of the old shards say nothing about the new ones; workers write new ones. Leases stay.
    remove += data.states.glob(f"{subset}.*.json")
    return SplitReport(subset, shards, changed=True, moved=mover.moved, outside=mover.outside_plan)


class ShardFinder:
    """Finds the shards of many segments at once in a plan of millions."""

    def __init__(self, table: SegmentTable, shards: int) -> None:
        self._table = table
        self._ends = np.array(shard_bounds(len(table), shards)[1:])

    @cached_property
    def _index(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """Rows of the table in the order of their hashes, and those; made when there is something to find."""
        hashes = segment_hashes(self._table.ytid, self._table.start_ms, self._table.end_ms)
        order = np.argsort(hashes, kind="stable")
        return order, hashes[order]

    def __call__(self, keys: Sequence[SegmentKey]) -> list[int | None]:
        """The number of the shard that plans each segment, None if there is none."""
        ytids = [key.ytid.encode("utf-8", "replace") for key in keys]
        hashes = segment_hashes(
            np.array(ytids, dtype=YTID_DTYPE),
            np.array([key.start_ms for key in keys], dtype=np.int64),
            np.array([key.end_ms for key in keys], dtype=np.int64),
        )
        first = np.searchsorted(self._index[1], hashes, side="left").tolist()
        last = np.searchsorted(self._index[1], hashes, side="right").tolist()
        return [
            self._shard(ytid, key, begin, end) for ytid, key, begin, end in zip(ytids, keys, first, last, strict=True)
        ]

    def _shard(self, ytid: bytes, key: SegmentKey, begin: int, end: int) -> int | None:
        table = self._table
        for row in self._index[0][begin:end]:
            if table.ytid[row] == ytid and table.start_ms[row] == key.start_ms and table.end_ms[row] == key.end_ms:
                return int(np.searchsorted(self._ends, row, side="right")) + 1
        return None
