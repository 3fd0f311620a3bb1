"""What the rows do not say: the settings that workers ran with, and the pauses of the egresses meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from audioset_batch.egress import Pause, read_pauses
from audioset_batch.layout import DataDir
from audioset_batch.record.settings import iso_time

_AFTERWARDS: Final = 3600.0
"""Seconds after the last row in which a pause still belongs to the run: the one that ended it comes after that row."""

_YEAR_10000: Final = 253402300800.0


def read_pauses_between(
    data: DataDir, settings: Iterable[dict[str, Any]], names: Iterable[str], span: tuple[float, float] | None
) -> dict[str, list[dict[str, Any]]]:
    """The pauses of each egress that touch the time between the first and the last row.

    Args:
        settings: Of `read_settings`; they say where the egresses keep their history.
        names: Egresses that the rows name.
        span: Unix times; None: all pauses.

    Raises:
        StorageUnusable: a history cannot be read.
    """
    folders = [data.egress]
    wanted = set(names)
    for one in settings:
        folder = one["config"].get("egress_dir")
        if isinstance(folder, str):
            folders.append(Path(folder))
        ways = one["config"].get("egress")
        wanted |= {str(way.get("name")) for way in ways if isinstance(way, dict)} if isinstance(ways, list) else set()
    result: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(wanted - {"", ".", ".."}):
        if "/" in name or "\0" in name:
            continue
        pauses = [p for folder in dict.fromkeys(folders) for p in read_pauses(folder / name) if _touches(p, span)]
        result[name] = [_pause(p) for p in sorted(pauses, key=lambda p: p.started)]
    return result


def by_version(settings: Sequence[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Program -> version -> when it was last used, newest first, of what the settings say of programs."""
    result: dict[str, dict[str, str]] = {}
    for one in settings:
        versions = one.get("versions")
        for program, version in versions.items() if isinstance(versions, dict) else ():
            result.setdefault(str(program), {}).setdefault(str(version), one["last_used_at"])
    return result


def _touches(pause: Pause, span: tuple[float, float] | None) -> bool:
    end = pause.until if pause.reopened is None else pause.reopened
    if not all(0 <= moment < _YEAR_10000 for moment in (pause.started, pause.until, end)):
        return False
    return span is None or (end >= span[0] and pause.started <= span[1] + _AFTERWARDS)


def _pause(pause: Pause) -> dict[str, Any]:
    return {
        "started": iso_time(pause.started),
        "until": iso_time(pause.until),
        "reopened": None if pause.reopened is None else iso_time(pause.reopened),
        "kind": pause.kind,
        "detail": pause.detail,
    }
