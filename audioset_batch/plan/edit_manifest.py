"""How a command writes to the manifest of a shard while workers may be running."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from audioset_batch.errors import PlanChanging
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.swap import ensure_settled
from audioset_batch.record.manifest import ManifestWriter
from audioset_batch.record.state import update_state
from audioset_batch.record.tars import publish_left_open_tars
from audioset_batch.sharedfs.lease import Holder, Lease


@contextlib.contextmanager
def edit_manifest(data: DataDir, shard: ShardId) -> Iterator[tuple[list[Segment], Callable[[ManifestRow], None]]]:
    """Hold the shard; yields its planned segments and the function that appends a row to its manifest.

    Read the manifest inside the block: what was read before may have changed, the plan too. The state file follows at
    the end, if a row was appended.

    Args:
        data: The data directory.
        shard: The shard.

    Raises:
        ShardHeld: A worker holds the shard.
        PlanChanging: A prep is splitting, or was killed in it.
        StorageUnusable: The manifest or the state file cannot be written.
    """
    with Lease.acquire(data.lease(shard), Holder.current()) as lease, contextlib.ExitStack() as stack:
        if ensure_settled(data):
            raise PlanChanging(f"{data.root}: an unfinished split was ended just now. Run this again")
        if lease.predecessor_may_live:  # the next worker will not learn that from our lease
            publish_left_open_tars(data, shard, fence=True)
        planned = read_shard(data.shard_csv(shard), shard.subset)
        writer: ManifestWriter | None = None

        def append(row: ManifestRow) -> None:
            nonlocal writer
            if writer is None:
                writer = stack.enter_context(ManifestWriter(data.manifest(shard)))
            lease.check()
            writer.append(row)

        yield planned, append
        if writer is not None:
            writer.close()
            update_state(data, shard, (segment.key for segment in planned))
