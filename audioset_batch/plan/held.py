"""Whether somebody works on a shard."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Final

_EXPIRES_SECONDS: Final = 120.0


def live_holder(lease: Path) -> str:
    """Who holds this lease file, by the filesystem's own clock; empty if nobody does any more."""
    try:
        age = _filesystem_now(lease.parent) - lease.stat().st_mtime
        holder = lease.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    if age > _EXPIRES_SECONDS:
        return ""
    try:
        values = json.loads(holder)
    except ValueError:
        return holder.strip()[:80] or "somebody"
    return " ".join(f"{k}={v}" for k, v in values.items() if k in ("host", "pid", "job_id")) or "somebody"


def _filesystem_now(folder: Path) -> float:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        return os.fstat(file.fileno()).st_mtime
