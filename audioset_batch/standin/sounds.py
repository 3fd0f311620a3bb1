"""Made-up sounds of a few kinds, for sources whose content is to say what they are labelled with.

A name such as `siren+tick.7` means a siren and a ticking at once in variant 7: variants differ in pitch, pace and
level, and equal names give equal samples.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

from audioset_batch.standin.timecode import SLOT_SECONDS

KINDS: Final = ("beep", "chirp", "hum", "noise", "rumble", "siren", "tick", "whistle")
PERIOD_SECONDS: Final = 8
"""A sound repeats after this."""

_NAME: Final = re.compile(rf"(?:{'|'.join(KINDS)})(?:\+(?:{'|'.join(KINDS)}))*\.\d+")
_RMS: Final = 0.15
_BACKGROUND: Final = 0.002

FloatArray = npt.NDArray[np.float32]


def sound_name(kinds: tuple[str, ...], variant: int) -> str:
    """The name of these kinds at once."""
    return f"{'+'.join(kinds)}.{variant}"


def is_sound(name: str) -> bool:
    """True for what `sound_name` gives."""
    return _NAME.fullmatch(name) is not None


class SoundSignal:
    """A sound at one rate, mono, from time 0 on; to be used like `timecode.AudioSignal`.

    Args:
        rate: Samples a second; even.
        name: See `sound_name`.
    """

    def __init__(self, rate: int, name: str) -> None:
        if not is_sound(name):
            raise ValueError(f"sound {name!r}: expected kinds of {', '.join(KINDS)}, e.g. siren+tick.7")
        self._slot = round(rate * SLOT_SECONDS)
        kinds = name.rpartition(".")[0].split("+")
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        time = np.arange(PERIOD_SECONDS * rate) / rate
        mixed = _BACKGROUND * rng.standard_normal(time.size)
        for kind in kinds:
            one = _make(kind, time, rng)
            level = 10.0 ** rng.uniform(-0.7, 0.0)
            mixed += level * _RMS / np.sqrt(len(kinds)) * one / np.sqrt(np.mean(one**2))
        self._period = (mixed / max(1.0, 1.05 * np.abs(mixed).max())).astype(np.float32)

    def slots(self, first: int, count: int) -> FloatArray:
        """Samples of `count` slots of half a second from slot `first` on, within -1..1."""
        samples: FloatArray = np.take(
            self._period, np.arange(first * self._slot, (first + count) * self._slot), mode="wrap"
        )
        return samples


def _make(kind: str, time: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """One period of one kind, any level."""
    shift = np.exp(rng.uniform(-0.15, 0.15))
    pace = _whole(rng.uniform(2.0, 4.0))
    if kind in ("noise", "rumble"):
        return _noise(time, (40.0, 160.0 * shift) if kind == "rumble" else (500.0, 7000.0), rng)
    if kind == "hum":
        return np.asarray(sum(_tone(np.full_like(time, 110.0 * shift * k), time) / k for k in range(1, 7)))
    if kind == "tick":
        return _tone(np.full_like(time, 2500 * shift), time) * np.exp(-250 * (time * pace % 1) / pace)
    if kind == "beep":
        return _tone(np.full_like(time, 1000 * shift), time) * np.where(time * pace % 1 < 0.4, 1.0, 0.0)
    if kind == "siren":
        return _tone((900 + 350 * np.sin(2 * np.pi * _whole(0.1 * pace) * time)) * shift, time)
    if kind == "chirp":
        return _tone((1500 + 4000 * (time * pace / 2 % 1)) * shift, time)
    return _tone((3000 + 60 * np.sin(2 * np.pi * 6 * time)) * shift, time)


def _whole(hertz: float) -> float:
    """The nearest frequency with whole cycles in a period."""
    return max(1, round(hertz * PERIOD_SECONDS)) / PERIOD_SECONDS


def _tone(hertz: npt.NDArray[np.float64], time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A sine whose frequency at each moment is `hertz`."""
    tone: npt.NDArray[np.float64] = np.sin(2 * np.pi * np.cumsum(hertz) * (time[1] - time[0]))
    return tone


def _noise(
    time: npt.NDArray[np.float64], band: tuple[float, float], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(rng.standard_normal(time.size))
    hertz = np.fft.rfftfreq(time.size, time[1] - time[0])
    spectrum[(hertz < band[0]) | (hertz > band[1])] = 0
    return np.fft.irfft(spectrum, time.size)
