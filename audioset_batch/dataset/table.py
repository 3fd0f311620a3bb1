"""The manifest as a table: from `manifest.parquet`, or from the shards' manifests while there is none."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audioset_batch.dataset.classes import load_classes
from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import COLUMNS, SUBSETS
from audioset_batch.paths import expand_home
from audioset_batch.reasons import Status

if TYPE_CHECKING:
    import pandas as pd

Words = str | Iterable[str]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows; None or empty: all of them.

    Attributes:
        subsets: Whole names.
        statuses: Values of `Status`.
        mids: Rows with at least one of these labels.
    """

    subsets: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    mids: tuple[str, ...] = ()

    def expression(self) -> pc.Expression | None:
        """The selection as Arrow understands it."""
        parts = []
        if self.subsets:
            parts.append(pc.field("subset").isin(list(self.subsets)))
        if self.statuses:
            parts.append(pc.field("status").isin(list(self.statuses)))
        if self.mids:
            some = "|".join(map(re.escape, self.mids))
            parts.append(pc.match_substring_regex(pc.field("labels"), f"(^|,)({some})(,|$)"))
        whole = None
        for part in parts:
            whole = part if whole is None else whole & part
        return whole


def load_manifest(
    source: str | Path,
    subset: Words | None = None,
    status: Words | None = "ok",
    labels: Words | None = None,
    *,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """What is known about the segments: one row each, with the columns of docs/manifest.md.

    While there is no merged table, or a worker has written since it was made, a warning says so; without a table the
    rows come from the shards' manifests, by the same rules as in `audioset-batch merge`.

    Args:
        source: A data directory, or the path of its `manifest.parquet`.
        subset: Only these: `eval_segments`, or the beginning of a name: `eval`, `balanced`, `unbalanced`. None: all.
        status: Only these: `ok`, `unavailable`, `failed`, `pending`. None: all.
        labels: Only segments with at least one of these labels, display names or MIDs: `"Dog,Cat"` or a list.
        columns: Only these columns; None: all.

    Raises:
        UsageError: there is no such data, or an argument names something that does not exist.
        InputRefused: the table cannot be read.
    """
    root, table = _locate(expand_home(source), 4)
    wanted = select(root, subset, status, labels)
    found: pd.DataFrame = read_rows(root, table, wanted, columns or COLUMNS).to_pandas()
    return found


def select(root: Path, subset: Words | None, status: Words | None, labels: Words | None) -> Selection:
    """The arguments of `load_manifest`, checked.

    Raises:
        UsageError: one names something that does not exist.
    """
    statuses = _words(status)
    for one in statuses:
        if one not in set(Status):
            raise UsageError(f"status {one!r}: choose from {', '.join(Status)}, or None for all")
    mids = load_classes(root).find(labels) if labels is not None else ()
    return Selection(tuple(_subset(root, name) for name in _words(subset)), statuses, mids)


def _words(value: Words | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else tuple(value)


def _subset(root: Path, name: str) -> str:
    names = list(dict.fromkeys([*SUBSETS, *DataDir(root).subsets_present()]))
    found = name if name in names else next((one for one in names if name and one.startswith(name)), None)
    if found is None:
        raise UsageError(f"subset {name!r}: choose from {', '.join(names)}")
    return found


def open_data(data_dir: str | Path) -> tuple[Path, Path | None]:
    """The data directory, and its merged table if there is one.

    Raises:
        UsageError: it is no data directory.
    """
    root = expand_home(data_dir)
    if root.is_file():
        raise UsageError(f"{root}: expected a data directory, found a file")
    return _locate(root, 5)


def _locate(path: Path, stacklevel: int) -> tuple[Path, Path | None]:
    if path.is_file():
        return path.parent, path
    if not path.is_dir():
        raise UsageError(f"{path} does not exist: expected a data directory, or its manifest.parquet")
    data = DataDir(path)
    if data.merged_parquet.is_file():
        newer = [file for file in data.manifests.glob("*.jsonl") if _changed(file) > _changed(data.merged_parquet)]
        if newer:
            _warn(
                f"{data.merged_parquet} is older than {newer[0].name}: "
                f"`audioset-batch merge {path}` brings it up to date",
                stacklevel,
            )
        return path, data.merged_parquet
    if not data.subsets_present() and not data.recorded_shards():
        raise UsageError(
            f"{path}: expected a data directory with manifest.parquet or shards (*.csv.NN), found neither; "
            "./download_subset_files.sh DATADIR makes the shards"
        )
    _warn(
        f"{data.merged_parquet} does not exist yet: reading the shards' manifests; "
        f"`audioset-batch merge {path}` makes it",
        stacklevel,
    )
    return path, None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # split again meanwhile
        return 0.0


def _warn(text: str, stacklevel: int) -> None:
    warnings.warn(text, stacklevel=stacklevel)  # at the line outside of this package


def read_rows(root: Path, table: Path | None, wanted: Selection, columns: Sequence[str]) -> pa.Table:
    """The selected rows, from the merged table or, where `table` is None, from the shards' manifests.

    Raises:
        UsageError: a column does not exist.
        InputRefused: something cannot be read.
    """
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise UsageError(f"column {unknown[0]!r} does not exist; there are {', '.join(COLUMNS)}")
    chosen = list(columns)
    if table is None:
        return _from_shards(DataDir(root), wanted, chosen)
    try:
        missing = [name for name in chosen if name not in pq.read_schema(table).names]
        if missing:
            raise InputRefused(f"{table}: expected the merged manifest; columns missing: {', '.join(missing)}")
        return pq.read_table(table, columns=chosen, filters=wanted.expression(), partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputRefused(
            f"{table}: cannot be read as Parquet: {error}. `audioset-batch merge {root}` writes it again"
        ) from error


def _from_shards(data: DataDir, wanted: Selection, columns: list[str]) -> pa.Table:
    from audioset_batch.record.schema import MANIFEST_SCHEMA

    expression = wanted.expression()
    parts = [MANIFEST_SCHEMA.empty_table().select(columns)]
    for rows in _shard_tables(data, wanted.subsets):
        parts.append((rows if expression is None else rows.filter(expression)).select(columns))
    return pa.concat_tables(parts)


def _shard_tables(data: DataDir, subsets: tuple[str, ...]) -> Iterator[pa.Table]:
    from audioset_batch.merge.shard_table import outside_table, read_manifest, shard_table
    from audioset_batch.record.manifest import warn_of_problem

    def wanted(shard: ShardId) -> bool:
        return not subsets or shard.subset in subsets

    planned = [shard for subset in data.subsets_present() for shard in data.shards(subset) if wanted(shard)]
    for shard in planned:
        rows = shard_table(data, shard, read_manifest(data.manifest(shard), warn_of_problem))
        yield rows.planned
        yield rows.outside
    for shard in data.recorded_shards():
        if wanted(shard) and shard not in planned:
            yield outside_table(data, shard, warn_of_problem)
