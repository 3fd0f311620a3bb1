"""Everything known about one video: its planned segments, its rows in order, and its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import Segment, SegmentKey
from audioset_batch.plan.labels import load_class_names
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.record.manifest import read_rows, replay, warn_of_problem
from audioset_batch.sharedfs.folders import read_file
from audioset_batch.sharedfs.lease import read_lease
from audioset_batch.sharedfs.publish import storage
from audioset_batch.untrusted import visible

OPEN: Final = ".open"
"""Suffix of a tar that is still written; see `record.tars`."""
_AUDIO: Final = ("flac", "wav", "ogg", "mp3")
_VIDEO: Final = ("mp4",)

_MOST_BYTES: Final = 8 << 30


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file of a segment.

    Attributes:
        path: Relative to DATADIR.
        named: Whether a row names it.
        promised: The size in bytes that the row gives, if any.
        found: The size on disk; None if the file is missing.
    """

    path: str
    named: bool
    promised: int | None
    found: int | None


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """One segment.

    Attributes:
        key: Subset, id and times.
        shard: Its shard.
        planned: False if no shard contains it; the facts then come from its rows.
        labels: (MID, display name) pairs.
        status, reason: The outcome after all rows.
        holder: The worker that holds its shard; "" if none does.
        rows: Its rows, oldest first.
        files: Files of the last row that has any; otherwise files found where they would be published.
    """

    key: SegmentKey
    shard: ShardId
    planned: bool
    labels: Sequence[tuple[str, str]]
    status: str
    reason: str
    holder: str
    rows: Sequence[dict[str, Any]]
    files: Sequence[FileFacts]


def find_segment(data: DataDir, ytid: str) -> list[SegmentFacts]:
    """All segments of one video, by subset and start.

    Raises:
        InputRefused: a shard that contains it cannot be read.
        StorageUnusable: the filesystem fails.
    """
    names = load_class_names(data.class_labels_csv)
    found: list[SegmentFacts] = []
    with storage(data.root):
        for shard in _shards_naming(data, ytid):
            planned = {}
            if data.shard_csv(shard).exists():
                planned = {s.key: s.labels for s in read_shard(data.shard_csv(shard), shard.subset) if s.ytid == ytid}
            rows: dict[SegmentKey, list[dict[str, Any]]] = {key: [] for key in planned}
            outcomes = {}
            if data.manifest(shard).exists():
                for row in read_rows(data.manifest(shard), warn_of_problem):
                    if row["ytid"] == ytid:
                        row = {k: visible(v) if isinstance(v, str) else v for k, v in row.items()}
                        rows.setdefault(_key(shard.subset, row), []).append(row)
                outcomes = {key: one for key, one in replay(data.manifest(shard)).items() if key.ytid == ytid}
            lease = read_lease(data.lease(shard))
            holder = str(lease) if lease is not None and lease.alive else ""
            for key, about in rows.items():
                labels = planned.get(key) or tuple(str(about[-1].get("labels", "")).split(",") if about else ())
                outcome = outcomes.get(key)
                found.append(
                    SegmentFacts(
                        key=key,
                        shard=shard,
                        planned=key in planned,
                        labels=[(mid, names.get(mid, "")) for mid in labels],
                        status="pending" if outcome is None else outcome.status,
                        reason="" if outcome is None else outcome.reason,
                        holder=holder,
                        rows=about,
                        files=list(_files(data, key, about)),
                    )
                )
    return sorted(found, key=lambda one: (one.key, one.shard.number))


def _key(subset: str, row: dict[str, Any]) -> SegmentKey:
    return SegmentKey(subset, row["ytid"], round(row["start_seconds"] * 1000), round(row["end_seconds"] * 1000))


def _shards_naming(data: DataDir, ytid: str) -> Iterator[ShardId]:
    """Shards whose CSV or manifest contains the id. Searching bytes is as fast as reading them."""
    needle = ytid.encode()
    planned = [shard for subset in data.subsets_present() for shard in data.shards(subset)]
    for shard in dict.fromkeys([*planned, *data.recorded_shards()]):
        for path in (data.shard_csv(shard), data.manifest(shard)):
            try:
                if needle in read_file(path, _MOST_BYTES):
                    yield shard
                    break
            except FileNotFoundError:
                continue


def _files(data: DataDir, key: SegmentKey, rows: Sequence[dict[str, Any]]) -> Iterator[FileFacts]:
    last = next((row for row in reversed(rows) if row.get("status") == "ok"), None)
    if last is None:
        yield from _unnamed(data, Segment(key.subset, key.ytid, key.start_ms, key.end_ms, ()))
        return
    for name, size in (("audio_path", "audio_bytes"), ("video_path", "video_bytes"), ("tar", "")):
        if last.get(name):
            path, found = last[name], _size(data.root / last[name])
            if name == "tar" and found is None:  # a worker still appends to it
                found = _size(data.root / f"{path}{OPEN}")
                path += OPEN if found is not None else ""
            yield FileFacts(path, True, last.get(size) if size else None, found)


def _unnamed(data: DataDir, segment: Segment) -> Iterator[FileFacts]:
    """Files that a worker published without recording them; its next run replaces them."""
    candidates = [data.audio(segment, extension) for extension in _AUDIO]
    for path in [*candidates, *(data.video(segment, extension) for extension in _VIDEO)]:
        found = _size(path)
        if found is not None:
            yield FileFacts(data.relative(path), False, None, found)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
