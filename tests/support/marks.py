"""What a piece of synthesised media says of its source besides its time: the audio track, the number of a picture."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.standin.measure import NotLocatable, wrap
from audioset_batch.standin.timecode import (
    FRAME_BITS,
    FRAME_RATE,
    GRID_COLUMNS,
    GRID_ROWS,
    MARK_HZ,
    VIDEO_PERIOD_SECONDS,
)

_MIN_MARK: Final = 0.01
"""Amplitude of the weakest tone that counts as a track's mark."""
_FRAME_PERIOD: Final = VIDEO_PERIOD_SECONDS * FRAME_RATE


def read_track(samples: npt.ArrayLike, rate: int) -> int:
    """Which audio track a piece of synthesised sound is from: its mark, 0 for none.

    Args:
        samples: Shape (frames,) or (frames, channels), floating point within -1..1; at least two seconds.
        rate: Samples a second.

    Raises:
        NotLocatable: too short to say.
    """
    signal = np.asarray(samples, dtype=np.float64)
    if signal.ndim == 2:
        signal = signal[:, 0]
    if signal.size < 2 * rate:
        raise NotLocatable(f"expected at least 2 s of audio, got {signal.size / rate:.3f} s")
    window = np.hanning(signal.size)
    time = np.arange(signal.size) / rate
    levels = [2 * abs(np.sum(signal * window * np.exp(-2j * np.pi * hz * time))) / window.sum() for hz in MARK_HZ]
    best = int(np.argmax(levels))
    return best + 1 if levels[best] >= _MIN_MARK else 0


def read_frame_number(frame: Any, near: int | None = None) -> int:
    """The number that a synthesised picture shows; numbers repeat every 1,500 frames (60 s at 25 a second).

    Args:
        frame: An `av.VideoFrame`, or its luma as an array of shape (height, width), at any size from 64 x 32 on.
        near: Take the candidate nearest to this frame number of the source; None takes the number as shown.

    Raises:
        NotLocatable: the picture holds no number.
    """
    luma = np.asarray(frame if isinstance(frame, np.ndarray) else frame.to_ndarray(format="gray"), dtype=np.float64)
    height, width = luma.shape
    values = np.empty((GRID_ROWS, GRID_COLUMNS))
    for row in range(GRID_ROWS):
        top, bottom = (round(height * (row + part) / GRID_ROWS) for part in (0.25, 0.75))
        for column in range(GRID_COLUMNS):
            left, right = (round(width * (column + part) / GRID_COLUMNS) for part in (0.25, 0.75))
            values[row, column] = luma[top:bottom, left:right].mean()
    contrast = values.reshape(FRAME_BITS, 2) @ np.array([1.0, -1.0])
    if np.abs(contrast).min() < 60:
        raise NotLocatable(f"the picture shows no number: weakest contrast {np.abs(contrast).min():.0f} of 150")
    number = sum(1 << index for index, value in enumerate(contrast) if value > 0)
    if near is None:
        return number
    return near + round(wrap(number - near, _FRAME_PERIOD))
