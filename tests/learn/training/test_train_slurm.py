"""jobs/train.s and jobs/evaluate.s on a real SLURM: warned, requeued, resumed, finished."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from audioset_batch.learn.features.batch import batch_of_features
from audioset_batch.learn.features.packed_writers import ParquetWriter
from tests.support.slurm_cluster import PrivateSlurm
from tests.support.synthetic_features import SyntheticFeatures

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_a_warned_job_is_requeued_and_continues(slurm: PrivateSlurm, tmp_path: Path) -> None:
    features = SyntheticFeatures(classes=8, seed=0, separation=10.0).sample(1000, seed=1)
    with ParquetWriter(tmp_path / "train.parquet", classes=8) as writer:
        writer.write(batch_of_features(features))
        writer.commit()
    environment = {"SRCDIR": str(CHECKOUT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    size = ["--cpus-per-task=1", "--mem=2000"]
    flags = ["--model=LogisticModel", f"--train_data_pattern={tmp_path}/train.parquet", f"--train_dir={tmp_path}/run"]
    flags += ["--batch_size=64", "--max_steps=2000", "--num_epochs=1000", "--num_gpu=0", "--start_new_model"]
    script = str(CHECKOUT / "jobs" / "train.s")
    job = slurm.sbatch(*size, "--array=7", script, *flags, cwd=tmp_path, env=environment)
    log = tmp_path / "run" / "seed-7" / "train_log.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 5):
        time.sleep(0.02)
    slurm.cancel(f"{job}_7", "--batch", "--signal=USR1")  # as --signal=B:USR1@120 does
    slurm.wait_state(f"{job}_7", "PENDING", "RUNNING", restarts=1, timeout=60)
    assert slurm.wait(job, timeout=120)[7].state == "COMPLETED"
    said = "".join(path.read_text() for path in tmp_path.glob("train-*.log"))
    assert "SIGUSR1 after step" in said and "resuming after step" in said and "done: 2,000 steps" in said

    script = str(CHECKOUT / "jobs" / "evaluate.s")
    words = [f"--train_dir={tmp_path}/run/seed-7", f"--eval_data_pattern={tmp_path}/train.parquet", "--num_gpu=0"]
    job = slurm.sbatch(*size, script, *words, cwd=tmp_path, env=environment)
    assert slurm.wait(job, timeout=120)[0].state == "COMPLETED"
    found = json.loads((tmp_path / "run" / "seed-7" / "evaluation" / "evaluation.json").read_text())
    assert found["step"] == 2000 and found["clips"] == 1000
