"""All that is known about one video: its segments in the plan, and every row about it in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from audioset_batch.adapters.publish import storage
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import SegmentKey
from audioset_batch.plan.labels import load_class_names
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.record.manifest import read_rows, replay, warn_of_problem


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file that a row names. `found` is its size in bytes, None if it is not there."""

    path: str
    promised: int | None
    found: int | None


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """One segment.

    Attributes:
        planned: False if it stands in no shard's CSV; what is known then comes from the rows alone.
        labels: (MID, display name).
        status, reason: What counts after all rows.
        rows: All of them, oldest first.
        files: Of the row that counts.
    """

    key: SegmentKey
    shard: ShardId
    planned: bool
    labels: Sequence[tuple[str, str]]
    status: str
    reason: str
    rows: Sequence[dict[str, Any]]
    files: Sequence[FileFacts]


def find_segment(data: DataDir, ytid: str) -> list[SegmentFacts]:
    """Every segment of one video, by subset and start.

    Raises:
        InputRefused: a shard's CSV that names it cannot be read.
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
                        rows.setdefault(_key(shard.subset, row), []).append(row)
                outcomes = {key: one for key, one in replay(data.manifest(shard)).items() if key.ytid == ytid}
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
                        rows=about,
                        files=list(_files(data, about)),
                    )
                )
    return sorted(found, key=lambda one: (one.key, one.shard.number))


def _key(subset: str, row: dict[str, Any]) -> SegmentKey:
    return SegmentKey(subset, row["ytid"], round(row["start_seconds"] * 1000), round(row["end_seconds"] * 1000))


def _shards_naming(data: DataDir, ytid: str) -> Iterator[ShardId]:
    """Shards whose CSV or manifest holds the id; the files are searched as bytes, which is as fast as they are read."""
    needle = ytid.encode()
    planned = [shard for subset in data.subsets_present() for shard in data.shards(subset)]
    for shard in dict.fromkeys([*planned, *data.recorded_shards()]):
        for path in (data.shard_csv(shard), data.manifest(shard)):
            try:
                if needle in path.read_bytes():
                    yield shard
                    break
            except FileNotFoundError:
                continue


def _files(data: DataDir, rows: Sequence[dict[str, Any]]) -> Iterator[FileFacts]:
    last = next((row for row in reversed(rows) if row.get("status") == "ok"), None)
    if last is None:
        return
    columns = (("audio_path", "audio_bytes"), ("video_path", "video_bytes"), ("tar", ""))
    for name, size in columns:
        if last.get(name):
            path = data.root / last[name]
            try:
                found = path.stat().st_size
            except FileNotFoundError:
                found = None
            yield FileFacts(last[name], last.get(size) if size else None, found)
