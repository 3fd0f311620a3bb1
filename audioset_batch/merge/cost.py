"""The cost of clips in requests, bytes and seconds, as their rows record it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audioset_batch.merge.distributions import floats
from audioset_batch.reasons import Status

_COLUMNS: Final = ("requests", "fetched_bytes", "elapsed_seconds", "attempts")
_QUANTILES: Final = (0.5, 0.9, 0.99)


@dataclass(slots=True)
class CostTally:
    """Running sums by status, and the cost of each clip for the quantiles (12 bytes a clip)."""

    sums: Counter[tuple[str, str]] = field(default_factory=Counter)
    clips: dict[str, list[npt.NDArray[np.float32]]] = field(default_factory=dict)

    def add(self, planned: pa.Table) -> None:
        """Count the rows of one shard. Adopted clips and pending segments have cost nothing."""
        tried = planned.filter(pc.greater(planned.column("attempts"), 0))
        for status in (Status.OK, Status.UNAVAILABLE, Status.FAILED):
            rows = tried.filter(pc.equal(tried.column("status"), status))
            self.sums[status, "segments"] += rows.num_rows
            for name in _COLUMNS:
                self.sums[status, name] += pc.sum(rows.column(name)).as_py() or 0
            if status is Status.OK:
                for name in _COLUMNS[:3]:
                    self.clips.setdefault(name, []).append(np.nan_to_num(floats(rows, name)).astype(np.float32))
                self.sums[status, "bytes"] += pc.sum(rows.column("audio_bytes")).as_py() or 0
                self.sums[status, "bytes"] += pc.sum(rows.column("video_bytes")).as_py() or 0

    def to_json(self) -> dict[str, Any]:
        """The cost as JSON.

        Returns:
            `by_status`: sums; `per_clip`: the total cost of all segments divided by the number of clips that are ok;
            `quantiles`: of the cost of clips that are ok.
        """
        statuses = (Status.OK, Status.UNAVAILABLE, Status.FAILED)
        clips = self.sums[Status.OK, "segments"]
        spent = {name: sum(self.sums[status, name] for status in statuses) for name in _COLUMNS}
        return {
            "by_status": {
                str(status): {name: _tidy(self.sums[status, name]) for name in ("segments", *_COLUMNS)}
                for status in statuses
            },
            "per_clip": {name: round(total / clips, 3) if clips else None for name, total in spent.items()}
            | {"published_bytes": round(self.sums[Status.OK, "bytes"] / clips, 3) if clips else None},
            "quantiles": {name: _quantiles(parts) for name, parts in self.clips.items()} if clips else {},
        }


def _quantiles(parts: list[npt.NDArray[np.float32]]) -> dict[str, float]:
    values = np.quantile(np.concatenate(parts), _QUANTILES)
    return {f"p{round(100 * q)}": round(float(value), 3) for q, value in zip(_QUANTILES, values, strict=True)}


def _tidy(value: float) -> float:
    return round(value, 3) if isinstance(value, float) else value
