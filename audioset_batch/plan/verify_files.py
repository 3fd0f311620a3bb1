"""Whether a clip that another program left is whole, and what the manifest says of such a file.

Runs in worker processes; what it returns is small and picklable.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_BLOCK_FRAMES: Final = 1 << 16
SILENCE_DBFS: Final = -80.0
"""A clip whose peak lies below this (0 dB = full scale) is flagged as silent: a tenth of a 16-bit step above zero."""


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
    """Decode the files from beginning to end."""
    columns: dict[str, Any] = {}
    broken: list[tuple[str, str]] = []
    for path, check in ((found.audio, _audio_columns), (found.video, _video_columns)):
        if path is None:
            continue
        try:
            columns |= check(path)
        except Exception as error:  # noqa: BLE001 - decoders raise many classes; each means that the file is no good
            broken.append((str(path), str(error).replace(str(path), path.name) or type(error).__name__))
    return Verdict({} if broken else columns, tuple(broken))


def _audio_columns(path: Path) -> dict[str, Any]:
    import numpy as np
    import soundfile

    frames, peak, energy = 0, 0.0, 0.0
    with soundfile.SoundFile(path) as file:
        promised, rate, channels = file.frames, file.samplerate, file.channels
        for block in file.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True):
            frames += len(block)
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            energy += float(np.square(block, dtype=np.float64).sum())
    if frames == 0:
        raise ValueError("no sound in it")
    if frames < promised and path.suffix in (".flac", ".wav"):
        raise ValueError(f"expected {promised} frames as its header says, {frames} could be decoded")
    peak_dbfs = _decibels(peak)
    data = path.read_bytes()
    return {
        "duration_seconds": round(frames / rate, 6),
        "sample_rate": rate,
        "channels": channels,
        "frames": frames,
        "audio_bytes": len(data),
        "audio_sha256": hashlib.sha256(data).hexdigest(),
        "peak_dbfs": peak_dbfs,
        "rms_dbfs": _decibels(math.sqrt(energy / (frames * channels))),
        "silent": peak_dbfs is None or peak_dbfs < SILENCE_DBFS,
    }


def _decibels(level: float) -> float | None:
    return round(20 * math.log10(level), 2) if level > 0 else None


def _video_columns(path: Path) -> dict[str, Any]:
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video stream in it")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        pictures = sum(1 for _ in container.decode(stream))
        if pictures == 0 or pictures < 0.95 * (stream.frames or 0):
            raise ValueError(f"expected {stream.frames or 'some'} pictures, {pictures} could be decoded")
    return {"video_bytes": path.stat().st_size}
