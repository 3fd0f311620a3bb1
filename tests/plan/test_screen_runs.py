"""What `screen` does around its questions: leases, and a disk that is full."""

import subprocess
import sys
from pathlib import Path

import pytest

from audioset_batch.errors import ShardHeld
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.screen import screen
from audioset_batch.plan.split import split
from audioset_batch.plan.table import empty_table
from audioset_batch.sharedfs.lease import Holder, Lease

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


def test_a_full_disk_stops_a_screen_with_its_name(tmp_path: Path) -> None:
    """A limit on file sizes stands for it."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from audioset_batch.record.hints import HintWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "from audioset_batch.errors import StorageUnusable\n"
        "try:\n"
        "    with HintWriter(Path(sys.argv[1])) as writer:\n"
        "        for number in range(50): writer.append(f'{number:011d}', picture=True)\n"
        "except StorageUnusable as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "screen" / "x.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
