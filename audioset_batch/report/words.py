"""Numbers and times in words. All text on a page goes through `text`."""

from __future__ import annotations

import datetime
import html

from audioset_batch.record.settings import unix_time


def text(value: object) -> str:
    """Escape a value for element content and quoted attributes."""
    return html.escape(str(value), quote=True)


def subset_name(subset: str) -> str:
    """`balanced_train_segments -> balanced train`; other lists keep their name."""
    own = subset.removesuffix("_segments")
    return subset if own == subset else own.replace("_", " ")


def count(value: float) -> str:
    """`1234567 -> 1,234,567`."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Short form for axes: `1200 -> 1.2k`, `2000000 -> 2M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def percent(part: float, whole: float) -> str:
    """`12.3 %`. `100 %` and `0 %` are exact; a dash if `whole` is 0."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.1f} %" if share not in (0, 100) else f"{share:.0f} %"


def duration(seconds: float, *, days: bool = True) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 days 4 h`; without `days`, `1,234 h`."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48 and (days or hours < 10):
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if not days:
        return f"{seconds / 3600:,.0f} h"
    whole, hours = divmod(hours, 24)
    return f"{whole} days {hours} h" if hours else f"{whole} days"


def moment(stamp: object) -> str:
    """`2026-03-04 12:30 UTC` of an ISO 8601 stamp."""
    seconds = unix_time(stamp)
    return str(stamp) if seconds is None else f"{clock(seconds, '%Y-%m-%d %H:%M')} UTC"


def clock(seconds: float, pattern: str) -> str:
    """A Unix time in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(pattern)
