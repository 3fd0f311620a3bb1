"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

from audioset_batch.errors import UsageError


def expand_home(path: Path | str) -> Path:
    """`path` with a leading `~` or `~user` replaced.

    Raises:
        UsageError: that home is not known, as in containers whose user has no entry in /etc/passwd and no HOME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: that home directory is not known here: set HOME, or give the whole path") from error
