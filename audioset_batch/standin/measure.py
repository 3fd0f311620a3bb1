"""Where a piece of synthesised audio lies in its source."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from audioset_batch.standin.timecode import (
    AUDIO_PERIOD_SECONDS,
    CHECK_BITS,
    SLOT_SECONDS,
    TONE_HZ,
    chirp,
    word,
)

_MAX_JITTER_SECONDS: Final = 0.0005
"""Slots of one piece that disagree by more than this mean a jump inside it."""
_MIN_LIKENESS: Final = 0.3

Floats = npt.NDArray[np.float64]


class NotLocatable(ValueError):
    """The piece is not synthesised content, too short, damaged, or has a jump inside."""


def locate_audio(samples: npt.ArrayLike, rate: int, near: float | None = None) -> float:
    """The position, in seconds of the source, of the first sample.

    Args:
        samples: Shape (frames,) or (frames, channels), any numeric type; at least one second.
        rate: Samples a second, 16,000 or more.
        near: The content repeats every 1,024 s: the candidate nearest to this is taken; None takes the
            one between 0 (less half a slot) and 1,024.

    Raises:
        NotLocatable: no time code found, or its slots do not lie on one line (a gap, a repeat, another speed).
    """
    signal = np.asarray(samples, dtype=np.float64)
    if signal.ndim == 2:
        signal = signal.mean(axis=1)
    length = round(rate * SLOT_SECONDS)
    if signal.size < 2 * length:
        raise NotLocatable(f"expected at least {2 * SLOT_SECONDS:g} s of audio, got {signal.size / rate:.3f} s")
    correlation = _correlation(signal, chirp(rate).astype(np.float64))
    starts = _slot_starts(signal, correlation, length)
    numbers = [_read_word(signal[round(start) : round(start) + length], rate) for start in starts]
    positions = [number * SLOT_SECONDS - start / rate for number, start in zip(numbers, starts, strict=True)]
    first = positions[0]
    offsets = np.array([wrap(position - first, AUDIO_PERIOD_SECONDS) for position in positions])
    if np.ptp(offsets) > _MAX_JITTER_SECONDS:
        worst = int(np.argmax(np.abs(offsets - np.median(offsets))))
        raise NotLocatable(
            f"the audio jumps by {(offsets[worst] - np.median(offsets)) * 1000:.3f} ms "
            f"about {starts[worst] / rate:.2f} s into the piece"
        )
    position = float(first + offsets.mean())
    if near is None:
        return (position + SLOT_SECONDS / 2) % AUDIO_PERIOD_SECONDS - SLOT_SECONDS / 2
    return near + wrap(position - near, AUDIO_PERIOD_SECONDS)


def _correlation(signal: Floats, template: Floats) -> Floats:
    """`correlation[k]`: how the signal from sample k on resembles the template; shape (len(signal) - slot + 1,)."""
    size = 1 << (signal.size + template.size - 1).bit_length()
    spectrum = np.fft.rfft(signal, size) * np.conj(np.fft.rfft(template, size))
    return np.fft.irfft(spectrum, size)[: signal.size - template.size + 1]


def _slot_starts(signal: Floats, correlation: Floats, length: int) -> list[float]:
    """Starts of the whole slots in the piece, in samples, to a fraction of a sample."""
    whole = correlation.size // length
    if whole:
        folded = correlation[: whole * length].reshape(whole, length).sum(axis=0)
        phase = int(np.argmax(folded))
    else:
        phase = int(np.argmax(correlation))
    # A slot that ends a rounding error before the piece does still counts.
    reach = max(4, length // 1000)
    starts = []
    at_edge = []
    for coarse in range(phase, correlation.size + reach, length):
        low, high = max(coarse - reach, 0), min(coarse + reach + 1, correlation.size)
        if low >= high:
            continue
        peak = low + int(np.argmax(correlation[low:high]))
        energy = float(np.sqrt(np.square(signal[peak : peak + length]).sum() * length * 0.5))
        if energy == 0 or correlation[peak] / energy < _MIN_LIKENESS:
            if coarse >= correlation.size:
                continue
            raise NotLocatable(f"no time code about sample {peak}: silence, damage, or other content")
        if 0 < peak < correlation.size - 1:
            starts.append(peak + _vertex(correlation, peak))
        else:
            at_edge.append(float(peak))
    # At the edge the true maximum may lie outside, so such slots count only where there is no other.
    starts = starts or at_edge
    if not starts:
        raise NotLocatable("no whole slot of the time code in this piece")
    return starts


def _vertex(values: Floats, peak: int) -> float:
    """Offset of the maximum from `peak` by a parabola through its neighbours."""
    left, middle, right = values[peak - 1 : peak + 2]
    bend = left - 2 * middle + right
    return 0.0 if bend == 0 else float(0.5 * (left - right) / bend)


def _read_word(slot: Floats, rate: int) -> int:
    # A start rounded up may leave the last slot of a piece a sample short.
    strength = np.abs(_tone_probes(rate)[:, : slot.size] @ slot).reshape(-1, 2)
    value = 0
    for zero, one in strength:
        value = value << 1 | int(one > zero)
    number = value >> CHECK_BITS
    if word(number) != value:
        raise NotLocatable(f"the time code {value:015b} fails its check")
    return number


@lru_cache(maxsize=8)
def _tone_probes(rate: int) -> npt.NDArray[np.complex128]:
    """What each tone is projected on; shape (2 * bits, slot samples)."""
    length = round(rate * SLOT_SECONDS)
    frequencies = np.array(TONE_HZ).reshape(-1, 1)
    probes: npt.NDArray[np.complex128] = np.exp(-2j * np.pi * frequencies * np.arange(length) / rate)
    return probes * np.hanning(length)


def wrap(value: float, period: float) -> float:
    """`value` modulo `period`, between minus and plus half of it."""
    return (value + period / 2) % period - period / 2
