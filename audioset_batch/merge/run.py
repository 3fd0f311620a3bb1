"""Merge: one shard at a time into `manifest.parquet` and `manifest.csv`, and the counts into `summary.json`."""

from __future__ import annotations

import contextlib
import datetime
import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from audioset_batch.config.reservation import estimated_cpu_seconds, needed, reserved
from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.merge.context import by_version, read_pauses_between
from audioset_batch.merge.shard_table import outside_table, read_manifest, shard_table
from audioset_batch.merge.spreadsheet import for_spreadsheets
from audioset_batch.merge.summary import Tally
from audioset_batch.plan.labels import load_class_names
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.swap import watch_split
from audioset_batch.record.costs import read_costs
from audioset_batch.record.manifest import LineProblem
from audioset_batch.record.schema import MANIFEST_SCHEMA
from audioset_batch.record.settings import egress_config, read_settings
from audioset_batch.record.usage import cpu_seconds_per_segment
from audioset_batch.sharedfs.publish import atomic_write_json, replacing

_ROW_GROUP: Final = 100_000
_MOST_WORDINGS: Final = 100
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The result of a merge.

    Attributes:
        summary: The content of `summary.json`.
        differences: Differences between the plan and the rows; empty if the totals agree.
        unreadable_lines: Number of manifest lines that were left out.
    """

    summary: dict[str, Any]
    differences: tuple[str, ...]
    unreadable_lines: int

    @property
    def finished(self) -> bool:
        """True if every planned segment is ok or unavailable."""
        totals = self.summary["totals"]
        return bool(totals["planned"] == totals["ok"] + totals["unavailable"])


def merge(root: Path, *, write_csv: bool = True) -> MergeResult:
    """Merge all manifests under `root`. Safe while workers write: an incomplete last line is ignored.

    Raises:
        InputRefused: there are no shards, or one cannot be read.
        PlanChanging: prep is splitting, or did so during the merge; the previous tables remain.
        StorageUnusable: the tables cannot be written.
    """
    data = DataDir(root)
    unchanged = watch_split(data)  # during a split, rows may not be in the shards of their segments
    shards = data.all_shards()
    tally = Tally()
    problems: list[LineProblem] = []
    differences: list[str] = []
    planned: dict[str, array[int]] = {}
    with _tables(data, write_csv) as write, _Batch(tally, write) as batch:
        for shard, rows in _read_ahead(data, shards, problems.append):
            try:
                table = shard_table(data, shard, rows)
            except InputRefused:
                unchanged()  # a split may have removed it
                raise
            batch.add(table.planned, table.outside)
            differences += [_twice(data.shard_csv(shard), key) for key in table.repeated]
            planned.setdefault(shard.subset, array("q")).extend(table.key_hashes)
        planned_shards = set(shards)
        for orphan in [s for s in data.recorded_shards() if s not in planned_shards]:
            batch.add(MANIFEST_SCHEMA.empty_table(), outside_table(data, orphan, problems.append))
        unchanged()
    for subset, hashes in planned.items():
        differences += _planned_in_two_shards(data, subset, hashes)
    for problem in problems:
        if not problem.torn:
            _log.warning("%s", problem)
    summary = _summary(data, tally, len([p for p in problems if not p.torn]))
    atomic_write_json(data.summary_json, summary)
    return MergeResult(summary, tuple(differences), summary["unreadable_lines"])


def _read_ahead(
    data: DataDir, shards: Sequence[ShardId], on_problem: Callable[[LineProblem], None]
) -> Iterator[tuple[ShardId, pa.Table]]:
    """Each shard with the rows of its manifest. Another thread reads the next manifest in the meantime."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as thread:
        ahead: Future[pa.Table] | None = None
        for shard, following in zip(shards, [*shards[1:], None], strict=True):
            rows = thread.submit(read_manifest, data.manifest(shard), on_problem) if ahead is None else ahead
            now = rows.result()
            ahead = None if following is None else thread.submit(read_manifest, data.manifest(following), on_problem)
            yield shard, now


def _twice(path: Path, key: tuple[str, int, int]) -> str:
    return f"{path}: {key[0]} {key[1]}-{key[2]} ms is planned more than once"


