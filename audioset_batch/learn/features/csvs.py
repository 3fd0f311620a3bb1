"""The classes and segments of a data directory's CSVs, keyed as the released features are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir
from audioset_batch.learn.features.released import SPLITS
from audioset_batch.plan.careful_row import Kind
from audioset_batch.plan.labels import load_class_rows
from audioset_batch.plan.segments_csv import read_segments_csv


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

    def index_of(self) -> dict[str, int]:
        """MID -> label."""
        return {mid: index for index, mid in enumerate(self.mids)}


def read_label_table(path: Path) -> LabelTable:
    """Read class_labels_indices.csv.

    Raises:
        InputRefused: It is missing or cannot be read, its indices are not 0, 1, 2, ..., or a MID is there twice.
    """
    rows = load_class_rows(path)
    if not rows:
        raise InputRefused(
            f"{path} is missing; features hold label indices, not MIDs: `audioset-batch prep` fetches it"
        )
    indices = [row.index for row in rows]
    if indices != list(range(len(rows))):
        raise InputRefused(f"{path}: expected the indices 0, 1, 2, ..., found {indices[:3]} and {len(rows)} rows")
    table = LabelTable(tuple(row.mid for row in rows), tuple(row.name for row in rows))
    if len(table.index_of()) != len(table):
        repeated = next(mid for index, mid in enumerate(table.mids) if mid in table.mids[:index])
        raise InputRefused(f"{path}: expected every MID once, found {repeated} twice")
    return table


@dataclass(frozen=True, slots=True)
class LabelledSegments:
    """The segments of one CSV.

    Attributes:
        path: The file.
        labels: Label indices of every segment; MIDs that the label table lacks are left out.
        unreadable: Lines that are no segment, such as a line cut off by a broken download.
    """

    path: Path
    labels: dict[SegmentId, tuple[int, ...]]
    unreadable: int


def read_labelled_segments(data_dir: Path, split: str, table: LabelTable) -> LabelledSegments | None:
    """The segments of the CSV that belongs to a split, e.g. eval_segments.csv to `eval`; None if it is not there.

    Raises:
        InputRefused: It cannot be read.
    """
    path = DataDir(data_dir).segments_csv(SPLITS.get(split, split))
    if not path.exists():
        return None
    parsed = read_segments_csv(path, split, known_labels=None)
    index_of = table.index_of()
    labels = {
        SegmentId(segment.ytid, segment.start_ms): tuple(index_of[mid] for mid in segment.labels if mid in index_of)
        for segment in parsed.table.segments()
    }
    unreadable = sum(problem.kind != Kind.DUPLICATE for problem in parsed.problems) + bool(parsed.unfinished)
    return LabelledSegments(path, labels, unreadable)
