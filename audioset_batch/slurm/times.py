"""SLURM's notation of time limits, sbatch(1) `--time`."""

from __future__ import annotations

from typing import Final

_UNLIMITED: Final = ("UNLIMITED", "INFINITE", "NOT_SET", "n/a", "N/A", "")


def parse_limit(text: str) -> float | None:
    """Seconds of a time limit; None for no limit.

    `90` is minutes, `90:30` minutes and seconds, `2:00:00` hours, `1-0`, `1-0:30` and `1-0:30:00` begin with days.

    Raises:
        ValueError: `text` is none of these.
    """
    if text.strip() in _UNLIMITED:
        return None
    days, dash, clock = text.strip().rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return float(((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds)
    if len(parts) == 1:
        return parts[0] * 60.0
    if len(parts) == 2:
        return parts[0] * 60.0 + parts[1]
    hours, minutes, seconds = parts
    return hours * 3600.0 + minutes * 60 + seconds
