"""The first thing that a user runs, through SLURM; and the SLURM that is lent for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import PrivateSlurm

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_whole_job_through_slurm(slurm: PrivateSlurm, tmp_path: Path) -> None:
    done = slurm.run(sys.executable, "-m", "audioset_batch", "demo", str(tmp_path / "demo"), timeout=200)
    assert "sbatch --array=1-4 audiosetdl-job-array.s" in done.stdout
    assert "through SLURM" in done.stdout.splitlines()[-1]
    totals = json.loads((tmp_path / "demo" / "data" / "summary.json").read_text())["totals"]
    assert (totals["planned"], totals["ok"] + totals["unavailable"]) == (48, 48)
    assert totals["unavailable"] == 12
    report = (tmp_path / "demo" / "data" / "report.html").read_text()
    assert "</html>" in report


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")  # skips, or fails under CI, where there is none
def test_a_command_with_a_slurm_of_its_own() -> None:
    command = [sys.executable, "-m", "slurm_cluster", "sh", "-c", "sinfo --noheader -o '%P %D'; exit 3"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3, done.stderr
    assert "main* 1" in done.stdout.splitlines()
    wrong = subprocess.run(
        [*command[:3], "no-such-program"], cwd=TESTS, capture_output=True, text=True, check=False, timeout=120
    )
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
