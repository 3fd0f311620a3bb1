"""From `summary.json` to `report.html`. All numbers come from merge; nothing is counted again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir
from audioset_batch.report.numbers import DEFAULT_THRESHOLD, Findings, find
from audioset_batch.report.ontology import load_tree
from audioset_batch.report.page import page
from audioset_batch.sharedfs.publish import atomic_write_text

_NEEDED: Final = (
    "generated_at", "totals", "reasons", "subsets", "labels", "hours", "durations", "levels", "media", "cost",
    "timeline", "pauses", "versions", "settings",
)  # fmt: skip


def load_summary(root: Path) -> dict[str, Any]:
    """The content of `summary.json`.

    Raises:
        InputRefused: there is none, or an earlier version wrote it.
    """
    path = DataDir(root).summary_json
    advice = f"run `audioset-batch merge {root}` first"
    try:
        summary = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputRefused(f"{path} is not there: {advice}") from None
    except (OSError, ValueError) as error:
        raise InputRefused(f"{path}: expected what merge writes, but it cannot be read ({error}): {advice}") from error
    missing = [key for key in _NEEDED if key not in summary] if isinstance(summary, dict) else list(_NEEDED)
    if missing:
        raise InputRefused(f"{path} lacks {', '.join(missing)}: an earlier version wrote it; {advice}")
    return dict(summary)


def is_stale(root: Path) -> bool:
    """True if a manifest has changed since the merge."""
    data = DataDir(root)
    try:
        merged = data.summary_json.stat().st_mtime
        return any(data.manifest(shard).stat().st_mtime > merged for shard in data.recorded_shards())
    except FileNotFoundError:
        return False


def write_report(
    root: Path, *, out: Path | None = None, threshold: int = DEFAULT_THRESHOLD
) -> tuple[Path, dict[str, Any], Findings]:
    """Write the report.

    Args:
        root: The data directory.
        out: Path of the report; by default `report.html` in `root`.
        threshold: The fewest clips that a label should have.

    Returns:
        The path of the report, the content of `summary.json`, and the findings.

    Raises:
        InputRefused: there is no summary yet, or `ontology.json` is not the AudioSet ontology.
        StorageUnusable: the report cannot be written.
    """
    summary = load_summary(root)
    findings = find(summary, threshold)
    data = DataDir(root)
    path = out or data.report_html
    atomic_write_text(path, page(summary, findings, load_tree(data.ontology_json), root))
    return path, summary, findings
