"""What there is to export: the rows that count, and the bytes behind them, checked against their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import COLUMNS, ManifestRow, Segment
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.record.clipbytes import AUDIO_ENDINGS, read_files
from audioset_batch.record.manifest import latest_rows, read_rows, row_key


@dataclass(slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        clips: Clips written by this run.
        present: Clips that were there from an earlier run.
        other_rows: Rows without a clip that were written.
        problems: Clips that were left out, and why.
    """

    clips: int = 0
    present: int = 0
    other_rows: int = 0
    problems: list[str] = field(default_factory=list)


def shards_of(data: DataDir, subsets: Sequence[str] | None, task: int | None = None) -> list[ShardId]:
    """The planned shards, of some subsets, or with one number.

    Raises:
        InputRefused: there is none.
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
    """The segments of a shard that have a row, in the order of its CSV, each with the row that counts.

    Args:
        data: The data directory.
        shard: Which shard.
        unchanged: From `watch_split`, before the first look at the shards.

    Raises:
        InputRefused: the shard cannot be read.
        PlanChanging: rows may not be where their segments are planned.
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
    """(ending, bytes) of an `ok` row's clip: audio, then video if it has one.

    Raises:
        InputRefused: it is not there, or not what was published.
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
    """A row that was read, ready to be written again."""
    return ManifestRow(**{**{name: row[name] for name in COLUMNS if name in row}, **changes})


def folder_for(path: Path, source: Path) -> Path:
    """The folder to export to, made if need be.

    Raises:
        InputRefused: it is the source, or cannot be made.
    """
    target = path.resolve()
    if target == source.resolve():
        raise InputRefused(f"--to {path} is the data directory itself: name another folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputRefused(f"{path}: cannot be made: {error.strerror}") from error
    return target
