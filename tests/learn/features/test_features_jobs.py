"""The job scripts, run by bash with a stand-in for the console command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[3] / "jobs"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "src/jobs").mkdir(parents=True)
    (tmp_path / "src/.venv/bin").mkdir(parents=True)
    shutil.copy(JOBS / "environment.sh", tmp_path / "src/jobs")
    (tmp_path / "src/.venv/bin/python").symlink_to(sys.executable)
    program = tmp_path / "src/.venv/bin/audioset-batch"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    return tmp_path / "src"


def run(script: str, source: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(source), **variables}
    command = ["bash", str(JOBS / script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", ["features-fetch.s", "features-convert.s"])
def test_what_is_missing_is_said(script: str, source: Path, tmp_path: Path) -> None:
    assert "DATADIR is not set" in run(script, source).stderr
    result = run(script, tmp_path, DATADIR="/d")
    assert result.returncode == 2 and "not the checkout" in result.stderr


def test_fetch_goes_to_the_data_directory(source: Path) -> None:
    result = run("features-fetch.s", source, "--region", "eu", DATADIR="/d d")
    assert result.stdout == "features|fetch|/d d/features|--region|eu|"


def test_convert_takes_all_splits_or_the_one_of_its_task(source: Path) -> None:
    start = "features|convert|/d/features/features.tar.gz|/d/features|--splits|"
    assert run("features-convert.s", source, DATADIR="/d").stdout == f"{start}eval,bal_train,unbal_train|"
    task = run("features-convert.s", source, "--skip-bad", DATADIR="/d", SLURM_ARRAY_TASK_ID="3")
    assert task.stdout == f"{start}unbal_train|--skip-bad|"
    assert run("features-convert.s", source, DATADIR="/d", SLURM_ARRAY_TASK_ID="4").returncode == 2
    other = run("features-convert.s", source, DATADIR="/d", FEATURES="/f", SLURM_ARRAY_TASK_ID="1")
    assert other.stdout == "features|convert|/f|/d/features|--splits|eval|"
