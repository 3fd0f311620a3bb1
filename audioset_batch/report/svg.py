"""Shared by all charts: elements, ticks, legends. Colours are CSS classes, so that the style sheet can change them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from audioset_batch.report.words import text


def element(tag: str, content: str = "", **attributes: Any) -> str:
    """`<tag ...>content</tag>`. Values are escaped; `_` in a name becomes `-`, and `class_` becomes `class`."""
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is not None:
            shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{text(shown)}"')
    return "".join(parts) + (f">{content}</{tag}>" if content else "/>")


def label(content: object, x: float, y: float, class_: str = "axis", anchor: str = "start") -> str:
    """A text in a chart."""
    return element("text", text(content), x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def rect(x: float, y: float, width: float, height: float, class_: str, tip: str | None = None) -> str:
    """A rectangle. Hovering over it and the arrow keys show `tip`."""
    return element(
        "rect",
        x=float(x), y=float(y), width=float(max(width, 0)), height=float(max(height, 0)),
        class_=class_, data_tip=tip,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, class_: str = "grid") -> str:
    """A straight line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def bars(tops: Sequence[float], left: float, each: float, floor: float, class_: str) -> str:
    """Bars down to `floor` as one path.

    Args:
        tops: The y coordinate of the top of each bar.
        left: The x coordinate of the first bar.
        each: The distance between two bars. Thin bars touch each other, because gaps of a pixel would flicker.
        floor: The y coordinate of the lower end.
        class_: CSS class.
    """
    gap = each * 0.16 if each >= 8 else 0.0
    path = [f"M{left:.1f} {floor:.1f}"]
    for index, top in enumerate(tops):
        right = left + (index + 1) * each
        path.append(f"V{top:.1f}H{right - gap:.1f}" + (f"V{floor:.1f}H{right:.1f}" if gap else ""))
    return element("path", d="".join([*path, f"V{floor:.1f}Z"]), class_=class_)


def chart(parts: Iterable[str], width: float, height: float, name: str) -> str:
    """The complete picture. When it has the focus, the arrow keys go through the elements with a tip."""
    return element(
        "svg",
        "".join(parts),
        viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=name, tabindex=0, class_="chart",
        style=f"max-width:{width:g}px",
    )  # fmt: skip


def nice_ticks(top: float, most: int = 5, *, counts: bool = True) -> list[float]:
    """Round steps from 0 to at least `top`, whole numbers for counts: `nice_ticks(430) -> [0, 100, ..., 500]`."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    step = max(step, 1.0) if counts and top >= 1 else step
    return [step * n for n in range(math.ceil(top / step - 1e-9) + 1)]


def log_ticks(top: float) -> list[float]:
    """1, 10, 100 ... to at least `top`."""
    return [10.0**n for n in range(max(1, math.ceil(math.log10(max(top, 1)) - 1e-9)) + 1)]


def time_step(span: float, most: int = 8) -> int:
    """Seconds between two ticks of a time axis of `span` seconds."""
    for step in (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000):
        if span / step <= most:
            return step
    return 2592000 * math.ceil(span / 2592000 / most)


def legend_of(*entries: tuple[str, str]) -> str:
    """A legend of (CSS class, text) pairs."""
    box = '<svg class="key" viewBox="0 0 14 14" aria-hidden="true">'
    items = "".join(f"<li>{box}{rect(0, 0, 14, 14, class_)}</svg>{text(words)}</li>" for class_, words in entries)
    return f'<ul class="legend">{items}</ul>'
