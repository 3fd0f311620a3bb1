"""Distributions of duration, level and source format, counted in fixed bins so that shards add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]

_DURATION_EDGES: Final = tuple(n / 2 for n in range(22))
"""Seconds: 0, 0.5 ... 10.5. Clips of AudioSet last at most 10 s; longer clips of other lists are in the last bin."""

_LEVEL_EDGES: Final = tuple(float(n) for n in range(-90, 1, 3))
"""dB relative to full scale."""

_CUT_SHORT_SECONDS: Final = 0.1
_FULL_SCALE_DBFS: Final = -0.01


class Histogram:
    """Counts of values per bin: `edges[i] <= value < edges[i + 1]`; the outer bins include values beyond them."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = np.zeros(len(edges) - 1, np.int64)

    def add(self, values: Floats) -> None:
        """Count `values` that are finite."""
        finite = values[np.isfinite(values)]
        inside = np.searchsorted(self.edges, np.round(finite, 3), side="right") - 1
        self.counts += np.bincount(np.clip(inside, 0, len(self.counts) - 1), minlength=len(self.counts))

    def to_json(self) -> dict[str, list[float] | list[int]]:
        """`edges`, and `counts` between them."""
        return {"edges": list(self.edges), "counts": self.counts.tolist()}


@dataclass(slots=True)
class MediaTally:
    """Running counts of the media of clips that are ok."""

    durations: Histogram = field(default_factory=lambda: Histogram(_DURATION_EDGES))
    rms: Histogram = field(default_factory=lambda: Histogram(_LEVEL_EDGES))
    peak: Histogram = field(default_factory=lambda: Histogram(_LEVEL_EDGES))
    counts: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, ok: pa.Table) -> None:
        """Count clips.

        Args:
            ok: Rows of the merged table whose status is ok.
        """
        if ok.num_rows == 0:
            return
        durations, rms, peak = (floats(ok, name) for name in ("duration_seconds", "rms_dbfs", "peak_dbfs"))
        self.durations.add(durations)
        self.rms.add(rms)
        self.peak.add(peak)
        planned = floats(ok, "end_seconds") - floats(ok, "start_seconds")
        self.counts["cut_short"] += int(np.sum(durations < planned - _CUT_SHORT_SECONDS))
        self.counts["full_scale"] += int(np.sum(peak >= _FULL_SCALE_DBFS))
        self.counts["silent"] += pc.sum(ok.column("silent")).as_py() or 0
        for name in ("source_sample_rate", "sample_rate", "channels", "format_id", "audio_track"):
            for group in ok.group_by(name).aggregate([([], "count_all")]).to_pylist():
                if group[name] not in (None, ""):
                    self.sources[name, str(group[name])] += group["count_all"]

    def to_json(self) -> dict[str, Any]:
        """The part of `summary.json` about media. Levels are in dBFS, durations in seconds."""
        return {
            "durations": {**self.durations.to_json(), "cut_short": self.counts["cut_short"]},
            "levels": {
                "rms_dbfs": self.rms.to_json(),
                "peak_dbfs": self.peak.to_json(),
                "full_scale": self.counts["full_scale"],
                "silent": self.counts["silent"],
            },
            "media": {
                name: dict(Counter({v: n for (k, v), n in self.sources.items() if k == name}).most_common())
                for name in ("source_sample_rate", "sample_rate", "channels", "format_id", "audio_track")
            },
        }


def floats(table: pa.Table, name: str) -> Floats:
    """A column as float64; null becomes NaN."""
    values: Floats = table.column(name).to_numpy().astype(np.float64)
    return values
