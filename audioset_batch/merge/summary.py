"""Counts overall, by subset, by reason and by label."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from audioset_batch.merge.cost import CostTally
from audioset_batch.merge.distributions import MediaTally
from audioset_batch.merge.timeline import Timeline
from audioset_batch.reasons import Reason, Status

_OF_CLIPS = ("duration_seconds", "audio_bytes", "video_bytes", "silent")
_OF_TRIES = ("fetched_bytes", "requests", "elapsed_seconds")


@dataclass(slots=True)
class Tally:
    """Running totals over the shards of one merge."""

    status: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    labels: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    sums: Counter[tuple[str, str]] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    media: MediaTally = field(default_factory=MediaTally)
    cost: CostTally = field(default_factory=CostTally)
    timeline: Timeline = field(default_factory=Timeline)
    outside_plan: int = 0

    def add(self, planned: pa.Table, outside: pa.Table) -> None:
        """Count the rows of one or more shards."""
        keys = ["subset", "status", "reason"]
        for group in planned.group_by(keys).aggregate([([], "count_all")]).to_pylist():
            self.status[group["subset"], group["status"], group["reason"] or ""] += group["count_all"]
        self._add_labels(planned)
        for subset in planned.column("subset").unique().to_pylist():
            of_subset = planned.filter(pc.equal(planned.column("subset"), subset))
            clips = of_subset.filter(pc.equal(of_subset.column("status"), Status.OK))
            for table, names in ((clips, _OF_CLIPS), (of_subset, _OF_TRIES)):
                for name in names:
                    self.sums[subset, name] += pc.sum(table.column(name)).as_py() or 0
        for group in planned.group_by("ytdlp_version").aggregate([([], "count_all")]).to_pylist():
            if group["ytdlp_version"]:
                self.versions[group["ytdlp_version"]] += group["count_all"]
        refused = planned.filter(pc.equal(planned.column("reason"), Reason.UNRECOGNIZED))
        self.words.update(filter(None, refused.column("detail").to_pylist()))
        self.media.add(planned.filter(pc.equal(planned.column("status"), Status.OK)))
        self.cost.add(planned)
        self.timeline.add(planned)
        self.outside_plan += outside.num_rows

    def _add_labels(self, planned: pa.Table) -> None:
        split = pc.split_pattern(planned.column("labels").combine_chunks(), ",")
        parents = pc.list_parent_indices(split)
        flat = pa.table(
            {
                "subset": planned.column("subset").combine_chunks().take(parents),
                "label": pc.list_flatten(split),
                "status": planned.column("status").combine_chunks().take(parents),
            }
        )
        for group in flat.group_by(["subset", "label", "status"]).aggregate([([], "count_all")]).to_pylist():
            if group["label"]:
                self.labels[group["subset"], group["label"], group["status"]] += group["count_all"]

    def total(self, name: str, subset: str | None = None) -> float:
        """The sum of a column over one subset or all; columns about media are summed over clips that are ok."""
        return sum(value for (of, column), value in self.sums.items() if column == name and subset in (None, of))

    def amounts(self, subset: str | None = None) -> dict[str, Any]:
        """Hours, bytes and requests of one subset or all."""
        return {
            "hours": round(self.total("duration_seconds", subset) / 3600, 3),
            **{name: self.total(name, subset) for name in ("silent", "audio_bytes", "video_bytes")},
            **{name: self.total(name, subset) for name in ("fetched_bytes", "requests")},
        }

    def counts(self, subset: str | None = None) -> dict[str, int]:
        """`planned` and one count per status, for one subset or all."""
        chosen = {key: n for key, n in self.status.items() if subset in (None, key[0])}
        result = {"planned": sum(chosen.values())}
        for status in Status:
            result[status] = sum(n for key, n in chosen.items() if key[1] == status)
        return result

    def reasons(self, subset: str | None = None) -> dict[str, int]:
        """Counts of segments that are not ok by reason, most frequent first."""
        counter: Counter[str] = Counter()
        for (name, status, reason), count in self.status.items():
            if reason and status != Status.OK and subset in (None, name):
                counter[reason] += count
        return dict(counter.most_common())

    def subsets(self) -> list[str]:
        return sorted({key[0] for key in self.status})

    def by_label(self, names: dict[str, str]) -> list[dict[str, Any]]:
        """One record per label, in descending order of planned segments.

        Args:
            names: Display names by MID. Labels without planned segments come last, with zeros.

        Returns:
            Records of `mid`, `name`, `planned`, a count per status, and `subsets`: planned and ok by subset.
        """
        statuses = [str(status) for status in Status]
        records: dict[str, dict[str, Any]] = {}
        for mid in dict.fromkeys([*(label for _, label, _ in self.labels), *names]):
            records[mid] = {"mid": mid, "name": names.get(mid, ""), "planned": 0, **dict.fromkeys(statuses, 0)}
            records[mid]["subsets"] = {subset: {"planned": 0, "ok": 0} for subset in self.subsets()}
        for (subset, label, status), count in self.labels.items():
            record = records[label]
            record["planned"] += count
            record[status] += count
            record["subsets"][subset]["planned"] += count
            if status == Status.OK:
                record["subsets"][subset]["ok"] += count
        return sorted(records.values(), key=lambda record: (-record["planned"], record["name"], record["mid"]))
