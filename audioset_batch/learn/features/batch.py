"""A few thousand records as flat arrays: what travels between reading, conversion and the packed files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.arrays import FeatureSet, Float32Array, UInt8Array
from audioset_batch.learn.features.released import EMBEDDING_SIZE
from audioset_batch.learn.features.sequence import Record


@dataclass(frozen=True, slots=True, eq=False)
class RecordBatch:
    """N records with their labels as one flat list.

    Attributes:
        embeddings: uint8 (N, frames, 128), zero from `lengths` on.
        lengths: int64 (N,).
        label_values: int16, all labels of all records, one record after another.
        label_offsets: int32 (N + 1,); record i has `label_values[label_offsets[i]:label_offsets[i + 1]]`.
        video_ids: str (N,).
        start: float32 (N,), seconds.
        end: float32 (N,), seconds.
    """

    embeddings: UInt8Array
    lengths: npt.NDArray[np.int64]
    label_values: npt.NDArray[np.int16]
    label_offsets: npt.NDArray[np.int32]
    video_ids: npt.NDArray[np.str_]
    start: Float32Array
    end: Float32Array

    def __len__(self) -> int:
        return len(self.embeddings)

    def dense_labels(self, classes: int) -> npt.NDArray[np.bool_]:
        """bool (N, classes).

        Raises:
            InputRefused: There is a label from `classes` on.
        """
        highest = int(self.label_values.max(initial=-1))
        if highest >= classes:
            raise InputRefused(f"expected labels 0..{classes - 1}, found {highest}: give the number of classes")
        labels = np.zeros((len(self), classes), np.bool_)
        labels[np.repeat(np.arange(len(self)), np.diff(self.label_offsets)), self.label_values] = True
        return labels

    def to_feature_set(self, classes: int) -> FeatureSet:
        """The same records with labels bool (N, classes)."""
        return FeatureSet(
            embeddings=self.embeddings,
            lengths=self.lengths,
            labels=self.dense_labels(classes),
            video_ids=self.video_ids,
            start=self.start,
            end=self.end,
        )

    def records(self) -> Iterator[Record]:
        """The batch one record at a time."""
        for row in range(len(self)):
            first, last = self.label_offsets[row : row + 2]
            yield Record(
                video_id=str(self.video_ids[row]),
                start=float(self.start[row]),
                end=float(self.end[row]),
                labels=tuple(self.label_values[first:last].tolist()),
                embedding=self.embeddings[row, : self.lengths[row]],
            )


def batch_of_records(records: Sequence[Record], frames: int) -> RecordBatch:
    """Records of at most `frames` rows each as one batch."""
    embeddings = np.zeros((len(records), frames, EMBEDDING_SIZE), np.uint8)
    for row, record in enumerate(records):
        embeddings[row, : len(record.embedding)] = record.embedding
    counts = [len(record.labels) for record in records]
    return RecordBatch(
        embeddings=embeddings,
        lengths=np.array([len(record.embedding) for record in records], np.int64),
        label_values=np.array([label for record in records for label in record.labels], np.int16),
        label_offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int32),
        video_ids=np.array([record.video_id for record in records], np.str_),
        start=np.array([record.start for record in records], np.float32),
        end=np.array([record.end for record in records], np.float32),
    )


def batch_of_features(features: FeatureSet) -> RecordBatch:
    """A feature set as one batch; labels in ascending order."""
    rows, columns = np.nonzero(features.labels)
    counts = np.bincount(rows, minlength=len(features))
    return RecordBatch(
        embeddings=features.embeddings,
        lengths=features.lengths,
        label_values=columns.astype(np.int16),
        label_offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int32),
        video_ids=features.video_ids,
        start=features.start,
        end=features.end,
    )


def join_batches(batches: Iterable[RecordBatch], classes: int, frames: int) -> FeatureSet:
    """All batches as one feature set; an empty one if there are none."""
    parts = [batch.to_feature_set(classes) for batch in batches]
    if not parts:
        parts = [batch_of_records([], frames).to_feature_set(classes)]
    return FeatureSet(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("embeddings", "lengths", "labels", "video_ids", "start", "end")
        )
    )
