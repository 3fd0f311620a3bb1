"""Figures in words for people."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """`1 error`, `2,000 errors`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`95 -> "95 s"`, `7200 -> "2 h"`, `300000 -> "3 days"`, rounded for people."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86400):,} days"
