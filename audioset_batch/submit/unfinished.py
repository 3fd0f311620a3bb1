"""Which shards have work left: their plans against their manifests, joined as merge does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audioset_batch.config import Config
from audioset_batch.errors import UsageError
from audioset_batch.humanize import counted
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.merge.shard_table import read_manifest, shard_table
from audioset_batch.model import SUBSETS
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.split import choice_of
from audioset_batch.record.manifest import warn_of_problem
from audioset_batch.sharedfs.lease import read_lease

_SETTLED = ("ok", "unavailable")


@dataclass(frozen=True, slots=True)
class WorkLeft:
    """Numbers of shards over all subsets of a run.

    Attributes:
        shards: How many shards the subset with the most has.
        tasks: Those with segments left that nobody works on.
        held: Those that a worker holds just now, with who it is.
        segments: Segments left in `tasks`.
    """

    shards: int
    tasks: tuple[int, ...]
    held: dict[int, str]
    segments: int


def wanted_subsets(data: DataDir, config: Config) -> list[str]:
    """The subsets of a run: what the config names, else those with shards, else all."""
    if config.source.subsets != "present":
        return list(config.source.subsets)
    return data.subsets_present() or list(SUBSETS)


def prep_needed(data: DataDir, subsets: Sequence[str], split: int | None) -> tuple[tuple[str, ...], int]:
    """Which subsets prep has to do, into how many shards; `split` is what the user asked for, if anything.

    Raises:
        UsageError: splitting again would plan rows that a filter had left out.
    """
    have = {subset: len(data.shards(subset)) for subset in subsets}
    shards = split or max(have.values(), default=0) or 1
    todo = tuple(subset for subset, count in have.items() if not count or (split is not None and count != split))
    filtered = [subset for subset in todo if have[subset] and choice_of(data, subset)]
    if filtered:
        raise UsageError(
            f"--split {split}: {', '.join(filtered)} has {counted(have[filtered[0]], 'shard')} with chosen rows only "
            f"({choice_of(data, filtered[0])}). Split again with the same choice: audioset-batch prep {data.root} "
            f"--split {split} --labels ... Then submit without --split"
        )
    return todo, shards


def work_left(data: DataDir, subsets: Sequence[str]) -> WorkLeft:
    """Look at every shard of `subsets`.

    Raises:
        InputRefused: a shard's CSV cannot be read.
        StorageUnusable: a lease cannot be read.
    """
    left: dict[int, int] = {}
    held: dict[int, str] = {}
    most = 0
    for subset in subsets:
        for shard in data.shards(subset):
            most = max(most, shard.number)
            count = segments_left(data, shard)
            if not count:
                continue
            lease = read_lease(data.lease(shard))
            if lease is not None and lease.alive:
                held[shard.number] = f"{shard}: {lease}"
            left[shard.number] = left.get(shard.number, 0) + count
    tasks = tuple(sorted(set(left) - set(held)))
    return WorkLeft(most, tasks, held, sum(left[task] for task in tasks))


def segments_left(data: DataDir, shard: ShardId) -> int:
    """Planned segments of one shard that are neither ok nor known to be unavailable."""
    if not data.manifest(shard).exists():
        return len(read_shard(data.shard_csv(shard), shard.subset))
    statuses = (
        shard_table(data, shard, read_manifest(data.manifest(shard), warn_of_problem))
        .planned.column("status")
        .to_pylist()
    )
    return sum(status not in _SETTLED for status in statuses)
