"""A task of `screen` that SLURM starts again elsewhere need not wait for the lease of its own last run."""

from pathlib import Path

import pytest

from audioset_batch.adapters.lease import Holder, Lease
from audioset_batch.errors import ShardHeld
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.screen import screen
from audioset_batch.plan.split import split
from audioset_batch.plan.table import empty_table

SHARD = ShardId("eval_segments", 1)


@pytest.mark.parametrize(("restart", "held"), [("1", False), ("0", True)])
def test_the_same_task_after_a_requeue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: str, held: bool
) -> None:
    data = DataDir(tmp_path)
    split(data, [empty_table("eval_segments")], 1)
    for name, value in (("ARRAY_JOB_ID", "5"), ("ARRAY_TASK_ID", "1"), ("JOB_ID", "6"), ("RESTART_COUNT", restart)):
        monkeypatch.setenv(f"SLURM_{name}", value)
    on_a_dead_node = Holder(host="n1", pid=1, job_id="5_1", restart_count=0)
    with Lease.acquire(data.screen_lease(SHARD), on_a_dead_node, 120.0):
        if held:
            with pytest.raises(ShardHeld):
                screen(data, [SHARD], [], 5.0, lambda: "")
        else:
            assert screen(data, [SHARD], [], 5.0, lambda: "").asked == 0
