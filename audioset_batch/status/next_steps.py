"""Which commands are still to run when every segment is settled, from modification times alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audioset_batch.layout import DataDir
from audioset_batch.status.shards import Seen

_NEVER: Final = float("-inf")


def next_steps(data: DataDir, found: Sequence[Seen]) -> tuple[str, ...]:
    """`("merge", "report")` if rows or shards are newer than the table, `("report",)` if only the report is older.

    Raises:
        OSError: the data directory cannot be read.
    """
    merged = min(_changed(data.merged_parquet), _changed(data.summary_json))
    rows = [_NEVER if seen.written_at is None else seen.written_at for seen in found]
    # A filter or another split changes the plan without adding a row.
    if max([*rows, *(_changed(data.shard_csv(seen.shard)) for seen in found)], default=_NEVER) > merged:
        return "merge", "report"
    return () if _changed(data.report_html) >= merged else ("report",)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return _NEVER
