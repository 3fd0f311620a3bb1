"""The versions and configs that workers ran with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from audioset_batch.config import Config
from audioset_batch.humanize import counted
from audioset_batch.report import html
from audioset_batch.report.words import moment, text


def versions(summary: Mapping[str, Any]) -> str:
    """A table of programs and their versions."""
    found: dict[tuple[str, str], list[str]] = {}
    for program, versions_of in summary["versions"].items():
        for version, what in versions_of.items():
            # merge counts rows by the yt-dlp that resolved them; for other programs it has the time of their last use
            words = counted(what, "segment") if isinstance(what, int) else f"last used {moment(what)}"
            found.setdefault((program.removesuffix(" of rows"), version), []).append(words)
    if not found:
        return "<p>No worker has run yet.</p>"
    rows = [[program, version, ", ".join(words)] for (program, version), words in found.items()]
    return html.table(["program", "version", "use"], rows, "data wordy")


def settings(summary: Mapping[str, Any]) -> str:
    """For each config, the keys that differ from the defaults, and the whole config to unfold."""
    found: Sequence[Mapping[str, Any]] = summary["settings"]
    if not found:
        return "<p>Not known: no worker has noted its settings here.</p>"
    defaults = Config().model_dump(mode="json", warnings=False)
    parts = []
    for index, one in enumerate(found):
        rows = [[key, _shown(value), _shown(default)] for key, value, default in _differing(one["config"], defaults)]
        title = "Config" if len(found) == 1 else "Config used last" if index == 0 else "Earlier config"
        table = html.table(["key", "value", "default"], rows, "data wordy") if rows else "<p>All defaults.</p>"
        parts.append(
            f"<h4>{title} <small>{text(moment(one.get('first_used_at', '')))} to {text(moment(one['last_used_at']))}"
            f"</small></h4>{table}<details><summary>All keys</summary>"
            f"<pre>{text(json.dumps(one['config'], indent=2, ensure_ascii=False))}</pre></details>"
        )
    return "".join(parts)


def _differing(config: Any, defaults: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(config, dict) and isinstance(defaults, dict):
        return [
            found
            for key, value in config.items()
            for found in _differing(value, defaults.get(key), f"{path}.{key}" if path else key)
        ]
    if path == "egress" and isinstance(config, list) and all(isinstance(one, dict) for one in config):
        (default,) = defaults
        return [found for n, one in enumerate(config) for found in _differing(one, default, f"egress[{n}]")]
    return [] if config == defaults else [(path, config, defaults)]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
