"""Metrics: golden values, agreement with scikit-learn, and the properties of each definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audioset_batch.learn.training import metrics

SCORES = np.array([[0.9, 0.2, 0.4, 0.1], [0.3, 0.8, 0.5, 0.6], [0.2, 0.7, 0.1, 0.9], [0.6, 0.1, 0.3, 0.2]])
LABELS = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]], np.bool_)


def test_golden_values_of_audioset() -> None:
    result = metrics.class_metrics(LABELS, SCORES)
    assert result.mean_ap == pytest.approx(0.8125)
    assert result.mean_auc == pytest.approx(0.6875)
    assert result.mean_d_prime == pytest.approx(0.691234, abs=1e-6)
    assert result.classes_used == 4


@pytest.mark.parametrize(("top_k", "mean_ap", "gap"), [(2, 0.75, 0.68631), (20, 0.8125, 0.79375)])
def test_golden_values_of_youtube8m(top_k: int, mean_ap: float, gap: float) -> None:
    assert metrics.hit_at_one(LABELS, SCORES) == 1.0
    assert metrics.perr(LABELS, SCORES) == 0.75
    assert metrics.yt8m_map(LABELS, SCORES, top_k) == pytest.approx(mean_ap, abs=1e-5)
    assert metrics.gap(LABELS, SCORES, top_k) == pytest.approx(gap, abs=1e-5)


def random_case(seed: int, clips: int, classes: int, levels: int | None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random((clips, classes)) < rng.uniform(0.01, 0.4, classes)
    labels[0], labels[1] = True, False
    scores = rng.random((clips, classes)) + 0.5 * labels
    return labels, scores if levels is None else np.floor(scores * levels) / levels


@pytest.mark.parametrize("levels", [None, 50, 3])
def test_agreement_with_scikit_learn(levels: int | None) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels, scores = random_case(1, 2000, 25, levels)
    result = metrics.class_metrics(labels, scores)
    assert result.ap == pytest.approx(average_precision_score(labels, scores, average=None), abs=1e-12)
    assert result.auc == pytest.approx(roc_auc_score(labels, scores, average=None), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.bool_, st.integers(2, 30)),
    st.data(),
)
def test_agreement_with_scikit_learn_whatever_the_ties(truth: np.ndarray, data: st.DataObject) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth[0], truth[1] = True, False
    scores = data.draw(hnp.arrays(np.float32, len(truth), elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])))
    result = metrics.class_metrics(truth[:, None], scores[:, None])
    assert result.ap[0] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert result.auc[0] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_classes_without_positives_are_excluded_and_counted() -> None:
    labels, scores = random_case(2, 100, 4, None)
    labels[:, 2] = False
    result = metrics.class_metrics(labels, scores)
    assert result.classes_used == 3
    assert math.isnan(result.ap[2]) and math.isnan(result.auc[2]) and math.isnan(result.d_prime[2])
    assert result.mean_ap == pytest.approx(np.mean(result.ap[[0, 1, 3]]))
    kept = [0, 1, 3]
    assert metrics.yt8m_map(labels, scores, 4) == pytest.approx(metrics.yt8m_map(labels[:, kept], scores[:, kept], 4))


def test_a_class_that_every_clip_has_counts_for_map_but_not_for_auc() -> None:
    labels, scores = random_case(3, 50, 2, None)
    labels[:, 0] = True
    result = metrics.class_metrics(labels, scores)
    assert result.ap[0] == 1.0 and math.isnan(result.auc[0])
    assert result.mean_auc == result.auc[1]


def test_perr_skips_clips_without_labels_and_scores_of_zero() -> None:
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1]], np.bool_)
    scores = np.array([[0.5, 0.0, 0.0], [0.1, 0.2, 0.3], [0.5, 0.1, 0.4]])
    assert metrics.perr(labels, scores) == pytest.approx((0.5 + 1.0) / 2)


def test_gap_counts_labels_beyond_the_top_k_in_its_denominator() -> None:
    labels = np.ones((1, 4), np.bool_)
    scores = np.array([[0.4, 0.3, 0.2, 0.1]])
    assert metrics.gap(labels, scores, 2) == 0.5
    assert metrics.gap(labels, scores, 4) == 1.0


def test_d_prime_of_the_published_systems() -> None:
    for auc, expected in ((0.959, 2.46), (0.968, 2.62), (0.973, 2.725), (0.979, 2.876)):
        assert metrics.d_prime(auc) == pytest.approx(expected, abs=0.03)
    assert metrics.d_prime(0.5) == 0.0
    assert metrics.d_prime(1.0) == math.inf and metrics.d_prime(0.0) == -math.inf


def test_nothing_to_judge_is_nan_not_a_crash() -> None:
    labels, scores = np.zeros((3, 2), np.bool_), np.ones((3, 2))
    result = metrics.class_metrics(labels, scores)
    assert math.isnan(result.mean_ap) and math.isnan(result.mean_d_prime) and result.classes_used == 0
    assert math.isnan(metrics.perr(labels, scores)) and math.isnan(metrics.gap(labels, scores))


def test_diverged_models_and_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="diverged"):
        metrics.class_metrics(LABELS, np.where(SCORES > 0.8, np.nan, SCORES))
    with pytest.raises(ValueError, match="one shape"):
        metrics.gap(LABELS, SCORES[:, :3])
