"""Figures in words for people."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """`1 error`, `2,000 errors`, `3 classes`."""
    ending = "" if number == 1 else "es" if thing.endswith("s") else "s"
    return f"{number:,} {thing}{ending}"


def duration(seconds: float) -> str:
    """`95 -> "95 s"`, `7200 -> "2 h"`, `300000 -> "3 days"`, rounded for people."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86400):,} days"


def size(number: float) -> str:
    """Bytes in decimal units."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number < 1e3 * unit else f"{number / unit:,.0f} {name}"
    return f"{number:.0f} bytes"
