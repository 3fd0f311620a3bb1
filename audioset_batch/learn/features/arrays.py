"""The arrays that everything downstream of the released features works on, and the two dequantizations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """N segments in memory.

    Attributes:
        embeddings: uint8 (N, 10, 128); rows from `lengths` on are zero and mean nothing.
        lengths: int64 (N,), rows that are there, 0..10.
        labels: bool (N, K); column = `index` of class_labels_indices.csv.
        video_ids: str (N,).
        start: float32 (N,), seconds.
        end: float32 (N,), seconds.

    Raises:
        ValueError: The arrays do not belong together.
    """

    embeddings: UInt8Array
    lengths: npt.NDArray[np.int64]
    labels: npt.NDArray[np.bool_]
    video_ids: npt.NDArray[np.str_]
    start: Float32Array
    end: Float32Array

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 3 or self.labels.ndim != 2:
            raise ValueError(
                "expected embeddings (N, frames, 128) and labels (N, classes), "
                f"got {self.embeddings.shape} and {self.labels.shape}"
            )
        counts = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(counts.values())) != 1:
            raise ValueError(f"expected as many rows in every array, got {counts}")

    def __len__(self) -> int:
        return len(self.embeddings)

    def select(self, rows: npt.NDArray[Any] | slice | Sequence[int]) -> FeatureSet:
        """The given rows (any NumPy index of the first axis), in that order."""
        return FeatureSet(*(getattr(self, field.name)[rows] for field in fields(self)))


def dequantize(embeddings: npt.NDArray[np.uint8]) -> Float32Array:
    """`q * 4/255 + 4/512 - 2`: uint8 to float32 in -1.992..2.008, any shape.

    The formula of the YouTube-8M starter code. The half step (4/512) is meant to be there; together with the
    truncation of `quantize` it is not an identity.
    """
    values = embeddings.astype(np.float32)
    values *= np.float32(4.0 / 255.0)
    values += np.float32(4.0 / 512.0 - 2.0)
    return values


def dequantize_centered(embeddings: npt.NDArray[np.uint8]) -> Float32Array:
    """`(q - 128) / 128`: uint8 to float32 in -1..0.992, any shape; as Kong's attention models use it."""
    values = embeddings.astype(np.float32)
    values -= np.float32(128.0)
    values *= np.float32(1.0 / 128.0)
    return values


DEQUANTIZERS: Final = {"youtube8m": dequantize, "centered": dequantize_centered}
"""By name, as a trained model records which one it was trained with."""


def quantize(values: npt.NDArray[np.floating[Any]]) -> UInt8Array:
    """Embeddings after PCA to uint8 as released: clip to -2..2, `(x + 2) * 255/4`, truncate."""
    quantized: UInt8Array = ((np.clip(values, -2.0, 2.0) + 2.0) * (255.0 / 4.0)).astype(np.uint8)
    return quantized
