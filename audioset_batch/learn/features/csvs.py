"""The label and segments CSVs of a data directory, with labels by their index."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir
from audioset_batch.learn.features.shards import SPLITS
from audioset_batch.plan.careful_row import Kind
from audioset_batch.plan.segments_csv import read_segments_csv as read_list


class SegmentId(NamedTuple):
    """What identifies a segment within a split; times in the released files are whole milliseconds."""

    video_id: str
    start_ms: int


@dataclass(frozen=True, slots=True)
class LabelTable:
    """class_labels_indices.csv: `mids[i]` and `names[i]` belong to label i."""

    mids: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.mids)


def read_label_table(path: Path) -> LabelTable:
    """Read class_labels_indices.csv (columns index, mid, display_name).

    Raises:
        InputRefused: It cannot be read, or its indices are not 0, 1, 2, ...
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, skipinitialspace=True))
        indices = [int(row["index"]) for row in rows]
        table = LabelTable(tuple(row["mid"] for row in rows), tuple(row["display_name"] for row in rows))
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputRefused(
            f"{path}: expected a CSV with the columns index, mid, display_name ({error}); "
            "`audioset-batch prep` fetches it"
        ) from error
    if indices != list(range(len(indices))) or not indices:
        raise InputRefused(f"{path}: expected the indices 0, 1, 2, ..., found {indices[:3]} and {len(indices)} rows")
    return table


@dataclass(frozen=True, slots=True)
class SegmentsCsv:
    """One segments CSV.

    Attributes:
        path: The file.
        labels: Label indices of every segment; MIDs that the label table lacks are left out.
        unreadable: Lines that are no segment, such as a line cut off by a broken download.
        unknown_mids: MIDs that the label table lacks.
    """

    path: Path
    labels: dict[SegmentId, tuple[int, ...]]
    unreadable: int
    unknown_mids: frozenset[str]


def read_segments_csv(path: Path, table: LabelTable) -> SegmentsCsv:
    """Read a released or mirrored segments CSV.

    Raises:
        InputRefused: It cannot be read.
    """
    index_of = {mid: index for index, mid in enumerate(table.mids)}
    labels: dict[SegmentId, tuple[int, ...]] = {}
    unknown: set[str] = set()
    parsed = read_list(path, "", known_labels=None)
    for segment in parsed.table.segments():
        unknown.update(mid for mid in segment.labels if mid not in index_of)
        known = tuple(index_of[mid] for mid in segment.labels if mid in index_of)
        labels[SegmentId(segment.ytid, segment.start_ms)] = known
    unreadable = sum(problem.kind != Kind.DUPLICATE for problem in parsed.problems) + bool(parsed.unfinished)
    return SegmentsCsv(path, labels, unreadable, frozenset(unknown))


def segments_csv_path(data_dir: Path, split: str) -> Path:
    """The CSV that belongs to a split of the released features, e.g. `eval` -> eval_segments.csv."""
    return DataDir(data_dir).segments_csv(SPLITS.get(split, split))
