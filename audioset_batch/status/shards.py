"""What the filesystem knows about every shard: state files, leases, and rows not yet in a state file."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.header import promised_rows
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import warn_of_problem
from audioset_batch.record.state import ShardState, read_state
from audioset_batch.sharedfs.lease import LeaseInfo, read_lease

STATUSES: Final = tuple(str(status) for status in Status)
LIVE_SECONDS: Final = 180.0
"""A worker writes its state file every 30 s; an older file no longer describes the present."""
_LATE_SECONDS: Final = 5.0
"""NFS may date the last rows of a worker so much later than its last state file, which counts them."""
_MOST_BYTES: Final = 8 << 20
"""Bytes of manifests to read at a time: some 10,000 rows, a quarter of a second."""
_BYTES_OF_A_SHARD: Final = 64 << 10
"""The cost of opening a shard, in bytes that could be read in that time."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts of planned segments.

    Attributes:
        planned: All segments.
        counts: Segments by status; they sum up to `planned`.
        reasons: Unavailable and failed segments by reason.
        words: Segments by the words of a refusal that were not recognized.
    """

    planned: int
    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    words: Mapping[str, int]

    @property
    def left(self) -> int:
        """Segments that are failed or pending."""
        return self.counts["failed"] + self.counts["pending"]


@dataclass(frozen=True, slots=True)
class Seen(Counted):
    """One shard.

    Attributes:
        state: Its state file; None without one.
        lease: Its lease; None without one.
        written_at: Unix time of the newest row; None without a manifest.
        counted_at: Unix time up to which rows are in `counts`.
        exact: False if there are rows that `counts` lacks, and no worker is about to count them.
    """

    shard: ShardId
    state: ShardState | None
    lease: LeaseInfo | None
    written_at: float | None
    counted_at: float
    exact: bool

    @property
    def at_work(self) -> bool:
        """Whether its worker is known to be alive."""
        return self.state is not None and not self.state.finished and self.lease is not None and self.lease.alive


@dataclass(frozen=True, slots=True)
class _Facts:
    """One shard before its rows are read.

    Attributes:
        stated_at: Unix time of the state file; 0 without one.
        renewed_soon: Whether a live worker is about to write it again.
    """

    shard: ShardId
    state: ShardState | None
    lease: LeaseInfo | None
    manifest: os.stat_result | None
    stated_at: float
    renewed_soon: bool

    def behind(self, *, exact: bool) -> bool:
        """True if the state file may lack rows of the manifest."""
        if self.manifest is None:
            return False
        counts_all = self.state is not None and self.state.finished and not exact
        return self.manifest.st_mtime >= self.stated_at + (_LATE_SECONDS if counts_all else 0.0)


class ShardReader:
    """Reads all shards, once or repeatedly. A manifest is read again only when it has changed.

    Args:
        data: The data directory.
        exact: Count the rows of all manifests that are newer than their state file, however long that takes.
    """

    def __init__(self, data: DataDir, *, exact: bool = False) -> None:
        self._data = data
        self._exact = exact
        self._counted: dict[ShardId, tuple[tuple[float, int], Counted]] = {}

    def read(self) -> list[Seen]:
        """Every planned shard, by subset and number.

        Raises:
            OSError: the filesystem fails.
            StorageUnusable: a state file or lease cannot be read.
        """
        manifests = _files(self._data.manifests, ".jsonl")
        states = _files(self._data.states, ".json")
        leases = _files(self._data.states, ".lease")
        shards = [shard for subset in self._data.subsets_present() for shard in self._data.shards(subset)]
        facts = [self._facts(shard, manifests, states, leases) for shard in shards]
        counted = self._count(facts)
        return [self._seen(one, counted.get(one.shard)) for one in facts]

    def _facts(
        self,
        shard: ShardId,
        manifests: Mapping[str, os.stat_result],
        states: Mapping[str, os.stat_result],
        leases: Mapping[str, os.stat_result],
    ) -> _Facts:
        name = str(shard)
        state = read_state(self._data.state(shard)) if name in states else None
        stated_at = states[name].st_mtime if state is not None else 0.0
        lease = None
        if name in leases and (state is None or not state.finished):
            lease = read_lease(self._data.lease(shard))
        soon = lease is not None and lease.alive and time.time() - stated_at < LIVE_SECONDS
        return _Facts(shard, state, lease, manifests.get(name), stated_at, soon)

    def _count(self, facts: Iterable[_Facts]) -> dict[ShardId, Counted]:
        """Count the rows of shards whose state file is behind: of all of them, or of none if that takes too long."""
        found: dict[ShardId, Counted] = {}
        unread: list[tuple[ShardId, os.stat_result]] = []
        for one in facts:
            if one.manifest is None or not one.behind(exact=self._exact) or (one.renewed_soon and not self._exact):
                continue
            known = self._counted.get(one.shard)
            if known is not None and known[0] == _version(one.manifest):
                found[one.shard] = known[1]
            elif self._exact or one.manifest.st_size <= _MOST_BYTES:
                unread.append((one.shard, one.manifest))
        if self._exact or sum(manifest.st_size + _BYTES_OF_A_SHARD for _, manifest in unread) <= _MOST_BYTES:
            for shard, manifest in unread:
                found[shard] = self._recount(shard)
                self._counted[shard] = (_version(manifest), found[shard])
        return found

    def _seen(self, facts: _Facts, recounted: Counted | None) -> Seen:
        counted = recounted if recounted is not None else self._from_state(facts.shard, facts.state)
        written = None if facts.manifest is None else facts.manifest.st_mtime
        return Seen(
            **dataclasses.asdict(counted),
            shard=facts.shard,
            state=facts.state,
            lease=facts.lease,
            written_at=written,
            counted_at=time.time() if written is None else written if recounted is not None else facts.stated_at,
            exact=recounted is not None or not facts.behind(exact=self._exact) or facts.renewed_soon,
        )

    def _from_state(self, shard: ShardId, state: ShardState | None) -> Counted:
        if state is not None:
            return Counted(state.planned, _full(state.planned, state.counts), dict(state.reasons), dict(state.words))
        planned = promised_rows(self._data.shard_csv(shard))
        if planned is None:
            from audioset_batch.plan.segments_csv import read_shard  # Arrow: only where rows are read

            planned = len(read_shard(self._data.shard_csv(shard), shard.subset))
        return Counted(planned, _full(planned, {}), {}, {})

    def _recount(self, shard: ShardId) -> Counted:
        import pyarrow.compute as pc

        from audioset_batch.merge.shard_table import read_manifest, shard_table  # Arrow: only where rows are read

        table = shard_table(self._data, shard, read_manifest(self._data.manifest(shard), warn_of_problem)).planned
        outcomes = Counter(zip(table.column("status").to_pylist(), table.column("reason").to_pylist(), strict=True))
        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for (status, reason), count in outcomes.items():
            counts[status] += count
            if status in (Status.UNAVAILABLE, Status.FAILED):
                reasons[reason] += count
        words = table.filter(pc.equal(table.column("reason"), Reason.UNRECOGNIZED)).column("detail").to_pylist()
        return Counted(table.num_rows, _full(table.num_rows, counts), dict(reasons), dict(Counter(filter(None, words))))


def _version(manifest: os.stat_result) -> tuple[float, int]:
    return manifest.st_mtime, manifest.st_size


def _full(planned: int, counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of all four statuses; segments without another status are pending."""
    full = {status: counts.get(status, 0) for status in STATUSES}
    full["pending"] = planned - full["ok"] - full["unavailable"] - full["failed"]
    return full


def _files(folder: os.PathLike[str], ending: str) -> dict[str, os.stat_result]:
    """File facts by name without `ending`, from one listing instead of a request per shard."""
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
