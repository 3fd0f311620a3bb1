"""Reset segments, so that the next run tries them again: by status, by reason or by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from audioset_batch.adapters.lease import Holder, Lease
from audioset_batch.errors import PlanChanging
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.swap import ensure_settled
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import RETRY, ManifestWriter, Outcome, replay
from audioset_batch.record.standing import note_standing
from audioset_batch.record.tars import settle_left_open

_LEASE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Which segments to reset; an empty collection does not restrict.

    Attributes:
        statuses: `ok`, `unavailable` or `failed`.
        reasons: As in the manifest.
        ytids: Video ids.
    """

    statuses: Collection[str] = ()
    reasons: Collection[str] = ()
    ytids: Collection[str] = ()

    def fits(self, segment: Segment, outcome: Outcome) -> bool:
        """True if this segment is to be reset."""
        return (
            outcome.status != Status.PENDING
            and (not self.statuses or outcome.status in self.statuses)
            and (not self.reasons or outcome.reason in self.reasons)
            and (not self.ytids or segment.ytid in self.ytids)
        )


def count(data: DataDir, choice: Choice) -> Counter[tuple[str, str]]:
    """How many segments `choice` fits, by (status, reason).

    Raises:
        InputRefused: there are no shards.
        PlanChanging: prep is splitting just now.
    """
    ensure_settled(data)
    return Counter(
        (outcome.status, outcome.reason) for shard in data.all_shards() for _, outcome in _fitting(data, shard, choice)
    )


def reset(data: DataDir, choice: Choice, holder: Holder) -> Counter[tuple[str, str]]:
    """Append a reset row for each segment that `choice` fits; returns how many, by (status, reason).

    Raises:
        InputRefused: there are no shards.
        ShardHeld: a worker has one of the shards; those before it are done, and doing it again is harmless.
        StorageUnusable: a manifest cannot be written.
    """
    done: Counter[tuple[str, str]] = Counter()
    ensure_settled(data)
    for shard in data.all_shards():
        if not any(True for _ in _fitting(data, shard, choice)):
            continue
        with Lease.acquire(data.lease(shard), holder, _LEASE_SECONDS) as lease:
            if ensure_settled(data):
                raise PlanChanging(f"{data.root}: an unfinished split was ended just now. Run this again")
            if lease.predecessor_may_live:  # the next worker will not learn that from our lease
                settle_left_open(data, shard, fence=True)
            with ManifestWriter(data.manifest(shard)) as manifest:
                for segment, outcome in list(_fitting(data, shard, choice)):
                    lease.check()
                    manifest.append(_reset_row(shard, segment, outcome))
                    done[outcome.status, outcome.reason] += 1
            note_standing(data, shard, (s.key for s in read_shard(data.shard_csv(shard), shard.subset)))
    return done


def unplanned(data: DataDir, ytids: Collection[str]) -> list[str]:
    """Those of `ytids` that stand in no shard, sorted."""
    missing = set(ytids)
    for shard in data.all_shards() if missing else ():
        missing.difference_update(segment.ytid for segment in read_shard(data.shard_csv(shard), shard.subset))
    return sorted(missing)


def _fitting(data: DataDir, shard: ShardId, choice: Choice) -> Iterator[tuple[Segment, Outcome]]:
    known = replay(data.manifest(shard))
    if not known:
        return
    for segment in read_shard(data.shard_csv(shard), shard.subset):
        outcome = known.get(segment.key)
        if outcome is not None and choice.fits(segment, outcome):
            yield segment, outcome


def _reset_row(shard: ShardId, segment: Segment, outcome: Outcome) -> ManifestRow:
    return ManifestRow.of(
        segment,
        shard.number,
        Status.PENDING,
        reason=RETRY,
        detail=f"was {outcome.status} {outcome.reason}".rstrip(),
    )
