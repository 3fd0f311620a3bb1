"""What to export: the deciding rows, and their files, checked against the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import COLUMNS, ManifestRow, Segment
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.record.clip_files import AUDIO_ENDINGS, read_files
from audioset_batch.record.manifest import latest_rows, read_rows, row_key


@dataclass(slots=True)
class ExportReport:
    """The result of an export.

    Attributes:
        clips: Clips written by this run.
        present: Clips that an earlier run wrote.
        other_rows: Rows without a clip that this run wrote.
        problems: Why clips were left out, one message each.
    """

    clips: int = 0
    present: int = 0
    other_rows: int = 0
    problems: list[str] = field(default_factory=list)


def shards_of(data: DataDir, subsets: Sequence[str] | None, task: int | None = None) -> list[ShardId]:
    """The planned shards.

    Args:
        data: The data directory.
        subsets: Only shards of these subsets; None for all.
        task: Only shards with this number; None for all.

    Raises:
        InputRefused: there are no such shards.
    """
    found = [
        shard
        for subset in data.subsets_present()
        if subsets is None or subset in subsets
        for shard in data.shards(subset)
        if task in (None, shard.number)
    ]
    if not found:
        raise InputRefused(f"{data.root}: no shards (*.csv.NN) of what you asked for here")
    return found


def planned_rows(
    data: DataDir, shard: ShardId, unchanged: Callable[[], None]
) -> Iterator[tuple[Segment, dict[str, Any]]]:
    """The segments of a shard that have rows, in the order of its CSV, each with its deciding row.

    Args:
        data: The data directory.
        shard: The shard.
        unchanged: The result of `watch_split`, called before the shards are first read.

    Raises:
        InputRefused: the shard cannot be read.
        PlanChanging: rows may not be in the shards of their segments.
    """
    try:
        latest = latest_rows(read_rows(data.manifest(shard)))
        segments = list(read_shard(data.shard_csv(shard), shard.subset))
    except InputRefused:
        unchanged()
        raise
    unchanged()
    for segment in segments:
        row = latest.get(segment.key)
        if row is not None:
            yield segment, row


def checked_files(data: DataDir, row: dict[str, Any]) -> list[tuple[str, bytes]]:
    """The files of an `ok` row as (ending, bytes): audio, then video if there is any.

    Raises:
        InputRefused: a file is missing, or differs from what was published.
    """
    files = read_files(data.root, row)
    key = row_key(row)
    name = f"{key.subset} {key.ytid} {key.start_ms}-{key.end_ms} ms"
    audio = [content for ending, content in files if ending in AUDIO_ENDINGS]
    video = [content for ending, content in files if ending not in AUDIO_ENDINGS]
    if not audio:
        raise InputRefused(f"{name}: there is no audio where its row says")
    digest = hashlib.sha256(audio[0]).hexdigest()
    if row.get("audio_sha256") and digest != row["audio_sha256"]:
        raise InputRefused(f"{name}: its audio has the SHA-256 {digest}, its row says {row['audio_sha256']}")
    if (expected := row.get("video_bytes")) and [len(content) for content in video] != [expected]:
        raise InputRefused(f"{name}: its row says {expected} bytes of video, found {[len(v) for v in video]}")
    return files


def as_row(row: dict[str, Any], **changes: Any) -> ManifestRow:
    """A row that was read, with changes, to be written again."""
    return ManifestRow(**{**{name: row[name] for name in COLUMNS if name in row}, **changes})


def folder_for(path: Path, source: Path) -> Path:
    """The target folder, created if necessary.

    Raises:
        UsageError: it is the source, or in it.
        InputRefused: it cannot be created.
    """
    target = path.resolve()
    if source.resolve() in (target, *target.parents):
        raise UsageError(f"--to {path} is the data directory, or in it: name a folder elsewhere")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputRefused(f"{path}: cannot be made: {error.strerror}") from error
    return target
