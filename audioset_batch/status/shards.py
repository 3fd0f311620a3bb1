"""What the filesystem says of every shard: state files, leases, and rows that no state file counts yet."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

from audioset_batch.adapters.lease import LeaseInfo, read_lease
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.header import promised_rows
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import warn_of_problem
from audioset_batch.record.state import ShardState, read_state

STATUSES: Final = tuple(str(status) for status in Status)
LIVE_SECONDS: Final = 180.0
"""A worker writes its state file every 30 s; what an older one says is no longer about now."""
_STALE_SECONDS: Final = 5.0
"""A manifest that was written so long after its state file says more than it."""
_MOST_BYTES: Final = 8 << 20
"""Of manifests that one look reads: some 10,000 rows, a quarter of a second. With more it would keep people waiting."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One shard.

    Attributes:
        counts: Segments by status; they sum up to `planned`.
        reasons: Unavailable and failed segments by reason.
        written_at: Unix time of the newest row; None without a manifest.
        counted_at: Unix time up to which rows are in `counts`.
        exact: False if the counts are of a state file that is older than rows, and no worker is about to renew it.
    """

    shard: ShardId
    planned: int
    counts: dict[str, int]
    reasons: dict[str, int]
    state: ShardState | None
    lease: LeaseInfo | None
    written_at: float | None
    counted_at: float
    exact: bool

    @property
    def left(self) -> int:
        """Segments that are failed or pending."""
        return self.counts["failed"] + self.counts["pending"]

    @property
    def at_work(self) -> bool:
        """True while its worker is known to live."""
        return self.state is not None and not self.state.finished and self.lease is not None and self.lease.alive


@dataclass(frozen=True, slots=True)
class _Counted:
    planned: int
    counts: dict[str, int]
    reasons: dict[str, int]


class ShardReader:
    """Looks at all shards, again and again if asked to; reads a manifest only once as long as it does not grow.

    Args:
        exact: Count all rows of manifests that are newer than their state file, whatever that takes.
    """

    def __init__(self, data: DataDir, *, exact: bool = False) -> None:
        self._data = data
        self._exact = exact
        self._counted: dict[ShardId, tuple[tuple[float, int], _Counted]] = {}
        self._allowance = 0
        self._manifests: dict[str, os.stat_result] = {}
        self._states: dict[str, os.stat_result] = {}
        self._leases: dict[str, os.stat_result] = {}

    def read(self) -> list[Seen]:
        """Every planned shard, by subset and number.

        Raises:
            OSError: the filesystem fails.
            StorageUnusable: a state file or lease cannot be read.
        """
        self._allowance = _MOST_BYTES
        self._manifests = _files(self._data.manifests, ".jsonl")
        self._states = _files(self._data.states, ".json")
        self._leases = _files(self._data.states, ".lease")
        return [self._read(shard) for subset in self._data.subsets_present() for shard in self._data.shards(subset)]

    def _read(self, shard: ShardId) -> Seen:
        name = str(shard)
        now = time.time()
        state = read_state(self._data.state(shard)) if name in self._states else None
        stated_at = self._states[name].st_mtime if state is not None else 0.0
        lease = None
        if name in self._leases and (state is None or not state.finished):
            lease = read_lease(self._data.lease(shard))
        manifest = self._manifests.get(name)
        behind = manifest is not None and manifest.st_mtime > stated_at + _STALE_SECONDS
        renewed_soon = lease is not None and lease.alive and now - stated_at < LIVE_SECONDS
        if behind and manifest is not None and (self._exact or not renewed_soon):
            counted = self._recount(shard, manifest)
            if counted is not None:
                stated_at = manifest.st_mtime
                behind = False
            renewed_soon = False
        else:
            counted = None
        if counted is None:
            counted = self._from_state(shard, state)
        return Seen(
            shard=shard,
            planned=counted.planned,
            counts=counted.counts,
            reasons=counted.reasons,
            state=state,
            lease=lease,
            written_at=None if manifest is None else manifest.st_mtime,
            counted_at=stated_at if manifest is not None else now,
            exact=not behind or renewed_soon,
        )

    def _from_state(self, shard: ShardId, state: ShardState | None) -> _Counted:
        if state is not None:
            return _Counted(state.planned, _full(state.planned, state.counts), dict(state.reasons))
        planned = promised_rows(self._data.shard_csv(shard))
        if planned is None:
            from audioset_batch.plan.segments_csv import read_shard  # Arrow: only where rows are read

            planned = len(read_shard(self._data.shard_csv(shard), shard.subset))
        return _Counted(planned, _full(planned, {}), {})

    def _recount(self, shard: ShardId, manifest: os.stat_result) -> _Counted | None:
        """The rows themselves; None if that takes too long for one look."""
        version = (manifest.st_mtime, manifest.st_size)
        known = self._counted.get(shard)
        if known is not None and known[0] == version:
            return known[1]
        if not self._exact:
            if manifest.st_size > self._allowance:
                return None
            self._allowance -= manifest.st_size
        from audioset_batch.merge.shard_table import shard_table  # Arrow: only where rows are read

        table = shard_table(self._data, shard, warn_of_problem).planned
        fates = Counter(zip(table.column("status").to_pylist(), table.column("reason").to_pylist(), strict=True))
        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for (status, reason), count in fates.items():
            counts[status] += count
            if status in (Status.UNAVAILABLE, Status.FAILED):
                reasons[reason] += count
        counted = _Counted(table.num_rows, _full(table.num_rows, counts), dict(reasons))
        self._counted[shard] = (version, counted)
        return counted


def _full(planned: int, counts: dict[str, int]) -> dict[str, int]:
    """All four statuses; what has no other one is pending."""
    full = {status: counts.get(status, 0) for status in STATUSES}
    full["pending"] = planned - full["ok"] - full["unavailable"] - full["failed"]
    return full


def _files(folder: os.PathLike[str], ending: str) -> dict[str, os.stat_result]:
    """Facts by name without `ending`: one listing instead of a question per shard."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(ending):
                    try:
                        found[entry.name.removesuffix(ending)] = entry.stat()
                    except FileNotFoundError:
                        continue  # replaced or removed since it was listed
    except FileNotFoundError:
        return {}
    return found
