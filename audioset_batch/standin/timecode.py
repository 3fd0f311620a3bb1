"""Content that tells its own time: what the synthesised audio and video say, and nothing else.

Audio is cut into slots of half a second. Each slot holds the same linear chirp (400 to 3,900 Hz), which gives the
time within the slot, and fifteen tones above it, each at one of two frequencies, which spell the slot's number
(11 bits) and a check (4 bits). Everything lies below 7.4 kHz, so it survives a conversion to 16 kHz.
The sound of a video with several audio tracks is marked with one steady tone below the chirp, another for each track.

Video is a picture of 8 x 4 luma blocks: the 16 bits of the frame's number, and beside each its complement.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SLOT_SECONDS: Final = 0.5
AUDIO_PERIOD_SECONDS: Final = 1024
"""The audio repeats after this. Also a whole number of AAC frames at 44.1 kHz and of Opus frames at 48 kHz."""
VIDEO_PERIOD_SECONDS: Final = 60
"""The picture repeats after this."""
FRAME_RATE: Final = 25

SLOTS: Final = int(AUDIO_PERIOD_SECONDS / SLOT_SECONDS)
NUMBER_BITS: Final = 11
CHECK_BITS: Final = 4
WORD_BITS: Final = NUMBER_BITS + CHECK_BITS

CHIRP_HZ: Final = (400.0, 3_900.0)
TONE_HZ: Final = tuple((4_400.0 + 200.0 * bit, 4_500.0 + 200.0 * bit) for bit in range(WORD_BITS))
"""For each bit the frequencies of 0 and of 1."""

MARKS: Final = 20
MARK_HZ: Final = tuple(101 + 12 * mark for mark in range(MARKS))
"""For each mark from 1 on. Odd, so that they lie between the lines of the chirp, which repeats twice a second."""

GRID_ROWS: Final = 4
GRID_COLUMNS: Final = 8
FRAME_BITS: Final = 16

_CHIRP_AMPLITUDE: Final = 0.3
_TONE_AMPLITUDE: Final = 0.02
_MARK_AMPLITUDE: Final = 0.05
_FADE_SECONDS: Final = 0.005
_DARK, _BRIGHT = 50, 200

FloatArray = npt.NDArray[np.float32]


def word(slot: int) -> int:
    """The 15 bits that the tones of a slot spell: its number, then a check of it."""
    number = slot % SLOTS
    check = (number ^ (number >> 4) ^ (number >> 8) ^ 0b1010) & 0b1111
    return number << CHECK_BITS | check


def chirp(rate: int) -> FloatArray:
    """One slot of the chirp at amplitude 1, faded at both ends; shape (slot samples,)."""
    time = np.arange(round(rate * SLOT_SECONDS)) / rate
    low, high = CHIRP_HZ
    phase = 2 * np.pi * (low * time + (high - low) / (2 * SLOT_SECONDS) * time**2)
    return (np.sin(phase) * _fade(rate)).astype(np.float32)


class AudioSignal:
    """The audio signal at one rate, mono, from time 0 on.

    Args:
        rate: Samples a second; even, so that a slot is a whole number of samples.
        mark: Which track it is, 1 to `MARKS`; 0 for no mark.
    """

    def __init__(self, rate: int, mark: int = 0) -> None:
        self.rate = rate
        self._mark = mark
        self._slot = round(rate * SLOT_SECONDS)
        time = np.arange(self._slot) / rate
        fade = _fade(rate)
        tones = np.array([[np.sin(2 * np.pi * hz * time) * fade for hz in pair] for pair in TONE_HZ]) * _TONE_AMPLITUDE
        self._base = (_CHIRP_AMPLITUDE * chirp(rate) + tones[:, 0].sum(axis=0)).astype(np.float32)
        self._steps = (tones[:, 1] - tones[:, 0]).astype(np.float32)

    def slots(self, first: int, count: int) -> FloatArray:
        """Samples of `count` slots from slot `first` on; shape (count * slot samples,), within -1..1."""
        words = np.array([word(first + index) for index in range(count)])
        bits = (words[:, None] >> np.arange(WORD_BITS - 1, -1, -1) & 1).astype(np.float32)
        samples: FloatArray = (self._base + bits @ self._steps).reshape(-1)
        if self._mark:
            time = (np.arange(samples.size) + first * self._slot) / self.rate
            samples += (_MARK_AMPLITUDE * np.sin(2 * np.pi * MARK_HZ[self._mark - 1] * time)).astype(np.float32)
        return samples


def picture(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """One picture as planar YUV 4:2:0; shape (height * 3 / 2, width)."""
    frame = np.full((height * 3 // 2, width), 128, np.uint8)
    bits = [number >> index & 1 for index in range(FRAME_BITS)]
    cells = np.array([cell for bit in bits for cell in (bit, 1 - bit)], bool).reshape(GRID_ROWS, GRID_COLUMNS)
    rows = np.arange(height) * GRID_ROWS // height
    columns = np.arange(width) * GRID_COLUMNS // width
    frame[:height] = np.where(cells, _BRIGHT, _DARK)[rows][:, columns]
    return frame


def _fade(rate: int) -> npt.NDArray[np.float64]:
    length = round(rate * _FADE_SECONDS)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)
    envelope = np.ones(round(rate * SLOT_SECONDS))
    envelope[:length] = ramp
    envelope[-length:] = ramp[::-1]
    return envelope
