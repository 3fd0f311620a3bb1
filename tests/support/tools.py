"""A PATH with the named programs and no more: what a script does on a machine that lacks the others."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path


def link_tools(folder: Path, names: Iterable[str]) -> Path:
    """Make `folder` with links to the programs, and return it."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        assert found is not None, name
        (folder / name).symlink_to(found)
    return folder


def write_tool(path: Path, text: str) -> None:
    """Make a program of shell text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(script: Path, *args: str, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script with `path` for PATH and no standard input."""
    return subprocess.run(
        ["/bin/bash", script, *args],
        env={"PATH": str(path)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
