"""Counts that add up: overall, by subset, by reason, by label."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from audioset_batch.reasons import Status


@dataclass(slots=True)
class Tally:
    """Running totals over the shards of one merge; `add` may be called once per shard."""

    status: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    outside_plan: int = 0

    def add(self, planned: pa.Table, outside: pa.Table) -> None:
        """Count one shard's rows."""
        keys = ["subset", "status", "reason"]
        for group in planned.group_by(keys).aggregate([([], "count_all")]).to_pylist():
            self.status[group["subset"], group["status"], group["reason"] or ""] += group["count_all"]
        split = pc.split_pattern(planned.column("labels").combine_chunks(), ",")
        flat = pa.table(
            {
                "label": pc.list_flatten(split),
                "status": planned.column("status").combine_chunks().take(pc.list_parent_indices(split)),
            }
        )
        for group in flat.group_by(["label", "status"]).aggregate([([], "count_all")]).to_pylist():
            if group["label"]:
                self.labels[group["label"], group["status"]] += group["count_all"]
        ok = planned.filter(pc.equal(planned.column("status"), Status.OK))
        for name in ("duration_seconds", "audio_bytes", "video_bytes"):
            self.sums[name] += pc.sum(ok.column(name)).as_py() or 0
        self.sums["silent"] += pc.sum(ok.column("silent")).as_py() or 0
        for name in ("fetched_bytes", "requests", "elapsed_seconds"):
            self.sums[name] += pc.sum(planned.column(name)).as_py() or 0
        self.outside_plan += outside.num_rows

    def counts(self, subset: str | None = None) -> dict[str, int]:
        """`planned` and one count per status, of one subset or of all."""
        chosen = {key: n for key, n in self.status.items() if subset in (None, key[0])}
        result = {"planned": sum(chosen.values())}
        for status in Status:
            result[status] = sum(n for key, n in chosen.items() if key[1] == status)
        return result

    def reasons(self, subset: str | None = None) -> dict[str, int]:
        """Counts by reason, most frequent first, of segments that are not ok."""
        counter: Counter[str] = Counter()
        for (name, status, reason), count in self.status.items():
            if reason and status != Status.OK and subset in (None, name):
                counter[reason] += count
        return dict(counter.most_common())

    def subsets(self) -> list[str]:
        return sorted({key[0] for key in self.status})

    def by_label(self, names: dict[str, str]) -> list[dict[str, Any]]:
        """One record per label: mid, name, planned, a count per status; most planned first."""
        if not self.labels:
            return []
        series = pd.Series(self.labels)
        frame = series.unstack(fill_value=0).reindex(columns=[str(s) for s in Status], fill_value=0).astype(int)
        frame.insert(0, "planned", frame.sum(axis=1))
        frame.insert(0, "name", [names.get(str(mid), "") for mid in frame.index])
        frame = frame.sort_values(["planned", "name"], ascending=[False, True])
        records = frame.rename_axis("mid").reset_index().to_dict("records")
        return [{str(name): value for name, value in record.items()} for record in records]
