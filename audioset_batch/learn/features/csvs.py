"""The label and segments CSVs of a data directory, read as leniently as `info` and `compare` need.

Only what identifies a segment and its labels is read here; checking a CSV before a download is prep's business.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir
from audioset_batch.learn.features.shards import SPLITS


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
    """Read a released or mirrored segments CSV: with or without space after commas, quotes and header lines.

    Raises:
        InputRefused: It cannot be opened or decoded.
    """
    index_of = {mid: index for index, mid in enumerate(table.mids)}
    labels: dict[SegmentId, tuple[int, ...]] = {}
    unknown: set[str] = set()
    unreadable = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for line, row in enumerate(csv.reader(stream, skipinitialspace=True), 1):
                # "#NAME?" is what a spreadsheet makes of an id such as "-abc": a damaged row, no header.
                header = line <= 3 and row[:1] and row[0].startswith("#") and not row[0].startswith("#NAME")
                if not row or header or row[0].strip().upper() == "YTID":
                    continue
                mids = [mid.strip() for field in row[3:] for mid in field.split(",") if mid.strip()]
                try:
                    key = SegmentId(row[0].strip(), round(float(row[1]) * 1000))
                    float(row[2])
                except (IndexError, ValueError):
                    unreadable += 1
                    continue
                if len(key.video_id) != 11 or not mids:
                    unreadable += 1
                    continue
                unknown.update(mid for mid in mids if mid not in index_of)
                labels[key] = tuple(index_of[mid] for mid in mids if mid in index_of)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputRefused(f"{path}: cannot be read as a segments CSV: {error}") from error
    return SegmentsCsv(path, labels, unreadable, frozenset(unknown))


def segments_csv_path(data_dir: Path, split: str) -> Path:
    """The CSV that belongs to a split of the released features, e.g. `eval` -> eval_segments.csv."""
    return DataDir(data_dir).segments_csv(SPLITS.get(split, split))
