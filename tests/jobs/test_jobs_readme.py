"""The commands of jobs/README.md, run as they stand there on a real SLURM."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.slurm_cluster import PrivateSlurm

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `audioset-batch` notes its arguments; the array's second task fails."""
    root = tmp_path / "checkout"
    (root / ".venv" / "bin").mkdir(parents=True)
    shutil.copytree(CHECKOUT / "jobs", root / "jobs")
    shutil.copy(CHECKOUT / "audiosetdl-job-array.s", root)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    command = root / ".venv" / "bin" / "audioset-batch"
    command.write_text(f'#!/bin/bash\necho "$*" >>"{root}/calls.txt"\n[ "${{SLURM_ARRAY_TASK_ID:-}}" != 2 ]\n')
    command.chmod(0o755)
    return root


def blocks() -> list[str]:
    return re.findall(r"(?s)```bash\n(.*?)```", (CHECKOUT / "jobs" / "README.md").read_text())


@pytest.mark.slow
def test_chain_runs_to_its_end_although_a_task_fails(slurm: PrivateSlurm, checkout: Path) -> None:
    # the memory that real runs ask for, times four, is more than the machine of a test pretends to have
    chain = blocks()[0].replace("sbatch ", "sbatch --mem=100 --cpus-per-task=1 ")
    slurm.run("bash", "-euc", f"{chain}\necho $array >ids.txt\nsqueue -h -o %A", cwd=checkout)
    array = int((checkout / "ids.txt").read_text())
    slurm.wait(array + 2, timeout=60)
    assert {k: task.exit_code for k, task in slurm.wait(array).items() if task.exit_code} == {2: 1}
    calls = (checkout / "calls.txt").read_text().splitlines()
    assert calls[0] == "prep /scratch/audioset --split 10"
    assert calls[-2:] == ["merge /scratch/audioset", "report /scratch/audioset"]
    assert sorted(calls[1:-2], key=lambda line: int(line.split()[-1])) == [
        f"worker --config {checkout}/configs/one-ip.yaml --data-dir /scratch/audioset --task {k}" for k in range(1, 11)
    ]


def test_all_blocks_are_bash(slurm: PrivateSlurm, checkout: Path) -> None:
    for block in blocks():
        slurm.run("bash", "-n", "-c", block)
    # the last one, on an array that is held from the start
    array = slurm.sbatch("--hold", "--array=1-3", "audiosetdl-job-array.s", cwd=checkout)
    stop = [line for line in blocks()[-1].splitlines() if line.startswith("scontrol")]
    slurm.run("bash", "-euc", f"array={array}\n" + "\n".join([*stop, 'scancel "$array"']))
    assert set(slurm.states(array).values()) == {"CANCELLED"}
