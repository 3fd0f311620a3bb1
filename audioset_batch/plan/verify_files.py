"""Whether a clip that another program left is whole, and what the manifest says of such a file.

Runs in worker processes; what it returns is small and picklable.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioset_batch.errors import SegmentTransient


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one segment; either may be missing."""

    audio: Path | None
    video: Path | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Columns of the manifest row if all files are whole, else what is wrong, by file."""

    columns: dict[str, Any]
    broken: tuple[tuple[str, str], ...]


def verify(found: Found) -> Verdict:
    """Decode the files from beginning to end, as the worker does with its own."""
    columns: dict[str, Any] = {}
    broken: list[tuple[str, str]] = []
    for path, check in ((found.audio, _audio_columns), (found.video, _video_columns)):
        if path is None:
            continue
        try:
            columns |= check(path)
        except (SegmentTransient, OSError) as error:
            broken.append((str(path), str(error)))
    return Verdict({} if broken else columns, tuple(broken))


def _audio_columns(path: Path) -> dict[str, Any]:
    from audioset_batch.adapters.media.verify import inspect_audio

    return inspect_audio(path).columns()


def _video_columns(path: Path) -> dict[str, Any]:
    from audioset_batch.adapters.media.verify_video import inspect_video

    return {"video_bytes": inspect_video(path).bytes}