def _planned_in_two_shards(data: DataDir, subset: str, hashes: array[int]) -> list[str]:
    """Segments of one subset that are planned in several shards. Reads shards only if hashes repeat."""
    values, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return []
    seen: set[tuple[str, int, int]] = set()
    found = []
    for shard in data.shards(subset):
        for key in {(s.ytid, s.start_ms, s.end_ms) for s in read_shard(data.shard_csv(shard), subset)}:
            if hash(key) in suspects:
                if key in seen:
                    found.append(_twice(data.shard_csv(shard), key))
                seen.add(key)
    return found


def _summary(data: DataDir, tally: Tally, unreadable: int) -> dict[str, Any]:
    settings = read_settings(data)
    timeline = tally.timeline.to_json()
    totals = tally.counts()
    return {
        "generated_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "totals": totals,
        "outside_plan": tally.outside_plan,
        "unreadable_lines": unreadable,
        "reasons": tally.reasons(),
        "unrecognized": dict(tally.words.most_common(_MOST_WORDINGS)),
        "subsets": {
            name: {**tally.counts(name), "reasons": tally.reasons(name), **tally.amounts(name)}
            for name in tally.subsets()
        },
        **tally.amounts(),
        **tally.media.to_json(),
        "cost": tally.cost.to_json(),
        "cluster": _cluster(data, totals["failed"] + totals["pending"]),
        "timeline": timeline,
        "pauses": read_pauses_between(data, settings, timeline["egress"], tally.timeline.span),
        "versions": {"yt-dlp of rows": dict(tally.versions.most_common()), **by_version(settings)},
        "settings": settings,
        "labels": tally.by_label(load_class_names(data.class_labels_csv)),
    }


def _cluster(data: DataDir, left: int) -> dict[str, Any]:
    """Resources held and used so far, and expected for the rest with the config that workers used last."""
    config, costs = egress_config(data), read_costs(data)
    seconds = cpu_seconds_per_segment(costs.tasks, estimated_cpu_seconds(config))
    return costs.to_json(reserved(config, seconds), needed(config, seconds), left)


@contextlib.contextmanager
def _tables(data: DataDir, write_csv: bool) -> Iterator[Any]:
    """Open both tables for writing; yields `write(table)`. Both are published complete, or not at all."""
    with contextlib.ExitStack() as stack:
        parquet_path = stack.enter_context(replacing(data.merged_parquet))
        parquet = stack.enter_context(pq.ParquetWriter(parquet_path, MANIFEST_SCHEMA, compression="zstd"))
        csv = None
        if write_csv:
            csv_path = stack.enter_context(replacing(data.merged_csv))
            options = pyarrow.csv.WriteOptions(quoting_style="needed")
            csv = stack.enter_context(pyarrow.csv.CSVWriter(csv_path, MANIFEST_SCHEMA, write_options=options))

        def write(table: pa.Table) -> None:
            parquet.write_table(table)
            if csv is not None:
                csv.write_table(for_spreadsheets(table))

        yield write


class _Batch:
    """Collects shards into batches, because counting and writing many small tables would take most of a merge.

    A thread counts and writes one batch while the next is collected; Arrow releases the GIL meanwhile.
    """

    def __init__(self, tally: Tally, write: Callable[[pa.Table], None]) -> None:
        self._tally = tally
        self._write = write
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="merge")
        self._before: Future[None] | None = None
        self._planned: list[pa.Table] = []
        self._outside: list[pa.Table] = []
        self._rows = 0

    def add(self, planned: pa.Table, outside: pa.Table) -> None:
        """Add the rows of one shard."""
        self._planned.append(planned)
        self._outside.append(outside)
        self._rows += planned.num_rows + outside.num_rows
        if self._rows >= _ROW_GROUP:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._before is not None:
            self._before.result()
        self._before = self._thread.submit(self._count_and_write, self._planned, self._outside)
        self._planned, self._outside, self._rows = [], [], 0

    def _count_and_write(self, several_planned: list[pa.Table], several_outside: list[pa.Table]) -> None:
        planned = pa.concat_tables(several_planned).combine_chunks()
        outside = pa.concat_tables(several_outside).combine_chunks()
        self._tally.add(planned, outside)
        for table in (planned, outside):
            if table.num_rows:
                self._write(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count and write the last batch unless there was an error, and end the thread."""
        with self._thread:
            if kind is None:
                if self._rows:
                    self._hand_over()
                if self._before is not None:
                    self._before.result()
