"""Which versions of this program and of its tools are in use."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess

from audioset_batch import __version__
from audioset_batch.youtube.versions import version_in_use


def version_lines() -> list[str]:
    """One line per component; what is missing is said, not hidden."""
    lines = [f"audioset-batch {__version__}", f"Python {platform.python_version()}"]
    for name in ("yt-dlp", "av", "soundfile", "sox", "pandas", "pyarrow", "submitit"):
        lines.append(f"{'pysox' if name == 'sox' else name} {_distribution(name)}")
    lines.append(f"sox {sox_version() or 'not found: apt-get install sox, conda install -c conda-forge sox'}")
    lines.append(_javascript())
    return lines


def sox_version() -> str | None:
    """Version of the sox program on PATH; None without one."""
    if shutil.which("sox") is None:
        return None
    done = subprocess.run(["sox", "--version"], capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip().rpartition("SoX v")[2].strip() or "of unknown version"


def _distribution(name: str) -> str:
    try:
        return version_in_use() if name == "yt-dlp" else importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _javascript() -> str:
    """The same answer as `check` gives, without options of yt-dlp."""
    try:
        from audioset_batch.youtube.environment import detect_environment, javascript
    except ImportError as error:
        return f"JavaScript: {error}"
    found = javascript(detect_environment(()))
    return f"JavaScript: {found.text} ({found.advice})" if found.advice else found.text
