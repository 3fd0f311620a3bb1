"""The facts about one segment as text and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from audioset_batch.status.segment import FileFacts, SegmentFacts
from audioset_batch.untrusted import visible

_SAID: Final = frozenset(
    {"subset", "shard", "ytid", "start_seconds", "end_seconds", "labels", "status", "reason", "finished_at"}
)
"""Columns that appear elsewhere in the text."""


def describe(one: SegmentFacts) -> str:
    """The facts as lines of text."""
    start, end = one.key.start_ms / 1000, one.key.end_ms / 1000
    lines = [
        f"{one.key.ytid}  {start:g} to {end:g} s  https://www.youtube.com/watch?v={one.key.ytid}&t={int(start)}",
        f"  shard    {one.shard}" + ("" if one.planned else "  (not in the plan any more)"),
        f"  labels   {', '.join(f'{name} ({mid})' if name else mid for mid, name in one.labels) or 'none'}",
        f"  status   {one.status}{f': {one.reason}' if one.reason else ''}",
    ]
    if one.holder:
        lines.append(f"  at work  {one.holder}")
    lines += [f"  file     {file.path}  {_there(file)}" for file in one.files]
    if not one.rows:
        lines.append("  rows     none yet")
    for number, row in enumerate(one.rows, 1):
        head = f"  row {number:<4} {row.get('finished_at') or ''}  {row.get('status')} {row.get('reason') or ''}"
        lines.append(head.rstrip())
        lines += [f"           {key}: {_shown(value)}" for key, value in row.items() if _tells(key, value)]
    return "\n".join(visible(line) for line in lines)


def to_json(one: SegmentFacts) -> dict[str, Any]:
    """The facts with the keys that docs/status.md describes."""
    return {
        "key": one.key._asdict(),
        "shard": one.shard.number,
        "planned": one.planned,
        "labels": [{"mid": mid, "name": name} for mid, name in one.labels],
        "status": one.status,
        "reason": one.reason,
        "holder": one.holder,
        "files": [dataclasses.asdict(file) for file in one.files],
        "rows": list(one.rows),
    }


def _there(file: FileFacts) -> str:
    if file.found is None:
        return "MISSING"
    there = f"{file.found:,} bytes"
    if not file.named:
        return f"{there}, but no row says so: the next run of the shard replaces it"
    if file.promised is not None and file.found != file.promised:
        return f"{there}, but the row says {file.promised:,}"
    return there


def _tells(key: str, value: object) -> bool:
    return key not in _SAID and value is not None and value != ""


def _shown(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
