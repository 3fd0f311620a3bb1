"""Sort the rows of all manifests of a subset into the shards of a new split."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from audioset_batch.model import SegmentKey
from audioset_batch.record.manifest import decode_row, row_key
from audioset_batch.sharedfs.folders import Folder

_BATCH: Final = 20_000
_HEAD: Final = re.compile(
    rb'\{"subset":"[a-z_]+","shard":(\d+),"ytid":"([A-Za-z0-9_-]{11})",'
    rb'"start_seconds":(\d{1,9}\.\d{1,9}),"end_seconds":(\d{1,9}\.\d{1,9}),'
)


class RowMover:
    """Sorts the lines of the manifests of a subset into the shards of a new split; those of one shard keep their order.

    Args:
        subset: Name of the subset.
        shards_of: Shard of each segment in the new split, None if outside the plan.
        outside: Number for rows outside the plan.
        put: Called many times with a shard number and lines for it; None: lines that are no rows.

    Attributes:
        moved: Rows that went to another shard.
        outside_plan: Rows about segments outside the plan.
    """

    def __init__(
        self,
        subset: str,
        shards_of: Callable[[Sequence[SegmentKey]], Sequence[int | None]],
        outside: int,
        put: Callable[[int | None, list[bytes]], None],
    ) -> None:
        self._subset = subset
        self._shards_of = shards_of
        self._outside = outside
        self._put = put
        self.moved = 0
        self.outside_plan = 0

    def move(self, number: int, manifest: Path) -> None:
        """Sort the lines of the manifest of shard `number`."""
        with Folder(manifest.parent, may_be_link=True) as folder:
            fd = folder.open(manifest.name, os.O_RDONLY)
        with open(fd, "rb") as file:  # noqa: PTH123 - of a descriptor
            while batch := list(itertools.islice(file, _BATCH)):
                self._move_batch(batch, number)

    def _move_batch(self, batch: list[bytes], number: int) -> None:
        sorted_lines: dict[int | None, list[bytes]] = {}
        rows: list[tuple[SegmentKey, int | None, bytes]] = []
        for line in batch:
            whole = line if line.endswith(b"\n") else line + b"\n"
            parsed = _parse(whole, self._subset)
            if parsed is None:
                sorted_lines.setdefault(None, []).append(whole)
            else:
                rows.append((*parsed, whole))
        planned = self._shards_of([key for key, _, _ in rows])
        for (_, written, line), found in zip(rows, planned, strict=True):
            shard = self._outside if found is None else found
            self.outside_plan += found is None
            self.moved += shard != number
            sorted_lines.setdefault(shard, []).append(line if written == shard else _renumber(line, shard))
        for target, lines in sorted_lines.items():
            self._put(target, lines)


def _parse(line: bytes, subset: str) -> tuple[SegmentKey, int | None] | None:
    """The segment and shard of a row; None if the line is not a row."""
    head = _HEAD.match(line)
    if head is not None and line.endswith(b"}\n"):
        times = round(float(head[3]) * 1000), round(float(head[4]) * 1000)
        return SegmentKey(subset, head[2].decode(), *times), int(head[1])
    try:
        row = decode_row(line)
    except ValueError:
        return None
    shard = row.get("shard")
    return row_key(row), shard if isinstance(shard, int) else None


def _renumber(line: bytes, shard: int) -> bytes:
    head = _HEAD.match(line)
    if head is not None:
        return b"%b%d%b" % (line[: head.start(1)], shard, line[head.end(1) :])
    row = json.loads(line)
    row["shard"] = shard
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
