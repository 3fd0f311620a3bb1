"""Reopen a written audio file, decode all of it, and report what it contains."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from audioset_batch.config.schema import Audio
from audioset_batch.errors import SegmentTransient
from audioset_batch.media.cut_audio import AudioClip
from audioset_batch.media.write import quantise
from audioset_batch.reasons import Reason

SILENT_BELOW_DBFS: Final = -60.0
"""A clip whose peak is below this is flagged as silent; -60 dBFS are 33 steps of 16 bits."""
_LOSSY_FRAMES: Final = 4608
"""Frames by which the length of decoded mp3 may differ: encoder delay and padding of whole frames."""


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What a decoded audio file contains.

    Attributes:
        sha256: Of the bytes of the file, hexadecimal.
        silent: The peak is below `SILENT_BELOW_DBFS`.
        peak_dbfs, rms_dbfs: dB relative to full scale 1.0, over all channels; None for digital silence.
    """

    duration_seconds: float
    sample_rate: int
    channels: int
    frames: int
    bytes: int
    sha256: str
    silent: bool
    peak_dbfs: float | None
    rms_dbfs: float | None

    def columns(self) -> dict[str, Any]:
        """These facts under the names of the manifest's columns."""
        return {
            "duration_seconds": round(self.duration_seconds, 6),
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "frames": self.frames,
            "audio_bytes": self.bytes,
            "audio_sha256": self.sha256,
            "silent": self.silent,
            "peak_dbfs": self.peak_dbfs,
            "rms_dbfs": self.rms_dbfs,
        }


def inspect_audio(path: Path) -> AudioFacts:
    """Decode the whole file at `path`.

    Raises:
        SegmentTransient: `decode_error` if it does not decode, is empty, or has fewer frames than it declares.
        OSError: it cannot be read.
    """
    facts, _ = _decode(path, whole=False)
    return facts


def verify_audio(path: Path, clip: AudioClip, audio: Audio) -> AudioFacts:
    """Decode the whole file at `path` and compare it with the clip that was written to it.

    Lossless formats must contain exactly the same samples.

    Raises:
        SegmentTransient: `internal` if it differs; and as `inspect_audio`.
        OSError: it cannot be read.
    """
    lossless = audio.format in ("flac", "wav")
    facts, samples = _decode(path, whole=lossless and audio.bit_depth != 16)
    expected = clip.sample_rate, clip.samples.shape[1]
    if (facts.sample_rate, facts.channels) != expected:
        raise SegmentTransient(
            Reason.INTERNAL,
            f"{path.name}: expected {expected[0]} Hz and {expected[1]} channels, "
            f"found {facts.sample_rate} Hz and {facts.channels}",
        )
    slack = _LOSSY_FRAMES if audio.format == "mp3" else 0
    if abs(facts.frames - len(clip.samples)) > slack:
        raise SegmentTransient(
            Reason.INTERNAL, f"{path.name}: expected {len(clip.samples)} frames, found {facts.frames}"
        )
    if lossless and not np.array_equal(samples, quantise(clip.samples, audio)):
        raise SegmentTransient(Reason.INTERNAL, f"{path.name}: the file does not hold the samples written to it")
    return facts


def _decode(path: Path, *, whole: bool) -> tuple[AudioFacts, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """Facts and samples: int16 for 16-bit files, else int32 (`whole`) or float32."""
    import soundfile

    data = path.read_bytes()
    if not data:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{path.name}: the file is empty")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            narrow = file.subtype == "PCM_16"
            samples = file.read(dtype="int16" if narrow else "int32" if whole else "float32", always_2d=True)
            rate, channels, promised = int(file.samplerate), int(file.channels), int(file.frames)
    except (soundfile.LibsndfileError, ValueError, MemoryError) as error:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{path.name}: does not decode: {error}") from error
    frames = len(samples)
    if frames == 0 or frames != promised:
        raise SegmentTransient(Reason.DECODE_ERROR, f"{path.name}: {frames} of {promised} frames decode")
    full = 1.0 if samples.dtype == np.float32 else 32768.0 if narrow else 2147483648.0
    peak = max(-float(samples.min()), float(samples.max())) / full
    energy = math.sqrt(float(np.mean(np.square(samples, dtype=np.float32), dtype=np.float64))) / full
    if not math.isfinite(energy):
        raise SegmentTransient(Reason.DECODE_ERROR, f"{path.name}: holds values that are not numbers")
    level = _decibels(peak)
    return (
        AudioFacts(
            duration_seconds=frames / rate,
            sample_rate=rate,
            channels=channels,
            frames=frames,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            silent=level is None or level < SILENT_BELOW_DBFS,
            peak_dbfs=level,
            rms_dbfs=_decibels(energy),
        ),
        samples,
    )


def _decibels(amplitude: float) -> float | None:
    return round(20 * math.log10(amplitude), 2) if amplitude > 0 else None
