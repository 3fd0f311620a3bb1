"""VGGish's log-mel front end in numpy, float64 throughout.

Follows `mel_features.py` and `vggish_input.py` of tensorflow/models, research/audioset/vggish: frames of
25 ms every 10 ms without padding, periodic Hann window, magnitude (not power) of a 512-point FFT, 64 triangles
that are linear in mel, `ln(mel + 0.01)`, then examples of 96 frames that do not overlap. The incomplete tail
is dropped.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SAMPLE_RATE: Final = 16_000
"""Hz; the front end takes nothing else."""
WINDOW: Final = 400
HOP: Final = 160
FFT_LENGTH: Final = 512
BANDS: Final = 64
LOW_HZ: Final = 125.0
HIGH_HZ: Final = 7500.0
LOG_OFFSET: Final = 0.01
EXAMPLE_FRAMES: Final = 96
MIN_SAMPLES: Final = WINDOW + (EXAMPLE_FRAMES - 1) * HOP
"""Samples that one example needs (15,600, 0.975 s); fewer make none."""


def mel_from_hz(frequency: Any) -> Any:
    """HTK mel of a frequency in Hz, scalar or array: `1127 ln(1 + f/700)`."""
    return 1127.0 * np.log1p(np.asarray(frequency, dtype=np.float64) / 700.0)


@cache
def hann_window() -> FloatArray:
    """Periodic Hann window, shape (400,)."""
    window: FloatArray = 0.5 - 0.5 * np.cos(2.0 * np.pi / WINDOW * np.arange(WINDOW))
    window.flags.writeable = False
    return window


@cache
def mel_matrix() -> FloatArray:
    """Weights from FFT bins to mel bands, shape (257, 64): triangles of peak 1, no normalisation of the area.

    The row of bin 0 is zero, whatever the lowest edge.
    """
    bins = mel_from_hz(np.linspace(0.0, SAMPLE_RATE / 2, FFT_LENGTH // 2 + 1))[:, np.newaxis]
    edges = np.linspace(mel_from_hz(LOW_HZ), mel_from_hz(HIGH_HZ), BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rise = (bins - lower) / (centre - lower)
    fall = (upper - bins) / (upper - centre)
    matrix: FloatArray = np.maximum(0.0, np.minimum(rise, fall))
    matrix[0] = 0.0
    matrix.flags.writeable = False
    return matrix


@cache
def _used_bins() -> tuple[slice, FloatArray]:
    """The bins that reach any band, and their rows of the matrix: 22 bins of 257 need no product."""
    matrix = mel_matrix()
    rows = np.flatnonzero(matrix.any(axis=1))
    used = slice(int(rows[0]), int(rows[-1]) + 1)
    return used, np.ascontiguousarray(matrix[used])


def frame_count(samples: int) -> int:
    """Whole frames in that many samples; never negative, unlike upstream's below 240 samples."""
    return max(0, 1 + (samples - WINDOW) // HOP)


def example_count(samples: int) -> int:
    """Whole examples in that many samples at 16 kHz."""
    return frame_count(samples) // EXAMPLE_FRAMES


def log_mel(samples: NDArray[Any]) -> FloatArray:
    """Log-mel spectrogram, shape (frames, 64), of mono samples at 16 kHz in [-1, 1], shape (n,).

    Raises:
        ValueError: `samples` is not one-dimensional.
    """
    if samples.ndim != 1:
        raise ValueError(f"log_mel takes mono samples of shape (n,), not {samples.shape}")
    signal = np.ascontiguousarray(samples, dtype=np.float64)
    count = frame_count(signal.size)
    if count == 0:
        return np.empty((0, BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]
    magnitude = np.abs(np.fft.rfft(frames * hann_window(), FFT_LENGTH, axis=1))
    used, matrix = _used_bins()
    mel: FloatArray = magnitude[:, used] @ matrix
    mel += LOG_OFFSET
    return np.log(mel, out=mel)


def examples(samples: NDArray[Any]) -> NDArray[np.float32]:
    """The network's input, shape (N, 96, 64), float32, of mono samples at 16 kHz.

    N is 0 below 15,600 samples.
    """
    count = example_count(samples.size)
    used = samples[: MIN_SAMPLES + (count - 1) * EXAMPLE_FRAMES * HOP] if count else samples[:0]
    return log_mel(used).reshape(count, EXAMPLE_FRAMES, BANDS).astype(np.float32)
