"""What pip knows of yt-dlp, and installs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from audioset_batch.config.redact import redact
from audioset_batch.errors import InputRefused
from audioset_batch.youtube.versions import is_version

_SECONDS: Final = 600.0
_COMMON: Final = ("--no-input", "--disable-pip-version-check", "--quiet", "--retries", "1")


def newest_version(*, pre: bool) -> str:
    """The newest release of yt-dlp that pip finds; with `pre` nightly builds count as well.

    Raises:
        InputRefused: pip finds none; with its words.
    """
    # One requirement with a pre-release in it allows them for yt-dlp, and for nothing that it needs.
    wanted = f"yt-dlp>={_lowest()}{'.dev0' if pre else ''}"
    said = _pip("install", "--dry-run", "--no-deps", "--ignore-installed", "--report", "-", wanted)
    try:
        version: str = json.loads(said)["install"][0]["metadata"]["version"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputRefused(f"pip finds no yt-dlp: {said.strip()[:300] or 'its answer is empty'}") from error
    if not is_version(version):
        raise InputRefused(f"pip finds yt-dlp {version}: expected a version that begins with a date")
    return version


def install(version: str, folder: Path) -> None:
    """Install this yt-dlp and all that it needs into `folder`, and nothing elsewhere.

    Raises:
        InputRefused: pip could not; with its words.
    """
    _pip("install", "--no-warn-script-location", "--target", str(folder), f"yt-dlp[default]=={version}")


def _lowest() -> str:
    """The oldest yt-dlp that this package works with, from its own requirements."""
    for line in importlib.metadata.requires("audioset-batch") or ():
        match = re.match(r"yt[-_]dlp\b.*>=\s*([\d.]+)", line)
        if match is not None:
            return match[1]
    return "2026.10.26"


def _pip(*arguments: str) -> str:
    """Run pip of this environment and return what it prints; no other user can write what it makes."""
    command = [sys.executable, "-m", "pip", arguments[0], *_COMMON, *arguments[1:]]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            env={**os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"},
            umask=0o022,
        )
    except subprocess.TimeoutExpired as error:
        raise InputRefused(f"pip did not end within {_SECONDS:.0f} s: is the registry reachable from here?") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        why = "; ".join(line.removeprefix("ERROR: ") for line in lines[-2:]) or f"exit status {done.returncode}"
        raise InputRefused(f"pip cannot get yt-dlp: {redact(why)}")
    return done.stdout
