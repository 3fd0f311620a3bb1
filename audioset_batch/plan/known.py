"""Take over what somebody else found out: the permanent rows of an earlier run's or another lab's manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir
from audioset_batch.model import ManifestRow
from audioset_batch.plan.edit_manifest import edit_manifest
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.swap import ensure_settled
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import replay

_COLUMNS: Final = ("ytid", "start_seconds", "end_seconds", "status", "reason", "detail", "finished_at")
_TAKEN: Final = frozenset(reason for reason in Reason if reason.permanent) - {
    Reason.GEO_BLOCKED,  # only there
    Reason.NO_AUDIO,  # these depend on what their config asked for
    Reason.NO_VIDEO,
    Reason.FORMAT_UNAVAILABLE,
}

_Key = tuple[str, int, int]


@dataclass(slots=True)
class KnownReport:
    """What became of the rows of the file.

    Attributes:
        taken: Segments that got a row, by reason.
        recorded: Segments that have a row of their own already.
        unplanned: Rows about segments outside the plan.
        passed_over: Other rows, by status or reason.
    """

    taken: Counter[str] = field(default_factory=Counter)
    recorded: int = 0
    unplanned: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)


def take_over(root: Path, file: Path, *, geo_blocked: bool = False) -> KnownReport:
    """Write a row for every planned segment without one that `file` lists as permanently unavailable.

    Doing it again is harmless.

    Args:
        root: The data directory; prep has been there.
        file: `.jsonl` (manifest rows), `.parquet` or `.csv` (merged tables), plain.
        geo_blocked: Take these as well. What is blocked in one country may be had in another.

    Raises:
        InputRefused: the file is none of these, or there are no shards.
        ShardHeld: a worker has one of the shards; those before it are done.
        StorageUnusable: a manifest cannot be written.
    """
    data = DataDir(root)
    ensure_settled(data)
    shards = data.all_shards()
    report = KnownReport()
    gone = _gone(file, _TAKEN | {Reason.GEO_BLOCKED} if geo_blocked else _TAKEN, report)
    seen: set[_Key] = set()
    for shard in shards:
        segments = [s for s in read_shard(data.shard_csv(shard), shard.subset) if _key(s) in gone]
        seen.update(map(_key, segments))
        known = replay(data.manifest(shard)) if segments else {}
        new = [s for s in segments if s.key not in known]
        report.recorded += len(segments) - len(new)
        if not new:
            continue
        with edit_manifest(data, shard) as (planned, append):
            known = replay(data.manifest(shard))
            for segment in (s for s in planned if _key(s) in gone and s.key not in known):
                row = gone[_key(segment)]
                append(
                    ManifestRow.of(
                        segment,
                        shard.number,
                        Status.UNAVAILABLE,
                        reason=Reason(row["reason"]),
                        finished_at=str(row["finished_at"] or ""),
                        detail=f"known from {file.name}: {row['detail'] or ''}".rstrip(": "),
                    )
                )
                report.taken[row["reason"]] += 1
    report.unplanned = len(gone.keys() - seen)
    return report


def _key(segment: Any) -> _Key:
    return segment.ytid, segment.start_ms, segment.end_ms


def _gone(file: Path, reasons: Collection[str], report: KnownReport) -> dict[_Key, dict[str, Any]]:
    """The last row of each segment, if it is of a kind that is taken over."""
    last: dict[_Key, dict[str, Any]] = {}
    for number, row in enumerate(_rows(file), 1):
        try:
            key = (str(row["ytid"]), round(1000 * float(row["start_seconds"])), round(1000 * float(row["end_seconds"])))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputRefused(
                f"{file}: row {number} is not a row of a manifest: {type(error).__name__}: {error}"
            ) from error
        last[key] = row
    gone = {}
    for key, row in last.items():
        if row.get("status") == Status.UNAVAILABLE and str(row.get("reason")) in reasons:
            gone[key] = {"detail": "", "finished_at": "", **row}
        else:
            word = row.get("reason") if row.get("status") == Status.UNAVAILABLE else row.get("status")
            report.passed_over[str(word)] += 1
    return gone


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        if file.suffix == ".jsonl":
            yield from _json_lines(file)
            return
        table = _table(file)
    except OSError as error:
        raise InputRefused(f"{file}: {error.strerror or error}") from error
    missing = [name for name in _COLUMNS[:5] if name not in table.column_names]
    if missing:
        raise InputRefused(
            f"{file}: no manifest: the columns {', '.join(missing)} are missing; "
            f"it has {', '.join(table.column_names[:12])}"
        )
    yield from table.select([name for name in _COLUMNS if name in table.column_names]).to_pylist()


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputRefused(f"{file}:{number}: expected a manifest row as JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputRefused(f"{file}:{number}: expected a manifest row, an object; got {type(row).__name__}")
            yield row


def _table(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            return pq.read_table(file)
        if file.suffix == ".csv":
            types = {name: pa.string() for name in ("ytid", "status", "reason", "detail", "finished_at")}
            return pyarrow.csv.read_csv(file, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
    except pa.ArrowException as error:
        raise InputRefused(f"{file}: cannot be read as a table: {error}") from error
    raise InputRefused(f"{file}: expected .jsonl (a manifest or `export --unavailable`), .parquet or .csv (merged)")
