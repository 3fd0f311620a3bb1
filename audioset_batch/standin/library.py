"""The media files of a catalogue, made when they are first asked for."""

from __future__ import annotations

import getpass
import os
import tempfile
import threading
from pathlib import Path

from audioset_batch.standin.catalog import Video
from audioset_batch.standin.delivery import OpenFile
from audioset_batch.standin.formats import FORMATS, HLS_FORMATS
from audioset_batch.standin.hls import HlsSegment, read_index
from audioset_batch.standin.tracks import AudioTrack


def default_cache() -> Path:
    """A folder for synthesised media that outlives the process, one per user, in the system's temporary folder."""
    folder = Path(tempfile.gettempdir()) / f"audioset-batch-standin-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="audioset-batch-standin-"))
    return folder


class Library:
    """Files in the folder `cache`, kept open. Thread-safe; several processes may share the folder."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._open: dict[str, OpenFile] = {}
        self._descriptors: list[int] = []

    def get(self, video: Video, itag: int, track: AudioTrack | None = None) -> OpenFile:
        """The file of one format of a video, of one of its audio tracks where it has several."""
        return self._file(video, itag, track)[0]

    def segments(self, video: Video, itag: int, track: AudioTrack | None = None) -> list[HlsSegment]:
        """Where the segments of an HLS format lie in its file."""
        return read_index(self._file(video, itag, track)[1])

    def _file(self, video: Video, itag: int, track: AudioTrack | None) -> tuple[OpenFile, Path]:
        from audioset_batch.standin.synth import SourceSpec, synthesise  # PyAV takes a while to load

        kind = FORMATS.get(itag) or HLS_FORMATS[itag]
        spec = SourceSpec(
            itag,
            video.seconds,
            video.channels,
            video.silent,
            video.edit_list,
            video.bit_rate,
            video.sound,
            video.content(track) if kind.sound is not None else 0,
        )
        # One at a time: several threads must not encode the same packets side by side.
        with self._lock:
            if spec.file_name not in self._open:
                descriptor = os.open(synthesise(self._cache, spec), os.O_RDONLY)
                self._descriptors.append(descriptor)
                self._open[spec.file_name] = OpenFile(descriptor, kind.content_type)
            return self._open[spec.file_name], self._cache / spec.file_name

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            self._open.clear()
            while self._descriptors:
                os.close(self._descriptors.pop())
