"""The two dequantizations, the quantization, and the checks of a feature set."""

from __future__ import annotations

import numpy as np
import pytest

from audioset_batch.learn.features.arrays import FeatureSet, dequantize, dequantize_centered, quantize
from tests.support.feature_data import clips


def test_dequantization_has_the_known_values() -> None:
    values = dequantize(np.array([0, 127, 255], np.uint8))
    assert values.dtype == np.float32
    assert values == pytest.approx([-1.9921875, -0.0000306, 2.0078125], abs=2e-7)
    assert dequantize_centered(np.array([0, 128, 255], np.uint8)).tolist() == [-1.0, 0.0, 127 / 128]


def test_quantization_truncates() -> None:
    assert quantize(np.array([0.5, 1.0, 0.0, -9.0, 9.0])).tolist() == [159, 191, 127, 0, 255]


def test_the_half_step_is_kept() -> None:
    # Decoding gives the middle of a step, or nearly: encoding again gives the same number for every value.
    every = np.arange(256, dtype=np.uint8)
    step = 4 / 255
    low = every * step - 2
    assert np.all(np.abs(dequantize(every) - (low + step / 2)) < 1e-4)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    good = clips(3)
    with pytest.raises(ValueError, match="as many rows"):
        FeatureSet(good.embeddings, good.lengths[:2], good.labels, good.video_ids, good.start, good.end)
    with pytest.raises(ValueError, match="N, frames, 128"):
        FeatureSet(good.embeddings[0], good.lengths, good.labels, good.video_ids, good.start, good.end)
    assert list(good.select([2, 0]).video_ids) == [good.video_ids[2], good.video_ids[0]]
