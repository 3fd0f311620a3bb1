"""Join the plan and the manifest of one shard into rows of the merged table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.segments_csv import read_shard_table
from audioset_batch.plan.table import SegmentTable
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import OUTSIDE, RETRY, TIME_LIMIT, LineProblem, read_rows
from audioset_batch.record.schema import MANIFEST_SCHEMA
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.publish import storage

Key = tuple[str, int, int]

_BLOCK: Final = 1 << 26
"""Bytes that Arrow parses at a time. Its limit is 2 GiB, which the manifest of a single shard may exceed."""

_AT_ONCE: Final = 8 << 30


@dataclass(frozen=True, slots=True)
class ShardTable:
    """Rows of one shard after replay.

    Attributes:
        planned: One row per planned segment, in the order of the shard's CSV.
        outside: Rows of segments outside the plan, one per segment.
        repeated: Planned segments that stand in the shard's CSV more than once.
        key_hashes: One per planned segment, to find those that stand in two shards.
    """

    planned: pa.Table
    outside: pa.Table
    repeated: tuple[Key, ...]
    key_hashes: tuple[int, ...]


def read_manifest(path: Path, on_problem: Callable[[LineProblem], None]) -> pa.Table:
    """All rows of a manifest. Lines that are not rows are reported and left out.

    Arrow reads ordinary files; a file that it rejects is read line by line.
    """
    with storage(path.parent):
        try:
            with Folder(path.parent, may_be_link=True) as folder:
                size = folder.stat(path.name).st_size
                # A larger file (sparse files cost nothing) is read line by line.
                data = folder.read(path.name, 2 * _AT_ONCE)[0] if size <= _AT_ONCE else b""
        except FileNotFoundError:
            return MANIFEST_SCHEMA.empty_table()
    whole = data.endswith(b"\n")
    if data and whole and _is_text(data):
        options = pj.ParseOptions(explicit_schema=MANIFEST_SCHEMA, unexpected_field_behavior="ignore")
        try:
            table = pj.read_json(
                pa.BufferReader(data),
                read_options=pj.ReadOptions(use_threads=False, block_size=min(len(data), _BLOCK)),
                parse_options=options,
            )
        except pa.ArrowInvalid:
            pass
        else:
            if _all_are_rows(table):
                return table
    rows = [_typed(row) for row in read_rows(path, on_problem)]
    return pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)


def _is_text(data: bytes) -> bool:
    """Whether it is UTF-8, as JSON must be. Arrow does not check the names of fields."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _all_are_rows(table: pa.Table) -> bool:
    """The checks of `decode_row`, for all lines at once."""
    if any(table.column(name).null_count for name in ("subset", "ytid", "status", "start_seconds", "end_seconds")):
        return False
    if not set(pc.unique(table.column("status")).to_pylist()) <= set(Status):
        return False
    for name in ("audio_path", "video_path", "tar"):
        if pc.any(pc.match_substring_regex(table.column(name), OUTSIDE)).as_py():
            return False
    times = [pc.less(pc.abs(table.column(name)), TIME_LIMIT) for name in ("start_seconds", "end_seconds")]
    return all(pc.all(column).as_py() for column in times)


def _typed(row: dict[str, object]) -> dict[str, object]:
    """The known columns with values of their types; other values in a hand-edited row become null."""
    result: dict[str, object] = {}
    for field in MANIFEST_SCHEMA:
        value = row.get(field.name)
        try:
            pa.scalar(value, field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            value = json.dumps(value) if pa.types.is_string(field.type) else None
        result[field.name] = value
    return result


def shard_table(data: DataDir, shard: ShardId, rows: pa.Table) -> ShardTable:
    """Join the plan of one shard with the rows of its manifest.

    Args:
        data: The data directory.
        shard: The shard.
        rows: The rows, from `read_manifest`.

    Raises:
        InputRefused: the shard cannot be read.
    """
    latest = _replay(rows)
    plan = read_shard_table(data.shard_csv(shard), shard.subset)
    seen: dict[Key, int] = {}
    repeated: list[Key] = []
    indices: list[int] = []
    unseen: list[int] = []
    keys = zip(plan.ytid.astype("U11").tolist(), plan.start_ms.tolist(), plan.end_ms.tolist(), strict=True)
    for number, key in enumerate(keys):
        if seen.setdefault(key, number) != number:
            repeated.append(key)
            continue
        index = latest.pop(key, None)
        if index is None:
            index = rows.num_rows + len(unseen)
            unseen.append(number)
        indices.append(index)
    if unseen:
        rows = pa.concat_tables([rows, _pending(plan.take(np.array(unseen)), shard)])
    return ShardTable(
        planned=rows.take(pa.array(indices, pa.int64())),
        outside=rows.take(pa.array(sorted(latest.values()), pa.int64())),
        repeated=tuple(repeated),
        key_hashes=tuple(map(hash, seen)),
    )


def _pending(plan: SegmentTable, shard: ShardId) -> pa.Table:
    """Pending rows for segments without a row."""
    known = {
        "subset": pa.array([shard.subset] * len(plan)),
        "shard": pa.array([shard.number] * len(plan)),
        "ytid": pa.array(plan.ytid.astype("U11").tolist()),
        "start_seconds": pa.array(plan.start_ms / 1000),
        "end_seconds": pa.array(plan.end_ms / 1000),
        "labels": plan.labels,
        "status": pa.array([str(Status.PENDING)] * len(plan)),
        "reason": pa.array([""] * len(plan)),
    }
    nothing = {field.name: pa.nulls(len(plan), field.type) for field in MANIFEST_SCHEMA}
    columns = {name: column.cast(MANIFEST_SCHEMA.field(name).type) for name, column in known.items()}
    return pa.table(nothing | columns, schema=MANIFEST_SCHEMA)


def outside_table(data: DataDir, shard: ShardId, on_problem: Callable[[LineProblem], None]) -> pa.Table:
    """The rows of a manifest whose shard is no longer planned, one per segment."""
    rows = read_manifest(data.manifest(shard), on_problem)
    return rows.take(pa.array(sorted(_replay(rows).values()), pa.int64()))


def _replay(rows: pa.Table) -> dict[Key, int]:
    """The index of the deciding row of each segment: the last `ok` since the last reset, else the newest row.

    The same rule as `record.manifest.replay`, on columns.
    """
    ytids = rows.column("ytid").to_pylist()
    starts = _milliseconds(rows.column("start_seconds"))
    ends = _milliseconds(rows.column("end_seconds"))
    latest: dict[Key, int] = dict(zip(zip(ytids, starts, ends, strict=True), range(len(ytids)), strict=True))
    if len(latest) == len(ytids):
        return latest
    statuses = rows.column("status").to_pylist()
    reasons = rows.column("reason").to_pylist()
    latest = {}
    for index, key in enumerate(zip(ytids, starts, ends, strict=True)):
        known = latest.get(key)
        reset = statuses[index] == "pending" and reasons[index] == RETRY
        if known is None or statuses[known] != "ok" or statuses[index] == "ok" or reset:
            latest[key] = index
    return latest


def _milliseconds(seconds: pa.ChunkedArray) -> list[int]:
    whole: list[int] = np.rint(seconds.to_numpy() * 1000).astype(np.int64).tolist()
    return whole
