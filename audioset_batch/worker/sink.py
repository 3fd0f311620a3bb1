"""Publish finished clips: as files under their final names, or as samples of tars (`tar_sink`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from audioset_batch.config import Config
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import Clip, Segment, SegmentKey
from audioset_batch.plan.labels import load_class_names
from audioset_batch.record.manifest import Outcome
from audioset_batch.record.tars import publish_open_tars
from audioset_batch.sharedfs.publish import publish
from audioset_batch.worker.tar_sink import TarSink


class Sink(Protocol):
    """Publishes verified temporary files in the data directory."""

    @property
    def lost(self) -> frozenset[SegmentKey]:
        """Recorded segments whose clips are damaged, to be made again."""
        ...

    def put(self, segment: Segment, clip: Clip) -> dict[str, Any]:
        """Publish one clip; returns the columns that say where it is.

        Raises:
            StorageUnusable: it could not be published; nothing is under its final name.
        """
        ...

    def finish(self) -> None:
        """Publish what is still open; called when the shard is done.

        Raises:
            StorageUnusable: it could not be published; the next run continues.
        """
        ...

    def close(self) -> None:
        """Close open files, at the end of a run; the next run continues with them."""
        ...


def open_sink(
    config: Config, data: DataDir, shard: ShardId, known: Mapping[SegmentKey, Outcome], staging: Path, *, fence: bool
) -> Sink:
    """Open the sink of the configured layout for a shard.

    Args:
        config: As loaded.
        data: The data directory.
        shard: The shard, whose lease the caller holds.
        known: Outcomes in the shard's manifest.
        staging: Folder for temporary files on the data directory's filesystem.
        fence: True if the previous holder of the lease may still be alive.

    Raises:
        StorageUnusable: a tar that an earlier run left open cannot be resumed.
    """
    if config.output.layout == "webdataset":
        names = load_class_names(data.class_labels_csv)
        return TarSink(data, shard, known, staging, tar_bytes=config.output.tar_bytes, names=names, fence=fence)
    lost = publish_open_tars(data, shard, known, staging, fence=fence)  # tars of an earlier run with the other layout
    return FilesSink(data, staging, frozenset(lost))


class FilesSink:
    """Publishes `data/<subset>/audio/<ytid>_<start ms>_<end ms>.flac`, and the same under `video/`."""

    def __init__(self, data: DataDir, staging: Path, lost: frozenset[SegmentKey] = frozenset()) -> None:
        self._data = data
        self._staging = staging
        self.lost = lost

    def put(self, segment: Segment, clip: Clip) -> dict[str, Any]:
        """Publish the files of a clip; the audio comes last, because its existence is what resuming checks."""
        columns: dict[str, Any] = {}
        if clip.video is not None:
            final = self._data.video(segment, clip.video.suffix.lstrip("."))
            publish(clip.video, final, self._data.root, self._staging)
            columns["video_path"] = self._data.relative(final)
        final = self._data.audio(segment, clip.audio.suffix.lstrip("."))
        publish(clip.audio, final, self._data.root, self._staging)
        columns["audio_path"] = self._data.relative(final)
        return columns

    def finish(self) -> None:
        """Do nothing: each file is complete when `put` returns."""

    def close(self) -> None:
        """Do nothing: no file is kept open."""
