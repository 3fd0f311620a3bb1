"""What AudioSet and YouTube-8M classifiers are judged by, in NumPy.

Everywhere `labels` is bool (N, K) and `scores` is float (N, K), larger meaning more likely.

AudioSet (`class_metrics`): average precision is the step-wise sum of scikit-learn's `average_precision_score`,
AUC that of `roc_auc_score`, both with ties treated as one threshold; d' = sqrt(2) * inverse normal CDF of AUC.
YouTube-8M (`hit_at_one`, `perr`, `gap`, `yt8m_map`): as in `eval_util.py` of its starter code. There equal scores
are ordered at random; here the lower class index, then the earlier clip, comes first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ClassMetrics:
    """Per class; NaN where a class has no positive clip (or, for AUC, no negative one).

    Attributes:
        positives: int64 (K,), clips that have the label.
        ap: float64 (K,), average precision.
        auc: float64 (K,), area under the ROC curve.
        clips: N.
    """

    positives: npt.NDArray[np.int64]
    ap: FloatArray
    auc: FloatArray
    clips: int

    @property
    def classes_used(self) -> int:
        """Classes with at least one positive clip: what the means are over."""
        return int((self.positives > 0).sum())

    @property
    def mean_ap(self) -> float:
        """mAP; NaN if no class has a positive clip."""
        return _mean(self.ap)

    @property
    def mean_auc(self) -> float:
        """Mean AUC; NaN if it is defined for no class."""
        return _mean(self.auc)

    @property
    def d_prime(self) -> FloatArray:
        """float64 (K,): d' of each class."""
        return np.array([d_prime(value) for value in self.auc])

    @property
    def mean_d_prime(self) -> float:
        """d' of the *mean* AUC, as published figures are (not the mean of the classes' d')."""
        return d_prime(self.mean_auc)


def class_metrics(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> ClassMetrics:
    """Average precision and AUC of every class.

    Raises:
        ValueError: Shapes differ, or a score is NaN.
    """
    truth = _checked(labels, scores)
    classes = truth.shape[1]
    ap, auc = np.full(classes, np.nan), np.full(classes, np.nan)
    for k in np.flatnonzero(truth.any(axis=0)):
        ap[k], auc[k] = _ap_and_auc(truth[:, k], scores[:, k])
    return ClassMetrics(truth.sum(axis=0), ap, auc, len(truth))


def d_prime(auc: float) -> float:
    """`sqrt(2) * inverse normal CDF(auc)`; infinite at 0 and 1, NaN for NaN."""
    if math.isnan(auc):
        return math.nan
    if auc <= 0.0 or auc >= 1.0:
        return math.copysign(math.inf, auc - 0.5)
    return math.sqrt(2.0) * NormalDist().inv_cdf(auc)


def hit_at_one(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """Share of clips whose best-scored class is one of theirs."""
    truth = _checked(labels, scores)
    if not truth.size:
        return math.nan
    return float(truth[np.arange(len(truth)), scores.argmax(axis=1)].mean())


def perr(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """Precision at equal recall rate: share of a clip's n labels among its top n classes, mean over clips.

    Only scores above 0 count; clips without labels are left out.
    """
    truth = _checked(labels, scores)
    counts = truth.sum(axis=1)
    used = np.flatnonzero(counts)
    if not used.size:
        return math.nan
    order = np.argsort(-scores[used], axis=1, kind="stable")
    hit = np.take_along_axis(truth[used] & (scores[used] > 0), order, axis=1)
    within = np.arange(truth.shape[1]) < counts[used, None]
    return float(((hit & within).sum(axis=1) / counts[used]).mean())


def gap(labels: npt.NDArray[Any], scores: npt.NDArray[Any], top_k: int = 20) -> float:
    """Global average precision over every clip's top `top_k` classes; denominator: all true labels."""
    truth = _checked(labels, scores)
    rows, columns = _top(scores, top_k)
    return _pooled_ap(scores[rows, columns], truth[rows, columns], int(truth.sum()))


def yt8m_map(labels: npt.NDArray[Any], scores: npt.NDArray[Any], top_k: int = 20) -> float:
    """The starter code's MAP: per class over the clips that have it in their top `top_k`.

    A class's denominator is all its positives; classes without positives are left out. Lower than and not
    comparable with AudioSet's mAP.
    """
    truth = _checked(labels, scores)
    rows, columns = _top(scores, top_k)
    by_class = np.argsort(columns, kind="stable")
    rows, columns = rows[by_class], columns[by_class]
    bounds = np.searchsorted(columns, np.arange(truth.shape[1] + 1))
    positives = truth.sum(axis=0)
    values = []
    for k in np.flatnonzero(positives):
        chosen = rows[bounds[k] : bounds[k + 1]]
        values.append(_pooled_ap(scores[chosen, k], truth[chosen, k], int(positives[k])))
    return float(np.mean(values)) if values else math.nan


def top_classes(scores: npt.NDArray[Any], top_k: int) -> npt.NDArray[np.int64]:
    """int64 (N, min(top_k, K)): each clip's best classes, best first, ties by class index."""
    count = min(top_k, scores.shape[1])
    return np.argsort(-scores, axis=1, kind="stable")[:, :count].astype(np.int64)


def _top(scores: npt.NDArray[Any], top_k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    best = top_classes(scores, top_k)
    return np.repeat(np.arange(len(best)), best.shape[1]), best.ravel()


def _pooled_ap(scores: npt.NDArray[Any], hits: BoolArray, positives: int) -> float:
    if not positives:
        return math.nan
    ranked = hits[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].sum() / positives)


def _ap_and_auc(truth: BoolArray, scores: npt.NDArray[Any]) -> tuple[float, float]:
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # The last clip of every run of equal scores: one threshold each.
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    true = np.cumsum(truth[order])[last].astype(np.float64)
    false = last + 1.0 - true
    found = np.diff(true, prepend=0.0)
    ap = float((found * (true / (last + 1.0))).sum() / true[-1])
    if not false[-1]:
        return ap, math.nan
    # A false clip beats the positives ranked above it, and half of those it is tied with.
    area = (np.diff(false, prepend=0.0) * (true - found / 2)).sum()
    return ap, float(area / (true[-1] * false[-1]))


def _mean(values: FloatArray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def _checked(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> BoolArray:
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise ValueError(f"expected labels and scores of one shape (N, K), got {labels.shape} and {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN: the model has diverged")
    return labels.astype(np.bool_, copy=False)
