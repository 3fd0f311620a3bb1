"""yt-dlp's plugins: loaded from folders that nobody else can change, or not at all.

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
    """Decide, before the first `YoutubeDL` of this process, whether it loads plugins.

    Args:
        wanted: As `--plugin-dirs` has it: folders that hold folders with plugins; `default` for those of yt-dlp.
    """
    if all_plugins_loaded.value:
        return
    plugin_dirs.value = [*wanted]
    _refused[:] = [why for folder in directories() if (why := _who_can_change_plugins(folder))]
    if _refused:
        plugin_dirs.value = []


def untrusted_plugins() -> list[str]:
    """Why this process loads no plugins of yt-dlp: each folder that others can change, in words."""
    return list(_refused)


def _who_can_change_plugins(folder: str) -> str:
    path = Path(folder)
    if not path.is_absolute() or path.parent == Path.cwd():
        return f"{folder} lies in the current folder"
    places = [path, *path.rglob("*")] if path.is_dir() else [_existing(path)]
    return next((why for place in places if (why := who_can_change(place))), "")


def _existing(path: Path) -> Path:
    """The archive that holds a folder of plugins."""
    return next((one for one in path.parents if os.path.lexists(one)), path)
