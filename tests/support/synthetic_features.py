"""Synthetic features in the released format with a known Bayes-optimal classifier.

Real features cannot be had in a test, and nobody knows how good a classifier could be on them. Here both are
known.

The model ("scenes"). A clip is drawn from one of S = K scenes, scene s with probability `prior[s]`. Given s

* label k is on with probability `label_probabilities[s, k]`, independently of the others. The scene's own
  class has probability 1, at most seven others are above 0, so a clip has 1 to 8 labels;
* all values q[t, d] in 0..255 of all rows are independent, with P(q | s) proportional to
  exp(-(q - means[s, d])^2 / (2 noise^2)): a Gaussian in the quantized space on the 256 integers. It is the
  same as one in the dequantized space, an affine image, but needs no approximation for the rounding.

The posterior is exact. With Z(m) = sum_q exp((m q - q^2/2) / noise^2), and dropping what all scenes share,

    log P(s | q) = log prior[s] + sum_{t,d} (means[s, d] q[t, d] / noise^2 - log Z(means[s, d])) + constant
    P(label k | q) = sum_s P(s | q) label_probabilities[s, k]

Ranking clips by P(label k | q) maximises precision at every recall (Neyman and Pearson), so no classifier has
a higher expected average precision on clips of this model.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from audioset_batch.learn.features.arrays import FeatureSet
from audioset_batch.learn.features.released import CLASSES, EMBEDDING_SIZE, MAX_FRAMES

FloatArray = npt.NDArray[np.float64]

_MAX_SECONDARY: Final = 7
_SHORT_SHARE: Final = 0.017
"""Share of released evaluation segments with fewer than ten rows: 361 of 20,371."""
_ID_ALPHABET: Final = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"))
_CHUNK: Final = 4096


class SyntheticFeatures:
    """A distribution over clips; the module docstring describes the model.

    Args:
        classes: K, number of classes and of scenes, at least 2.
        seed: Fixes the distribution. Two objects that differ in `tail` only share means and label
            probabilities: a long-tailed training set and a balanced evaluation set of the same world.
        tail: Exponent of the scene frequencies, proportional to (rank + 1)^-tail. 1 gives AudioSet's
            long tail, 0 every scene equally often.
        separation: Standard deviation of the means of related scenes around their family's mean, in quantized
            steps. What counts is separation / noise: larger is easier.
        noise: Standard deviation of single values around their scene's mean, in quantized steps.
        family: Related scenes per family; they are close together and share a frequent parent label.
    """

    def __init__(
        self,
        classes: int = CLASSES,
        seed: int = 0,
        *,
        tail: float = 1.0,
        separation: float = 2.0,
        noise: float = 40.0,
        family: int = 8,
    ) -> None:
        if classes < 2:
            raise ValueError(f"expected at least 2 classes, got {classes}")
        if noise < 1 or separation < 0 or family < 1:
            raise ValueError("expected noise >= 1, separation >= 0 and family >= 1")
        self.classes = classes
        self.noise = noise
        rng = np.random.default_rng([seed, 0])
        families = -(-classes // family)
        family_of = rng.permutation(classes) % families
        family_means = rng.normal(128.0, 2.0 * separation, (families, EMBEDDING_SIZE))
        offsets = rng.normal(0.0, separation, (classes, EMBEDDING_SIZE))
        # Integer means keep the table of cumulative probabilities small: one row per integer.
        means = np.clip(np.rint(family_means[family_of] + offsets), 0, 255)
        self.means: npt.NDArray[np.int64] = means.astype(np.int64)
        self.prior: FloatArray = _zipf(classes, tail)
        self.label_probabilities: FloatArray = _label_probabilities(classes, family_of, rng)

    def sample(self, n: int, seed: int) -> FeatureSet:
        """`n` independent clips (10 rows of 128, labels (n, classes)); `seed` fixes them."""
        rng = np.random.default_rng([seed, 1])
        scenes = rng.choice(self.classes, size=n, p=self.prior)
        labels = rng.random((n, self.classes)) < self.label_probabilities[scenes]
        lengths = np.where(rng.random(n) < _SHORT_SHARE, rng.integers(1, MAX_FRAMES, n), MAX_FRAMES)
        embeddings = np.zeros((n, MAX_FRAMES, EMBEDDING_SIZE), np.uint8)
        low = int(self.means.min())
        table = self._cumulative(low)
        for first in range(0, n, _CHUNK):
            rows = slice(first, first + _CHUNK)
            level = self.means[scenes[rows]][:, None, :] - low
            uniform = rng.random((level.shape[0], MAX_FRAMES, EMBEDDING_SIZE))
            # The rows of the table follow one another on one axis, row r in r..r+1: one search serves all.
            position = np.searchsorted(table.ravel(), uniform + level, side="right")
            embeddings[rows] = np.minimum(position - level * 256, 255)
        embeddings[np.arange(MAX_FRAMES) >= lengths[:, None]] = 0
        start = (rng.integers(0, 30, n) * 10).astype(np.float32)
        return FeatureSet(
            embeddings=embeddings,
            lengths=lengths.astype(np.int64),
            labels=labels,
            video_ids=_video_ids(n, rng),
            start=start,
            end=start + lengths.astype(np.float32),
        )

    def scene_posterior(self, features: FeatureSet) -> FloatArray:
        """float64 (N, classes): P(scene | rows that are there), rows sum to 1."""
        values = np.arange(256.0)
        levels = np.arange(256.0)[:, None]
        exponent = (levels * values - values**2 / 2) / self.noise**2
        peak = exponent.max(axis=1)
        log_z = peak + np.log(np.exp(exponent - peak[:, None]).sum(axis=1))
        scene_log_z = log_z[self.means].sum(axis=1)
        posterior = np.empty((len(features), self.classes))
        mask = np.arange(features.embeddings.shape[1]) < features.lengths[:, None]
        for first in range(0, len(features), _CHUNK):
            rows = slice(first, first + _CHUNK)
            frames = features.embeddings[rows].astype(np.float64)
            sums = np.einsum("ntd,nt->nd", frames, mask[rows].astype(np.float64))
            logits = np.log(self.prior) + sums @ (self.means.T / self.noise**2)
            logits -= features.lengths[rows, None] * scene_log_z
            logits -= logits.max(axis=1, keepdims=True)
            weights = np.exp(logits)
            posterior[rows] = weights / weights.sum(axis=1, keepdims=True)
        return posterior

    def bayes_scores(self, features: FeatureSet) -> FloatArray:
        """float64 (N, classes): the exact P(label | embeddings) under this prior: the best scores."""
        scores: FloatArray = self.scene_posterior(features) @ self.label_probabilities
        return scores

    def _cumulative(self, low: int) -> FloatArray:
        """(levels, 256): P(value <= v) for the integer means from `low` on, plus the row number."""
        levels = np.arange(low, int(self.means.max()) + 1, dtype=np.float64)[:, None]
        density = np.exp(-((np.arange(256.0) - levels) ** 2) / (2 * self.noise**2))
        cumulative: FloatArray = np.cumsum(density, axis=1) / density.sum(axis=1, keepdims=True)
        cumulative[:, -1] = 1.0
        cumulative += np.arange(len(levels))[:, None]
        return cumulative


def _zipf(classes: int, exponent: float) -> FloatArray:
    weights = (np.arange(classes) + 1.0) ** -exponent
    normalized: FloatArray = weights / weights.sum()
    return normalized


def _label_probabilities(classes: int, family_of: npt.NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """(scenes, classes): 1 for the own class, high for the family's first, up to six others by frequency."""
    probabilities = np.zeros((classes, classes))
    frequency = _zipf(classes, 1.0)
    for scene in range(classes):
        parent = int(np.flatnonzero(family_of == family_of[scene])[0])
        others = min(_MAX_SECONDARY - 1, classes - 1)
        drawn = rng.choice(classes, size=others, replace=False, p=frequency)
        probabilities[scene, drawn] = rng.beta(0.6, 4.0, others)
        probabilities[scene, parent] = rng.uniform(0.3, 0.9)
        probabilities[scene, scene] = 1.0
    return probabilities


def _video_ids(n: int, rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """`n` distinct ids of 11 characters: four that count up, seven at random."""
    digits = np.empty((n, 11), np.int64)
    digits[:, 4:] = rng.integers(0, 64, (n, 7))
    counter = np.arange(n)
    # The changing digit comes first, so that clips spread over shards as real ids do.
    for place in range(4):
        digits[:, place] = counter >> (6 * place) & 63
    characters = np.ascontiguousarray(_ID_ALPHABET[digits])
    return characters.view(f"<U{11}").reshape(n)
