"""Which clips make up which step. Every batch is a function of the seed and the step's number alone.

So a run that is resumed at step s sees what it would have seen without the interruption, and nothing about the
order needs to be stored.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import UsageError
from audioset_batch.learn.training.examples import Batch, Examples, Rows, mixed

_AST_NUMERATOR: Final = 1000.0
_AST_OFFSET: Final = 0.01
_CACHED_ORDERS: Final = 4096
_SHUFFLE, _CLASSES, _WITHIN, _WEIGHTED, _MIXUP = range(5)
"""Second element of the random seeds, so that no two uses share a stream."""


class Sampler(Protocol):
    """An endless sequence of rows."""

    def rows(self, first: int, count: int) -> Rows:
        """Elements `first` to `first + count` of the sequence."""


class _Orders:
    """Permutations by key, made on demand; the ones used last stay."""

    def __init__(self, seed: int, use: int) -> None:
        self._seed, self._use = seed, use
        self._cache: OrderedDict[tuple[int, ...], Rows] = OrderedDict()

    def get(self, size: int, *key: int) -> Rows:
        if key in self._cache:
            self._cache.move_to_end(key)
        else:
            self._cache[key] = np.random.default_rng([self._seed, self._use, *key]).permutation(size)
            if len(self._cache) > _CACHED_ORDERS:
                self._cache.popitem(last=False)
        return self._cache[key]


class Shuffled:
    """Every clip once per epoch, each epoch in another order; a batch may span two epochs."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._epoch: tuple[int, Rows] = (-1, np.empty(0, np.int64))

    def rows(self, first: int, count: int) -> Rows:
        position = np.arange(first, first + count)
        epochs = position // self._count
        result = np.empty(count, np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            result[here] = self._order(epoch)[position[here] % self._count]
        return result

    def _order(self, epoch: int) -> Rows:
        number, order = self._epoch
        if number != epoch:
            order = np.random.default_rng([self._seed, _SHUFFLE, epoch]).permutation(self._count)
            self._epoch = (epoch, order)
        return order


class ClassQueue:
    """PANNs' and Kong's balance: rounds of all classes in random order, each giving its next clip.

    Every class walks through its own shuffled clips, which are shuffled again when used up. In round r every class
    gives its r-th clip, which is why any element can be computed directly.
    """

    def __init__(self, labels: npt.NDArray[np.bool_], seed: int) -> None:
        columns, clips = np.nonzero(labels.T)
        self._classes, starts = np.unique(columns, return_index=True)
        if not self._classes.size:
            raise UsageError("balanced_sampling: no clip of the training data has a label")
        self._clips = np.split(clips.astype(np.int64), starts[1:])
        self._round_orders = _Orders(seed, _CLASSES)
        self._class_orders = _Orders(seed, _WITHIN)

    def rows(self, first: int, count: int) -> Rows:
        result = np.empty(count, np.int64)
        for i, position in enumerate(range(first, first + count)):
            turn, place = divmod(position, len(self._classes))
            k = int(self._round_orders.get(len(self._classes), turn)[place])
            clips = self._clips[k]
            lap, index = divmod(turn, len(clips))
            result[i] = clips[self._class_orders.get(len(clips), k, lap)[index]]
        return result


class Weighted:
    """AST's and PSLA's balance: drawn with replacement, weight = sum of 1000 / (class count + 0.01) over labels."""

    _CHUNK: Final = 1024

    def __init__(self, labels: npt.NDArray[np.bool_], seed: int) -> None:
        per_class = _AST_NUMERATOR / (labels.sum(axis=0) + _AST_OFFSET)
        rows, columns = np.nonzero(labels)
        weights = np.bincount(rows, weights=per_class[columns], minlength=len(labels))
        if not weights.any():
            raise UsageError("balanced_sampling: no clip of the training data has a label")
        self._cumulative = np.cumsum(weights / weights.sum())
        self._last = int(np.flatnonzero(weights)[-1])
        self._seed = seed

    def rows(self, first: int, count: int) -> Rows:
        chunks = range(first // self._CHUNK, (first + count - 1) // self._CHUNK + 1)
        uniform = np.concatenate(
            [np.random.default_rng([self._seed, _WEIGHTED, chunk]).random(self._CHUNK) for chunk in chunks]
        )
        offset = first - chunks[0] * self._CHUNK
        drawn = np.searchsorted(self._cumulative, uniform[offset : offset + count], side="right")
        return np.minimum(drawn, self._last)


def make_sampler(name: str, labels: npt.NDArray[np.bool_], seed: int) -> Sampler:
    """The sampler called `name`: one of `options.BALANCING`."""
    if name == "panns":
        return ClassQueue(labels, seed)
    return Weighted(labels, seed) if name == "ast" else Shuffled(len(labels), seed)


class BatchSource:
    """The batch of any step.

    Args:
        examples: Where clips come from.
        sampler: Their order.
        batch_size: Clips per step.
        mixup: `none`; `panns`: two clips for each of the batch, share Beta(1, 1); `ast`: half of the clips get a
            partner drawn evenly from all, share Beta(10, 10).
        seed: Of the mixup.
    """

    def __init__(self, examples: Examples, sampler: Sampler, batch_size: int, mixup: str, seed: int) -> None:
        self._examples = examples
        self._sampler = sampler
        self._size = batch_size
        self._seed = seed
        self._make: Callable[[int], Batch] = {"none": self._plain, "panns": self._pairs, "ast": self._partners}[mixup]

    def batch(self, step: int) -> Batch:
        """The batch of step `step`, from 0."""
        return self._make(step)

    def _plain(self, step: int) -> Batch:
        rows = self._sampler.rows(step * self._size, self._size)
        return Batch(self._examples.inputs(rows), self._examples.labels[rows].astype(np.float32))

    def _pairs(self, step: int) -> Batch:
        rows = self._sampler.rows(step * 2 * self._size, 2 * self._size)
        share = self._rng(step).beta(1.0, 1.0, self._size)
        return self._mix(rows[0::2], rows[1::2], share)

    def _partners(self, step: int) -> Batch:
        rng = self._rng(step)
        rows = self._sampler.rows(step * self._size, self._size)
        partners = rng.integers(0, len(self._examples), self._size)
        share = np.where(rng.random(self._size) < 0.5, rng.beta(10.0, 10.0, self._size), 1.0)
        # A clip without a partner is its own: mixing it with another clip by 0 would lengthen it.
        return self._mix(rows, np.where(share < 1.0, partners, rows), share)

    def _mix(self, rows: Rows, partners: Rows, share: npt.NDArray[np.float64]) -> Batch:
        weight = share.astype(np.float32)
        labels = self._examples.labels
        column = weight[:, None]
        return Batch(
            mixed(self._examples.inputs(rows), self._examples.inputs(partners), weight),
            column * labels[rows] + (1 - column) * labels[partners],
        )

    def _rng(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, _MIXUP, step])
