"""Finished segments over time, by outcome and by egress."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from audioset_batch.reasons import Status

_MOST_BINS: Final = 240
_BIN_SECONDS: Final = (10, 30, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400)
_YOUTUBE_BEGAN: Final = pd.Timestamp("2005-02-14", tz="UTC")
_STATUSES: Final = (Status.OK, Status.UNAVAILABLE, Status.FAILED)


@dataclass(slots=True)
class Timeline:
    """Collects 10 bytes per finished segment; `to_json` chooses the width of a bin when all are known."""

    egresses: dict[str, int] = field(default_factory=dict)
    _times: list[npt.NDArray[np.int64]] = field(default_factory=list)
    _codes: list[npt.NDArray[np.int8]] = field(default_factory=list)
    _ways: list[npt.NDArray[np.int16]] = field(default_factory=list)

    def add(self, planned: pa.Table) -> None:
        """Add the rows that a worker wrote. Adopted clips are left out: their rows have no time of a download."""
        rows = planned.select(["status", "attempts", "egress", "finished_at"])
        rows = rows.filter(pc.greater(rows.column("attempts"), 0))
        stamps = pd.to_datetime(
            pd.Series(rows.column("finished_at").to_pandas(), dtype="str"), utc=True, format="ISO8601", errors="coerce"
        )
        # A node with a wrong clock would stretch the axis until nothing else is visible.
        latest = pd.Timestamp.now(tz="UTC") + pd.Timedelta(days=1)
        known = stamps.between(_YOUTUBE_BEGAN, latest).to_numpy()
        if not known.any():
            return
        moments = stamps[known].dt.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)
        status = rows.column("status").to_numpy(zero_copy_only=False)[known]
        codes = np.full(len(moments), -1, np.int8)
        for code, word in enumerate(_STATUSES):
            codes[status == word] = code
        names = rows.column("egress").combine_chunks().dictionary_encode()
        own = [self.egresses.setdefault(name or "", len(self.egresses)) for name in names.dictionary.to_pylist()]
        ways = np.array([*own, -1], np.int16)[names.indices.fill_null(-1).to_numpy(zero_copy_only=False)[known]]
        finished = codes >= 0
        self._times.append(moments[finished])
        self._codes.append(codes[finished])
        self._ways.append(ways[finished])

    @property
    def span(self) -> tuple[int, int] | None:
        """Unix times of the first and the last finished segment."""
        filled = [part for part in self._times if len(part)]
        return (min(int(p.min()) for p in filled), max(int(p.max()) for p in filled)) if filled else None

    def to_json(self) -> dict[str, Any]:
        """Counts per bin of `bin_seconds` from `start` (UTC): one list per status, and per egress over all statuses."""
        span = self.span
        if span is None:
            return {"start": None, "bin_seconds": 3600, "counts": {str(s): [] for s in _STATUSES}, "egress": {}}
        width = next((w for w in _BIN_SECONDS if (span[1] - span[0]) / w < _MOST_BINS), 0)
        width = width or 86400 * -(-(span[1] - span[0]) // (86400 * _MOST_BINS))
        start = span[0] // width * width
        size = (span[1] - start) // width + 1
        bins = (np.concatenate(self._times) - start) // width
        codes, ways = np.concatenate(self._codes), np.concatenate(self._ways)
        return {
            "start": datetime.datetime.fromtimestamp(start, datetime.UTC).isoformat(),
            "bin_seconds": width,
            "counts": {
                str(word): np.bincount(bins[codes == code], minlength=size).tolist()
                for code, word in enumerate(_STATUSES)
            },
            "egress": {
                name: np.bincount(bins[ways == code], minlength=size).tolist()
                for name, code in sorted(self.egresses.items())
                if name and np.any(ways == code)
            },
        }
