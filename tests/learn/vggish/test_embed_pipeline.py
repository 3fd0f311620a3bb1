"""Batching across clips, and stopping."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.learn.vggish.audio import to_mono_16k
from audioset_batch.learn.vggish.inputs import Sound
from audioset_batch.learn.vggish.pipeline import Prepared, Timing, embed_all, prepare, prepare_all


def clip(path: Path) -> Sound:
    return Sound("audio", path.stem, 0, None, (), path)


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=30), st.integers(1, 16))
def test_every_clip_gets_its_own_rows(counts: list[int], batch_size: int):
    rng = np.random.default_rng(0)
    clips = [
        Prepared(clip(Path(str(i))), rng.standard_normal((n, 96, 64)).astype(np.float32), 1.0)
        for i, n in enumerate(counts)
    ]
    sizes = []

    def embed(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch[:, :2].reshape(len(batch), 128)

    out = [item for group in embed_all(clips, embed, batch_size, Timing()) for item in group]
    assert [item.prepared for item in out] == clips
    for item in out:
        np.testing.assert_array_equal(item.embeddings, item.prepared.examples[:, :2].reshape(-1, 128))
    assert len(sizes) == math.ceil(sum(counts) / batch_size), "the network sees full batches whatever the clips"
    assert all(size == batch_size for size in sizes[:-1])


def test_stop_begins_nothing_further(tmp_path: Path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16000), 16000)
    seen: list[Prepared] = []
    for prepared in prepare_all([clip(path)] * 100, 2, lambda: len(seen) >= 3, Timing()):
        seen.append(prepared)
    assert 3 <= len(seen) <= 3 + 4 * 2


def test_problems_are_results(tmp_path: Path):
    bad, short, gone = tmp_path / "bad.wav", tmp_path / "short.wav", tmp_path / "gone.wav"
    bad.write_bytes(b"RIFF....")
    soundfile.write(short, np.zeros(15_599), 16000)
    assert prepare(clip(bad)).damaged and str(bad) in prepare(clip(bad)).problem
    assert prepare(clip(gone)).damaged
    assert not prepare(clip(short)).damaged and "too short" in prepare(clip(short)).problem
    soundfile.write(short, np.zeros(15_600), 16000)
    assert prepare(clip(short)).problem == "" and len(prepare(clip(short)).examples) == 1


def test_mono_is_the_mean_and_sixteen_bits_are_exact(tmp_path: Path):
    stereo = np.array([[16384, -16384], [32767, 1], [-32768, -32768]] * 6000, np.int16)
    path = tmp_path / "a.flac"
    soundfile.write(path, stereo, 16000)
    from audioset_batch.learn.vggish.audio import decode

    samples, duration = decode(path, "a")
    np.testing.assert_array_equal(samples, (stereo / 32768.0).mean(axis=1))
    assert duration == 18000 / 16000


def test_resampling_keeps_the_tone_and_removes_what_would_alias():
    time = np.arange(48000) / 48000
    kept = to_mono_16k(0.5 * np.sin(2 * np.pi * 1000 * time), 48000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    assert np.abs(kept - expected)[800:-800].max() < 1e-4
    aliased = to_mono_16k(0.5 * np.sin(2 * np.pi * 11000 * time), 48000)
    assert np.abs(aliased)[800:-800].max() < 1e-4
