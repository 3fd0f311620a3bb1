"""Bars, curves and histograms. Most functions turn a part of `summary.json` into a figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audioset_batch.humanize import counted
from audioset_batch.reasons import Reason
from audioset_batch.report import html, svg
from audioset_batch.report.numbers import label_name
from audioset_batch.report.words import count, percent, short, subset_name

STATUSES: Final = (
    ("ok", "ok"),
    ("unavailable", "unavailable (permanent)"),
    ("failed", "failed (will be tried again)"),
    ("pending", "pending"),
)
_WIDTH: Final = 1040.0
_CEILING: Final = 12.0
_BELOW_ONE: Final = 0.3
"""Decades between 0 and 1 on a logarithmic axis."""

_REASON_WORDS: Final = {
    Reason.GEO_BLOCKED: "blocked in this country",
    Reason.SEGMENT_PAST_END: "segment past the end",
    Reason.FORMAT_UNAVAILABLE: "format not offered",
    Reason.HTTP_ERROR: "HTTP error",
    Reason.UNRECOGNIZED: "unrecognized words",
}
"""Words for reasons whose name is not clear enough on its own."""


def outcome(summary: Mapping[str, Any]) -> str:
    """One bar for each subset, divided by outcome, from 0 to 100 %."""
    rows = [(subset_name(name), counts) for name, counts in summary["subsets"].items()]
    if len(rows) != 1:
        rows.append(("all", summary["totals"]))
    left, right, tall, gap = 150.0, 84.0, 34.0, 18.0
    room = _WIDTH - left - right
    parts = []
    for index, (name, counts) in enumerate(rows):
        y = index * (tall + gap) + 2
        parts.append(svg.label(name, left - 14, y + 15, "name", "end"))
        parts.append(svg.label(count(counts["planned"]), left - 14, y + 31, "axis", "end"))
        parts.append(svg.rect(left, y, room, tall, "empty"))
        x = left
        for status, words in STATUSES:
            width = room * counts[status] / counts["planned"] if counts["planned"] else 0.0
            if not width:
                continue
            share = percent(counts[status], counts["planned"])
            tip = f"{name}: {count(counts[status])} {words}, {share}"
            parts.append(svg.rect(x, y, width, tall, f"s-{status}", tip))
            if width > 76:
                parts.append(svg.label(share, x + width / 2, y + 22, f"on on-{status}", "middle"))
            x += width
        parts.append(svg.label(count(counts["ok"]), left + room + 14, y + 15, "name"))
        parts.append(svg.label("clips ok", left + room + 14, y + 31, "axis"))
    height = len(rows) * (tall + gap) - gap + 4
    numbers = html.table(
        ["subset", "planned", *(status for status, _ in STATUSES)],
        [[name, count(c["planned"]), *(count(c[status]) for status, _ in STATUSES)] for name, c in rows],
    )
    picture = svg.chart(parts, _WIDTH, height, "Share of outcomes of each subset")
    legend = svg.legend_of(*((f"s-{status}", words) for status, words in STATUSES))
    return html.figure("Outcome by subset", picture, numbers, legend=legend)


@dataclass(frozen=True, slots=True)
class Bar:
    """One horizontal bar: the name on its left, its value, the words on its right, its tip and its CSS class."""

    name: str
    value: float
    words: str
    tip: str
    class_: str = "s-ok"


def horizontal_bars(bars: Sequence[Bar], name: str, top: float | None = None) -> str:
    """One bar per row. `top` is the value of a bar of full length; by default the largest value."""
    left, right, tall, gap = 190.0, 150.0, 18.0, 9.0
    room = _WIDTH - left - right
    longest = top or max((bar.value for bar in bars), default=0) or 1
    parts = []
    for index, bar in enumerate(bars):
        y = index * (tall + gap)
        width = max(1.5, room * bar.value / longest)
        parts.append(svg.label(bar.name, left - 14, y + 14, "name", "end"))
        parts.append(svg.rect(left, y, width, tall, bar.class_, bar.tip))
        parts.append(svg.label(bar.words, left + width + 10, y + 14))
    return svg.chart(parts, _WIDTH, len(bars) * (tall + gap) - gap + 2, name)


def curve(
    title: str,
    unit: str,
    points: Sequence[tuple[float, float]],
    *,
    top: float | None = None,
    level: tuple[str, float] | None = None,
) -> str:
    """A line chart of values by training step. Values that are not finite are left out.

    Args:
        title: Title of the figure.
        unit: Name of the values, for the tips.
        points: (step, value) pairs in the order of the steps.
        top: The highest value of the axis; by default a round number above all values.
        level: Label and value of a dashed horizontal line.
    """
    found = [(x, y) for x, y in points if math.isfinite(y)]
    if not found:
        return html.figure(title, "<p>Nothing was recorded.</p>")
    width, height, left, right, bottom = 500.0, 230.0, 46.0, 14.0, 24.0
    floor, last = height - bottom, max(found[-1][0], 1.0)
    ticks = svg.nice_ticks(top or max(y for _, y in found), 4, counts=False)
    up = _linear_scale(ticks[-1], floor)

    def across(step: float) -> float:
        return left + (width - left - right) * step / last

    parts = [svg.line(left, up(tick), width - right, up(tick)) for tick in ticks[1:]]
    parts += [svg.label(short(tick), left - 7, up(tick) + 4, anchor="end") for tick in ticks]
    steps = [step for step in svg.nice_ticks(last, 5) if step <= last]
    parts += [svg.label(short(step), across(step), floor + 17, anchor="middle") for step in steps]
    parts.append(svg.line(left, floor, width - right, floor, "base"))
    if level is not None:
        parts.append(svg.line(left, up(level[1]), width - right, up(level[1]), "limit"))
        parts.append(svg.label(level[0], width - right, up(level[1]) - 6, "limit", "end"))
    path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in found)
    parts.append(svg.element("path", d=f"M{path}", class_="curve"))
    for x, y in found:
        tip = f"step {x:g}: {unit} {y:.4g}"
        parts.append(svg.element("circle", cx=across(x), cy=up(y), r=3.0, class_="s-ok", data_tip=tip))
    picture = svg.chart(parts, width, height, f"{title}, by step")
    return html.figure(title, picture, html.table(["step", unit], [[f"{x:g}", f"{y:.4g}"] for x, y in found]))


def reasons(summary: Mapping[str, Any]) -> str:
    """Bars by reason, most frequent first."""
    found = list(summary["reasons"].items())
    if not found:
        return html.figure("Reasons", "<p>No segment has a reason against it.</p>")
    planned = summary["totals"]["planned"]
    bars = []
    for reason, number in found:
        kind, words = reason_kind(reason)
        share = percent(number, planned)
        tip = f"{words}: {counted(number, 'segment')}, {share} of the plan, {kind}"
        bars.append(Bar(words, number, f"{count(number)}  ·  {share}", tip, f"s-{kind}"))
    picture = horizontal_bars(bars, "Segments by reason")
    numbers = html.table(
        ["reason", "kind", "segments", *(subset_name(name) for name in summary["subsets"])],
        [
            [reason, reason_kind(reason)[0], count(number)]
            + [count(one["reasons"].get(reason, 0)) for one in summary["subsets"].values()]
            for reason, number in found
        ],
    )
    kinds = {reason_kind(reason)[0] for reason, _ in found}
    legend = svg.legend_of(*((f"s-{status}", words) for status, words in STATUSES if status in kinds))
    return html.figure("Why segments are not ok", picture, numbers, legend=legend)


def reason_kind(reason: str) -> tuple[str, str]:
    """The status of segments with this reason, and the reason in words."""
    try:
        known = Reason(reason)
    except ValueError:
        return "pending", reason
    return "unavailable" if known.permanent else "failed", _REASON_WORDS.get(known, known.replace("_", " "))


def ranks(labels: Sequence[Mapping[str, Any]], threshold: int) -> str:
    """The number of clips of each label, in descending order on a logarithmic scale, with a line at the threshold."""
    planned = sorted((one for one in labels if one["planned"]), key=lambda one: -int(one["ok"]))
    left, bottom, height = 56.0, 30.0, 250.0
    room, floor = _WIDTH - left - 8, height - bottom
    top = max([10, threshold, *(one["planned"] for one in planned)])
    at = _log_scale(top, floor)
    ticks = [tick for tick in svg.log_ticks(top) if tick <= top]
    parts = [svg.line(left, at(tick), _WIDTH - 8, at(tick)) for tick in ticks]
    parts += [svg.label(short(tick), left - 8, at(tick) + 4, anchor="end") for tick in ticks]
    each = min(room / max(len(planned), 1), 120.0)
    for key, class_ in (("planned", "planned"), ("ok", "s-ok")):
        parts.append(svg.bars([at(one[key]) for one in planned], left, each, floor, class_))
    for index, one in enumerate(planned):
        tip = f"{label_name(one)}: {count(one['ok'])} of {count(one['planned'])} clips ok, rank {index + 1}"
        parts.append(svg.rect(left + index * each, 8, each, floor - 8, "hit", tip))
    limit = [svg.line(left, 0, _WIDTH - 8, 0, "limit halo"), svg.line(left, 0, _WIDTH - 8, 0, "limit")]
    limit.append(svg.label(f"threshold {threshold}", _WIDTH - 10, -6, "limit", "end"))
    # The script moves it when the threshold changes, on the scale of `_log_scale`.
    parts.append(
        svg.element(
            "g",
            "".join(limit),
            id="limit",
            transform=f"translate(0 {at(threshold):.1f})",
            data_floor=floor,
            data_tall=floor - _CEILING,
            data_decades=f"{math.log10(top) + _BELOW_ONE:.4f}",
        )
    )
    parts.append(svg.line(left, floor, _WIDTH - 8, floor, "base"))
    if each >= 80:
        for index, one in enumerate(planned):
            parts.append(
                svg.label(_shortened(label_name(one)), left + (index + 0.42) * each, height - 10, anchor="middle")
            )
    else:
        parts.append(svg.label("labels, most clips first", left, height - 8))
        parts.append(svg.label(counted(len(planned), "label"), _WIDTH - 8, height - 8, anchor="end"))
    picture = svg.chart(parts, _WIDTH, height, f"Clips of {len(planned)} labels, with a line at {threshold}")
    legend = svg.legend_of(("s-ok", "clips ok"), ("planned", "planned"))
    return html.figure("Clips per label (logarithmic)", picture, legend=legend)


def _shortened(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def histogram(title: str, unit: str, data: Mapping[str, Any], *, every: int, log: bool = False, note: str = "") -> str:
    """The bars of one histogram of the summary.

    Args:
        title: Title of the figure.
        unit: Unit of the edges.
        data: `edges` and `counts`.
        every: Label every so many edges.
        log: Use a logarithmic scale, for counts of which nearly all are in one bin.
        note: Text below the figure.
    """
    edges, counts = data["edges"], data["counts"]
    width, height, left, right, bottom = 330.0, 210.0, 42.0, 14.0, 24.0
    room, floor = width - left - right, height - bottom
    total, top = sum(counts), max(counts, default=0)
    ticks = [tick for tick in svg.log_ticks(top) if tick <= max(top, 10)] if log else svg.nice_ticks(top, 4)
    at = _log_scale(max(top, 10), floor) if log else _linear_scale(ticks[-1], floor)
    shown = [tick for tick in ticks if log or tick > 0]
    parts = [svg.line(left, at(tick), width - right, at(tick)) for tick in shown]
    parts += [svg.label(short(tick), left - 7, at(tick) + 4, anchor="end") for tick in shown]
    each = room / len(counts)
    rows = []
    for index, number in enumerate(counts):
        where = _bin(edges, index, unit)
        x = left + index * each
        tip = f"{where}: {counted(number, 'clip')}, {percent(number, total)}"
        parts.append(svg.rect(x + 0.5, at(number), each - 1, floor - at(number), "s-ok"))
        parts.append(svg.rect(x, 8, each, floor - 8, "hit", tip))
        rows.append([where, count(number), percent(number, total)])
    for index in range(0, len(edges), every):
        words = f"{edges[index]:g}".replace("-", "−")
        parts.append(svg.label(words, left + index * each, floor + 17, anchor="middle"))
    parts.append(svg.line(left, floor, width - right, floor, "base"))
    picture = svg.chart(parts, width, height, f"{title}: {counted(total, 'clip')}")
    heading = f"{title}, {unit}" + (" (logarithmic)" if log else "")
    return html.figure(heading, picture, html.table([unit, "clips", "share"], rows), note)


def _log_scale(top: float, floor: float) -> Callable[[float], float]:
    """Maps a value to its y coordinate: 0 is at `floor`, and 1 a little above it."""
    decades = math.log10(top) + _BELOW_ONE

    def at(value: float) -> float:
        return floor - (floor - _CEILING) * (math.log10(value) + _BELOW_ONE) / decades if value >= 1 else floor

    return at


def _linear_scale(top: float, floor: float) -> Callable[[float], float]:
    return lambda value: floor - (floor - _CEILING) * value / top


def _bin(edges: Sequence[float], index: int, unit: str) -> str:
    low, high = f"{edges[index]:g}".replace("-", "−"), f"{edges[index + 1]:g}".replace("-", "−")
    if index == 0 and edges[0] < 0:
        return f"below {high} {unit}"
    if index == len(edges) - 2:
        return f"{low} {unit} and more"
    return f"{low} to {high} {unit}"
