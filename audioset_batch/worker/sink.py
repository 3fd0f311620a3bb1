"""Where finished clips go. `FilesSink`: one file each under its final name."""

from __future__ import annotations

from typing import Any, Protocol

from audioset_batch.adapters.publish import publish
from audioset_batch.layout import DataDir
from audioset_batch.model import Clip, Segment


class Sink(Protocol):
    """Takes verified temporary files and makes them part of the data set."""

    def put(self, segment: Segment, clip: Clip) -> dict[str, Any]:
        """Publish one clip; returns the columns that say where it is.

        Raises:
            StorageUnusable: it could not be published; nothing is under its final name.
        """
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class FilesSink:
    """`data/<subset>/audio/<ytid>_<start ms>_<end ms>.flac` and the same under `video/`."""

    def __init__(self, data: DataDir) -> None:
        self._data = data

    def put(self, segment: Segment, clip: Clip) -> dict[str, Any]:
        """Video first: what is recorded last is what resume looks at."""
        columns: dict[str, Any] = {}
        if clip.video is not None:
            final = self._data.video(segment, clip.video.suffix.lstrip("."))
            publish(clip.video, final)
            columns["video_path"] = self._data.relative(final)
        final = self._data.audio(segment, clip.audio.suffix.lstrip("."))
        publish(clip.audio, final)
        columns["audio_path"] = self._data.relative(final)
        return columns

    def close(self) -> None:
        """Files are complete as they are put."""
