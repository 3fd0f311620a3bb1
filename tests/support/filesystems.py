"""Filesystems that tests make full, small or read-only."""

import subprocess
from pathlib import Path

import pytest


def mount(folder: Path, *options: str) -> None:
    """`mount OPTIONS FOLDER`; skips the test where that is not allowed."""
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"NOT TESTED: no right to mount a filesystem here ({done.stderr.strip()})")
