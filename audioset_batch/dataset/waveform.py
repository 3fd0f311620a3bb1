"""From the bytes of a published clip to an array of the wanted shape."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import InputRefused

Waveform = NDArray[np.float32]
"""Shape (channels, frames), full scale is 1.0."""


def decode(content: bytes, name: str) -> tuple[Waveform, int]:
    """A clip and its sample rate in Hz.

    Args:
        content: FLAC, WAV, Ogg Vorbis or MP3.
        name: What an error calls it.

    Raises:
        InputRefused: libsndfile cannot read it.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise InputRefused(
            f"{name}: expected audio that libsndfile reads: {error}; "
            "`audioset-batch retry DATADIR --ytid=ID --reset` lets the next run fetch it again"
        ) from error
    return np.ascontiguousarray(samples.T), int(rate)


def to_mono(waveform: Waveform) -> Waveform:
    """The mean of the channels, shape (1, frames)."""
    return waveform if waveform.shape[0] == 1 else waveform.mean(axis=0, keepdims=True, dtype=np.float32)


def resample(waveform: Waveform, rate: int, wanted: int) -> Waveform:
    """`waveform` at `wanted` Hz by libsoxr at its very high quality, the same as the sox of the download."""
    if rate == wanted:
        return waveform
    import soxr

    return np.ascontiguousarray(soxr.resample(waveform.T, rate, wanted, quality="VHQ").T, dtype=np.float32)


def fit(waveform: Waveform, frames: int) -> Waveform:
    """`waveform` with exactly this many frames: cut off at the end, or zeros behind it."""
    missing = frames - waveform.shape[1]
    if missing <= 0:
        return np.ascontiguousarray(waveform[:, :frames])
    return np.pad(waveform, ((0, 0), (0, missing)))
