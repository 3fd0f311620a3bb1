"""Load yt-dlp's plugins only from folders that no other user can change.

yt-dlp looks for a package `yt_dlp_plugins` in its config folders, in /etc and in every folder of `sys.path`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from yt_dlp.globals import all_plugins_loaded, plugin_dirs
from yt_dlp.plugins import directories

from audioset_batch.config.trust import who_can_change

_refused: list[str] = []


def choose_plugins(wanted: Sequence[str]) -> None:
    """Decide whether this process loads plugins; called before its first `YoutubeDL`.

    Args:
        wanted: Values of `--plugin-dirs`: folders of folders with plugins; `default` for yt-dlp's own.
    """
    if all_plugins_loaded.value:
        return
    plugin_dirs.value = [*wanted]
    _refused[:] = [why for folder in directories() if (why := _who_can_change_plugins(folder))]
    if _refused:
        plugin_dirs.value = []


def untrusted_plugins() -> list[str]:
    """Why this process loads no plugins: a message for each folder that other users can change."""
    return list(_refused)


def _who_can_change_plugins(folder: str) -> str:
    path = Path(folder)
    if not path.is_absolute() or path.parent == Path.cwd():
        return f"{folder} is in the current folder"
    places = [path, *path.rglob("*")] if path.is_dir() else [_existing(path)]
    return next((why for place in places if (why := who_can_change(place))), "")


def _existing(path: Path) -> Path:
    """The archive that contains a folder of plugins."""
    return next((one for one in path.parents if os.path.lexists(one)), path)
