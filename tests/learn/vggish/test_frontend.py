"""The front end against numbers computed with upstream's own code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.learn.vggish import frontend


def tone() -> np.ndarray:
    return np.sin(2 * np.pi * 1000 * np.arange(0, 3, 1 / 16000))


def test_golden_numbers_of_a_tone():
    log_mel = frontend.log_mel(tone())
    assert log_mel.shape == (298, 64) and log_mel.dtype == np.float64
    whole = log_mel[: 3 * 96].reshape(3, 96, 64)
    expected = [-3.4296187, 2.1265773, -4.6011631, 4.8111177]
    got = [whole.mean(), whole.std(), whole.min(), whole.max()]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(whole[0, 0, :4], [-4.483133, -4.270834, -4.170643, -4.237706], rtol=0, atol=1e-6)
    np.testing.assert_allclose(whole[0, 0, 19:21], [4.811118, 4.775044], rtol=0, atol=1e-6)
    assert whole[0, 0].argmax() == 19


def test_examples_are_the_log_mel_in_float32():
    examples = frontend.examples(tone())
    assert examples.shape == (3, 96, 64) and examples.dtype == np.float32
    np.testing.assert_array_equal(examples.reshape(-1, 64), frontend.log_mel(tone())[:288].astype(np.float32))


def test_silence():
    np.testing.assert_allclose(frontend.log_mel(np.zeros(16000)), -4.6051702, rtol=0, atol=1e-6)


def test_mel_matrix():
    matrix = frontend.mel_matrix()
    assert matrix.shape == (257, 64)
    assert np.count_nonzero(matrix) == 461
    assert matrix.sum() == pytest.approx(230.913599, abs=1e-6)
    rows = np.flatnonzero(matrix.any(axis=1))
    assert (rows[0], rows[-1]) == (5, 239)
    np.testing.assert_allclose(matrix[5, :3], [0.94769, 0.05231, 0], atol=5e-6)


@pytest.mark.parametrize(
    ("samples", "frames", "examples"),
    [
        (0, 0, 0),
        (1, 0, 0),
        (239, 0, 0),
        (399, 0, 0),
        (400, 1, 0),
        (15_599, 95, 0),
        (15_600, 96, 1),
        (153_839, 959, 9),
        (153_840, 960, 10),
        (160_000, 998, 10),
    ],
)
def test_counts_at_the_edges(samples: int, frames: int, examples: int):
    assert frontend.log_mel(np.zeros(samples)).shape == (frames, 64)
    assert frontend.examples(np.zeros(samples)).shape == (examples, 96, 64)
    assert frontend.example_count(samples) == examples


def slow_log_mel(samples: np.ndarray) -> np.ndarray:
    """Frame by frame from the definition, with a Fourier sum instead of an FFT."""
    bins = np.arange(257)
    angle = np.exp(-2j * np.pi * np.outer(bins, np.arange(400)) / 512)
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * k / 400) for k in range(400)])
    rows = []
    for start in range(0, len(samples) - 399, 160):
        magnitude = np.abs(angle @ (window * samples[start : start + 400]))
        rows.append(np.log(magnitude @ frontend.mel_matrix() + 0.01))
    return np.array(rows).reshape(-1, 64)


@settings(deadline=None)
@given(st.integers(0, 2500), st.integers(0, 2**32 - 1))
def test_agrees_with_the_definition(samples: int, seed: int):
    noise = np.random.default_rng(seed).uniform(-1, 1, samples)
    np.testing.assert_allclose(frontend.log_mel(noise), slow_log_mel(noise), rtol=0, atol=1e-9)


def test_only_mono():
    with pytest.raises(ValueError, match=r"\(400, 2\)"):
        frontend.log_mel(np.zeros((400, 2)))
