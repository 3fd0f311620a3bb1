"""Sounds as images for VGG16. There is no standard; this is the choice of this program, stored with each model.

Log-mel spectrogram of VGGish's front end (64 bands, 125 to 7500 Hz, 10 ms) -> a fixed range of levels, never the
clip's own, becomes 0..255 -> low frequencies at the bottom, time to the right -> resized to a square.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from audioset_batch.learn.training.options import ModelOptions
from audioset_batch.learn.vggish.frontend import SAMPLE_RATE, log_mel

FloatArray = npt.NDArray[np.float64]


def clip_image(samples: npt.NDArray[Any], options: ModelOptions) -> npt.NDArray[np.uint8]:
    """uint8 (size, size) of mono sound at 16 kHz in [-1, 1].

    Shorter than `clip_seconds`: silence follows. Longer: the rest is left out.
    """
    length = round(options.clip_seconds * SAMPLE_RATE)
    sound = np.zeros(length)
    sound[: min(length, len(samples))] = samples[:length]
    pixels = grey_levels(log_mel(sound), options.log_mel_low, options.log_mel_high)
    return np.rint(resize(pixels, options.image_size, options.image_size)).astype(np.uint8)


def grey_levels(spectrogram: FloatArray, low: float, high: float) -> FloatArray:
    """(frames, bands) -> (bands, frames) in 0..255, the lowest band in the last row."""
    levels = np.clip((spectrogram - low) / (high - low), 0.0, 1.0) * 255.0
    return levels.T[::-1]


def resize(pixels: FloatArray, height: int, width: int) -> FloatArray:
    """Bilinear; where it shrinks, the triangle is widened by the factor so that no column is skipped."""
    rows, columns = _weights(pixels.shape[0], height), _weights(pixels.shape[1], width)
    resized: FloatArray = rows @ pixels @ columns.T
    return resized


@lru_cache(maxsize=16)
def _weights(old: int, new: int) -> FloatArray:
    """(new, old), rows sum to 1: pixel centres half a step from the edge."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(old) - np.clip(centres, 0, old - 1)[:, None])
    weights: FloatArray = np.maximum(0.0, 1.0 - distance / max(scale, 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
