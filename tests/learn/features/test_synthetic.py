"""The synthetic distribution: deterministic, AudioSet-like, and its posterior is the true one."""

from __future__ import annotations

import numpy as np
import pytest

from audioset_batch.learn.features.arrays import FeatureSet
from tests.support.synthetic_features import SyntheticFeatures


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = truth[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def mean_ap(features: FeatureSet, scores: np.ndarray) -> float:
    return float(
        np.mean(
            [
                average_precision(features.labels[:, k], scores[:, k])
                for k in np.flatnonzero(features.labels.any(axis=0))
            ]
        )
    )


def test_same_seed_gives_the_same_clips_and_another_seed_others() -> None:
    first = SyntheticFeatures(classes=12, seed=3).sample(50, seed=1)
    again = SyntheticFeatures(classes=12, seed=3).sample(50, seed=1)
    other = SyntheticFeatures(classes=12, seed=3).sample(50, seed=2)
    assert np.array_equal(first.embeddings, again.embeddings)
    assert np.array_equal(first.labels, again.labels)
    assert list(first.video_ids) == list(again.video_ids)
    assert not np.array_equal(first.embeddings, other.embeddings)


def test_clips_look_like_released_ones() -> None:
    clips = SyntheticFeatures().sample(3000, seed=1)
    assert clips.embeddings.dtype == np.uint8 and clips.embeddings.shape == (3000, 10, 128)
    assert clips.labels.dtype == bool and clips.labels.shape == (3000, 527)
    per_clip = clips.labels.sum(axis=1)
    assert per_clip.min() >= 1 and per_clip.max() <= 8
    assert 1.6 < per_clip.mean() < 2.6
    counts = np.sort(clips.labels.sum(axis=0))[::-1]
    assert counts[0] > 20 * max(counts[263], 1)
    assert len(set(clips.video_ids)) == 3000
    assert {len(name) for name in clips.video_ids} == {11}
    short = clips.lengths < 10
    assert 0 < short.sum() < 150
    assert not clips.embeddings[np.arange(10) >= clips.lengths[:, None]].any()
    assert (clips.end > clips.start).all()


def test_scores_are_the_posterior_computed_value_by_value() -> None:
    model = SyntheticFeatures(classes=5, seed=2, separation=0.5)
    clips = model.sample(6, seed=4)
    for row in range(len(clips)):
        joint = model.prior.copy()
        for scene in range(5):
            log_likelihood = 0.0
            for frame in range(clips.lengths[row]):
                for d in range(128):
                    density = np.exp(-((np.arange(256) - model.means[scene, d]) ** 2) / (2 * model.noise**2))
                    log_likelihood += np.log(density[clips.embeddings[row, frame, d]] / density.sum())
            joint[scene] = np.log(joint[scene]) + log_likelihood
        weights = np.exp(joint - joint.max())
        expected = weights / weights.sum() @ model.label_probabilities
        assert model.bayes_scores(clips)[row] == pytest.approx(expected, abs=1e-9)


def test_scores_are_calibrated() -> None:
    model = SyntheticFeatures(classes=20, seed=0, separation=1.2)
    clips = model.sample(8000, seed=9)
    scores = model.bayes_scores(clips)
    for low in np.arange(0.05, 0.95, 0.1):
        chosen = (scores >= low) & (scores < low + 0.1)
        if chosen.sum() > 400:
            error = np.sqrt(0.25 / chosen.sum())
            assert abs(scores[chosen].mean() - clips.labels[chosen].mean()) < 5 * error
    assert ((scores > 0.1) & (scores < 0.9)).mean() > 0.05


def test_no_other_scores_are_better() -> None:
    model = SyntheticFeatures(classes=30, seed=1, separation=1.2)
    clips = model.sample(6000, seed=5)
    best = mean_ap(clips, model.bayes_scores(clips))
    wrong_prior = SyntheticFeatures(classes=30, seed=1, separation=1.2, tail=0.0).bayes_scores(clips)
    noisy = model.bayes_scores(clips) + np.random.default_rng(0).normal(0, 0.05, (6000, 30))
    assert 0.2 < best < 0.95
    assert best > mean_ap(clips, wrong_prior)
    assert best > mean_ap(clips, noisy)
    assert best > 2 * clips.labels.mean()


def test_tail_changes_the_frequencies_only() -> None:
    long, flat = SyntheticFeatures(classes=40), SyntheticFeatures(classes=40, tail=0.0)
    assert np.array_equal(long.means, flat.means)
    assert np.array_equal(long.label_probabilities, flat.label_probabilities)
    assert np.ptp(flat.prior) == pytest.approx(0, abs=1e-12)
    assert long.prior[0] > 30 * long.prior[-1]


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        SyntheticFeatures(classes=1)
    with pytest.raises(ValueError, match="noise"):
        SyntheticFeatures(noise=0.0)
