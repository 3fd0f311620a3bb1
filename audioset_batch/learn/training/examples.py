"""Training data as the loop sees it: rows by number, turned into a network's input when they are needed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.arrays import DEQUANTIZERS, FeatureSet
from audioset_batch.learn.training.options import ModelOptions

Notify = Callable[[str], None]
"""Told one line for the user."""

Rows = npt.NDArray[np.int64]
Inputs = dict[str, npt.NDArray[np.float32]]
"""Name of the network's input -> array whose first axis is the clip."""


class Examples(Protocol):
    """N clips with labels."""

    @property
    def labels(self) -> npt.NDArray[np.bool_]:
        """bool (N, K)."""

    @property
    def video_ids(self) -> npt.NDArray[np.str_]:
        """str (N,)."""

    def inputs(self, rows: Rows) -> Inputs:
        """The network's input for these rows, in that order."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Input and float32 labels (B, K) of one step."""

    inputs: Inputs
    labels: npt.NDArray[np.float32]


class EmbeddingExamples:
    """Several feature sets as one, quantized until a batch is taken.

    Args:
        parts: Their rows follow one another; memory-mapped embeddings stay on disk.
        options: The model that they are for.

    Raises:
        InputRefused: Their numbers of rows per clip or of classes are not the model's.
    """

    def __init__(self, parts: Sequence[FeatureSet], options: ModelOptions) -> None:
        for part in parts:
            # A set with narrower or wider room for rows will do as long as the clips fit.
            found = (int(part.lengths.max(initial=0)), part.embeddings.shape[2], part.labels.shape[1])
            expected = (options.max_frames, options.feature_sizes, options.num_classes)
            if found[0] > expected[0] or found[1:] != expected[1:]:
                raise InputRefused(
                    f"expected features of up to {expected[0]} rows x {expected[1]} and {expected[2]} classes as the "
                    f"model has them, got {found[0]} x {found[1]} and {found[2]}; see --max_frames and --num_classes"
                )
        # Not the parts themselves: they would keep a second copy of the labels alive.
        self._embeddings = tuple(part.embeddings for part in parts)
        self._shape = (options.max_frames, options.feature_sizes)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        # For the unbalanced set the labels are a gigabyte.
        self.labels = parts[0].labels if len(parts) == 1 else np.concatenate([part.labels for part in parts])
        self.video_ids = np.concatenate([part.video_ids for part in parts])
        self._lengths = np.concatenate([part.lengths for part in parts])
        # Both dequantizations are functions of one byte.
        self._table = DEQUANTIZERS[options.dequantization](np.arange(256, dtype=np.uint8))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def inputs(self, rows: Rows) -> Inputs:
        """`frames` float32 (n, frames, 128), zero from `num_frames` float32 (n,) on."""
        quantized = np.zeros((len(rows), *self._shape), np.uint8)
        home = np.searchsorted(self._starts, rows, side="right") - 1
        for number, embeddings in enumerate(self._embeddings):
            here = np.flatnonzero(home == number)
            if here.size:
                found = embeddings[rows[here] - self._starts[number]][:, : self._shape[0]]
                quantized[here, : found.shape[1]] = found
        lengths = self._lengths[rows]
        frames = self._table[quantized]
        frames[np.arange(frames.shape[1]) >= lengths[:, None]] = 0.0
        return {"frames": frames, "num_frames": lengths.astype(np.float32)}


class Subset:
    """Some rows of other examples, renumbered."""

    def __init__(self, examples: Examples, rows: Rows) -> None:
        self._examples = examples
        self._rows = rows
        self.labels = examples.labels[rows]
        self.video_ids = examples.video_ids[rows]

    def __len__(self) -> int:
        return len(self._rows)

    def inputs(self, rows: Rows) -> Inputs:
        """As the examples underneath give them."""
        return self._examples.inputs(self._rows[rows])


def held_out(examples: Examples, share: float) -> npt.NDArray[np.bool_]:
    """bool (N,): True for about `share` of the clips, chosen by their id alone, so always the same."""
    limit = share * 2**32
    return np.array([zlib.crc32(str(name).encode()) < limit for name in examples.video_ids], np.bool_)


def mixed(first: Mapping[str, npt.NDArray[Any]], second: Mapping[str, npt.NDArray[Any]], share: Any) -> Inputs:
    """`share` of the first inputs plus the rest of the second; `share` float32 (n,).

    `num_frames` becomes the larger one: where one clip has ended, the other goes on more quietly.
    """
    result: Inputs = {}
    for name, values in first.items():
        if name == "num_frames":
            result[name] = np.maximum(values, second[name])
        else:
            weight = share.reshape(-1, *([1] * (values.ndim - 1)))
            result[name] = (weight * values + (1 - weight) * second[name]).astype(np.float32, copy=False)
    return result
