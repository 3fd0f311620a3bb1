"""`features info`: what is in a set of features, and how it compares with the CSVs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused
from audioset_batch.fetch import Progress
from audioset_batch.learn.features.batch import RecordBatch
from audioset_batch.learn.features.csvs import LabelTable, SegmentId, read_labelled_segments
from audioset_batch.learn.features.reading import iter_features
from audioset_batch.learn.features.released import CLASSES, MAX_FRAMES
from audioset_batch.learn.features.tfrecord import OnBad, raise_damage


@dataclass(slots=True, eq=False)
class SplitCounts:
    """Counts of one split, filled batch by batch.

    Attributes:
        records: Records read.
        duplicates: Records of a segment that came before.
        short: Records with fewer than the full number of rows.
        labels: int64 (classes,), records per label.
        segments: Label indices of every segment; empty unless they are compared with a CSV.
    """

    records: int = 0
    duplicates: int = 0
    short: int = 0
    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    segments: dict[SegmentId, tuple[int, ...]] = field(default_factory=dict)

    def add(self, batch: RecordBatch, classes: int, keep_segments: bool) -> None:
        """Count a batch."""
        if not len(self.labels):
            self.labels = np.zeros(classes, np.int64)
        self.records += len(batch)
        self.short += int((batch.lengths < batch.embeddings.shape[1]).sum())
        self.labels += np.bincount(batch.label_values, minlength=classes)[:classes]
        if keep_segments:
            values = batch.label_values.tolist()
            offsets = batch.label_offsets.tolist()
            starts = np.rint(batch.start * 1000).astype(np.int64).tolist()
            for row, key in enumerate(map(SegmentId, batch.video_ids.tolist(), starts)):
                self.duplicates += key in self.segments
                self.segments[key] = tuple(values[offsets[row] : offsets[row + 1]])


@dataclass(frozen=True, slots=True)
class Comparison:
    """One split against its CSV.

    Attributes:
        csv: The CSV's path.
        planned: Segments in the CSV.
        missing: In the CSV only, sorted.
        extra: In the features only, sorted.
        different_labels: In both, with different sets of labels, sorted.
        unreadable: Lines of the CSV that are no segment.
        csv_labels: Segments per label in the CSV.
    """

    csv: Path
    planned: int
    missing: tuple[SegmentId, ...]
    extra: tuple[SegmentId, ...]
    different_labels: tuple[SegmentId, ...]
    unreadable: int
    csv_labels: tuple[int, ...]


def count_features(
    source: Path,
    *,
    classes: int = CLASSES,
    frames: int = MAX_FRAMES,
    keep_segments: bool = False,
    on_bad: OnBad = raise_damage,
    progress: Progress | None = None,
) -> dict[str, SplitCounts]:
    """Counts per split of the archive, TFRecords, or packed features.

    Raises:
        DamagedRecord: From the default `on_bad`.
        InputRefused: No features there, or a label beyond `classes`.
    """
    counts: dict[str, SplitCounts] = {}
    for split, batch in iter_features(source, frames=frames, classes=classes, on_bad=on_bad, progress=progress):
        if len(batch) and int(batch.label_values.max(initial=0)) >= classes:
            raise InputRefused(f"{source}: expected labels 0..{classes - 1}, found {batch.label_values.max()}")
        counts.setdefault(split, SplitCounts()).add(batch, classes, keep_segments)
    return counts


def compare_with_csv(counts: SplitCounts, split: str, data_dir: Path, table: LabelTable) -> Comparison | None:
    """Which segments are missing, extra or labelled otherwise; None if the data directory lacks the CSV.

    Raises:
        InputRefused: The CSV cannot be read.
    """
    planned = read_labelled_segments(data_dir, split, table)
    if planned is None:
        return None
    common = planned.labels.keys() & counts.segments.keys()
    different = (key for key in common if set(planned.labels[key]) != set(counts.segments[key]))
    per_label = np.zeros(len(table), np.int64)
    for labels in planned.labels.values():
        per_label[list(set(labels))] += 1
    return Comparison(
        csv=planned.path,
        planned=len(planned.labels),
        missing=tuple(sorted(planned.labels.keys() - counts.segments.keys())),
        extra=tuple(sorted(counts.segments.keys() - planned.labels.keys())),
        different_labels=tuple(sorted(different)),
        unreadable=planned.unreadable,
        csv_labels=tuple(per_label.tolist()),
    )


def summary(
    counts: dict[str, SplitCounts], comparisons: dict[str, Comparison | None], table: LabelTable | None
) -> dict[str, Any]:
    """All of it as one JSON document."""
    document: dict[str, Any] = {}
    for split, split_counts in counts.items():
        comparison = comparisons.get(split)
        entry: dict[str, Any] = {
            "records": split_counts.records,
            "duplicates": split_counts.duplicates,
            "short": split_counts.short,
            "labels": [
                {
                    "index": index,
                    "mid": table.mids[index] if table else None,
                    "name": table.names[index] if table else None,
                    "records": records,
                    "csv": comparison.csv_labels[index] if comparison else None,
                }
                for index, records in enumerate(split_counts.labels.tolist())
            ],
        }
        if comparison:
            entry["csv"] = {
                "path": str(comparison.csv),
                "segments": comparison.planned,
                "unreadable_lines": comparison.unreadable,
                "missing": len(comparison.missing),
                "extra": len(comparison.extra),
                "different_labels": len(comparison.different_labels),
            }
        document[split] = entry
    return document
