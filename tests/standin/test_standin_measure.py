from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.standin.measure import NotLocatable, locate_audio
from audioset_batch.standin.timecode import SLOTS, AudioSignal, picture, word
from tests.support.marks import read_frame_number


@pytest.fixture(scope="module")
def minute() -> np.ndarray:
    return AudioSignal(16_000).slots(100, 60)


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 16_000 * 20), extra=st.integers(0, 16_000 * 8))
def test_any_second_of_it_is_enough(start: int, extra: int) -> None:
    samples = AudioSignal(16_000).slots(100, 60)[start : start + 16_000 + extra]
    assert locate_audio(samples, 16_000) == pytest.approx(50 + start / 16_000, abs=7e-5)


def test_words_differ() -> None:
    assert len({word(slot) for slot in range(SLOTS)}) == SLOTS


def test_near_chooses_the_repetition(minute: np.ndarray) -> None:
    assert locate_audio(minute, 16_000, near=1074.3) == pytest.approx(1074, abs=1e-4)
    assert locate_audio(minute, 16_000, near=5000) == pytest.approx(50 + 5 * 1024, abs=1e-4)


def test_integers_and_channels_are_taken(minute: np.ndarray) -> None:
    stereo = (np.stack([minute, minute / 2], axis=1) * 32_767).astype(np.int16)
    assert locate_audio(stereo, 16_000) == pytest.approx(50, abs=1e-4)


@pytest.mark.parametrize("gap", [16, 160, 8_000])
def test_a_jump_inside_is_found(minute: np.ndarray, gap: int) -> None:
    spliced = np.concatenate([minute[: 5 * 16_000], minute[5 * 16_000 + gap : 12 * 16_000]])
    with pytest.raises(NotLocatable):
        locate_audio(spliced, 16_000)


def test_a_hole_inside_is_found(minute: np.ndarray) -> None:
    holed = minute[: 10 * 16_000].copy()
    holed[4 * 16_000 : 5 * 16_000] = 0
    with pytest.raises(NotLocatable):
        locate_audio(holed, 16_000)


@pytest.mark.parametrize("samples", [np.zeros(32_000), np.random.default_rng(1).normal(size=32_000), np.zeros(100)])
def test_other_content_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(NotLocatable):
        locate_audio(samples, 16_000)


def test_pictures_tell_their_number() -> None:
    for number in (0, 1, 749, 1_499):
        luma = picture(number, 640, 360)[:360]
        assert read_frame_number(luma) == number
        assert read_frame_number(luma, near=number + 3_010) == number + 3_000


def test_a_grey_picture_has_no_number() -> None:
    with pytest.raises(NotLocatable):
        read_frame_number(np.full((72, 128), 128, np.uint8))
