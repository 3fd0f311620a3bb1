"""Many segments of one subset as columns: what 2.1 million rows are held in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audioset_batch.model import Segment

YTID_DTYPE: Final = "S11"


@dataclass(frozen=True, slots=True)
class SegmentTable:
    """Rows of one subset in the order of its CSV; all columns have the same length.

    Attributes:
        subset: Name of the subset.
        ytid: Video ids, numpy `S11`.
        start_ms: Starts, int64 milliseconds.
        end_ms: Ends, int64 milliseconds.
        labels: Arrow string array of MIDs, comma-separated without spaces.
    """

    subset: str
    ytid: npt.NDArray[np.bytes_]
    start_ms: npt.NDArray[np.int64]
    end_ms: npt.NDArray[np.int64]
    labels: Any

    def __len__(self) -> int:
        return len(self.start_ms)

    def take(self, rows: npt.NDArray[Any]) -> SegmentTable:
        """The rows that an index array or a boolean mask names."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        return SegmentTable(
            self.subset,
            self.ytid[index],
            self.start_ms[index],
            self.end_ms[index],
            self.labels.take(pa.array(index)),
        )

    def segments(self) -> list[Segment]:
        """The rows as values."""
        return [
            Segment(self.subset, ytid, start, end, tuple(labels.split(",")))
            for ytid, start, end, labels in zip(
                self.ytid.astype("U11").tolist(),
                self.start_ms.tolist(),
                self.end_ms.tolist(),
                self.labels.to_pylist(),
                strict=True,
            )
        ]

    def csv_lines(self) -> Any:
        """The rows in the released format, an Arrow string array of lines with their line ends."""
        return pc.binary_join_element_wise(
            self._ytid_strings(),
            ", ",
            _seconds(self.start_ms),
            ", ",
            _seconds(self.end_ms),
            ', "',
            self.labels,
            '"\n',
            "",
        )

    def _ytid_strings(self) -> Any:
        return pa.array(np.ascontiguousarray(self.ytid), type=pa.binary(11)).cast(pa.binary()).cast(pa.string())


def empty_table(subset: str) -> SegmentTable:
    """A table without rows."""
    times = np.zeros(0, dtype=np.int64)
    return SegmentTable(subset, np.zeros(0, dtype=YTID_DTYPE), times, times, pa.array([], type=pa.string()))


def concat(subset: str, parts: list[SegmentTable]) -> SegmentTable:
    """The rows of `parts`, one after the other."""
    if not parts:
        return empty_table(subset)
    return SegmentTable(
        subset,
        np.concatenate([part.ytid for part in parts]),
        np.concatenate([part.start_ms for part in parts]),
        np.concatenate([part.end_ms for part in parts]),
        pa.concat_arrays([part.labels for part in parts]),
    )


def segment_hashes(
    ytid: npt.NDArray[np.bytes_], start_ms: npt.NDArray[np.int64], end_ms: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """64 bits per segment for finding equal ones; equal segments have equal hashes, others rarely do."""
    words = np.ascontiguousarray(ytid.astype("S16")).view(np.uint64).reshape(-1, 2)
    mixed = words[:, 0].copy()
    for part in (words[:, 1], start_ms.astype(np.uint64), end_ms.astype(np.uint64)):
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed += part
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    result: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(32))
    return result


def _seconds(milliseconds: npt.NDArray[np.int64]) -> Any:
    whole = pa.array(milliseconds // 1000).cast(pa.string())
    rest = pc.utf8_lpad(pa.array(milliseconds % 1000).cast(pa.string()), width=3, padding="0")
    return pc.binary_join_element_wise(whole, rest, ".")
