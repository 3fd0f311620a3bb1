"""Segments per hour over time, and below it each egress with its pauses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audioset_batch.humanize import counted
from audioset_batch.record.settings import unix_time
from audioset_batch.report import html, svg
from audioset_batch.report.charts import STATUSES
from audioset_batch.report.words import clock, count, duration, percent, short, text

_WIDTH: Final = 1040.0
_LEFT: Final = 56.0
_RIGHT: Final = 8.0
_TALL: Final = 210.0
_LANE: Final = 46.0
_MOST_LANES: Final = 24
_LEAST_PIXELS: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Shade:
    """One or several pauses that are less than two pixels apart. `seconds`: paused within the axis; Unix times."""

    begin: float
    end: float
    seconds: float
    words: tuple[str, ...]


class _Axis:
    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end
        self.per_pixel = (end - begin) / (_WIDTH - _LEFT - _RIGHT)

    def at(self, moment: float) -> float:
        return _LEFT + (min(max(moment, self.begin), self.end) - self.begin) / self.per_pixel


def timeline(summary: Mapping[str, Any]) -> str:
    """The figure, or a sentence if no worker has finished a segment yet."""
    data = summary["timeline"]
    begin = unix_time(data["start"])
    bins = len(data["counts"]["ok"])
    if begin is None or not bins:
        return html.figure("Segments per hour", "<p>No worker has finished a segment yet.</p>")
    width = data["bin_seconds"]
    axis = _Axis(begin, begin + bins * width)
    pauses = {name: _shades(summary["pauses"].get(name, ()), axis) for name in {**data["egress"], **summary["pauses"]}}
    lanes = sorted(pauses, key=lambda name: -sum(data["egress"].get(name, ())))[:_MOST_LANES]
    below = _TALL + 26.0
    height = below + len(lanes) * _LANE
    parts = [*_ticks(axis, height), *_bars(data, axis, begin)]
    if len(lanes) == 1:
        parts += _shaded(pauses[lanes[0]], axis, 8.0, _TALL - 8.0, f"{lanes[0]}: ")
    for index, name in enumerate(lanes):
        counts = data["egress"].get(name, [0] * bins)
        parts += _lane(name, counts, pauses[name], axis, below + index * _LANE, width)
    picture = svg.chart(parts, _WIDTH, height, "Segments finished per hour, and the pauses of each egress")
    legend = svg.legend_of(
        *((f"s-{status}", words) for status, words in STATUSES if status != "pending"), ("pause", "egress paused")
    )
    left_out = len(pauses) - len(lanes)
    note = f"Times are UTC. One bar is {duration(width)}."
    if left_out:
        note += f" {counted(left_out, 'egress')} with fewer segments {'is' if left_out == 1 else 'are'} not drawn."
    return html.figure("Segments finished per hour", picture, _numbers(data, summary["pauses"], begin), note, legend)


def _ticks(axis: _Axis, height: float) -> list[str]:
    step = svg.time_step(axis.end - axis.begin)
    parts = []
    moment = -(-axis.begin // step) * step
    day_said = False
    while moment <= axis.end:
        x = axis.at(moment)
        parts.append(svg.line(x, 8, x, height))
        day, hour = clock(moment, "%-d %b"), clock(moment, "%H:%M:%S" if step < 60 else "%H:%M")
        midnight = moment % 86400 == 0
        words = day if midnight else hour if day_said else f"{day} {hour}"
        day_said = True
        if x < _WIDTH - 60:
            parts.append(svg.label(words, x + 4, _TALL + 16, "axis strong" if midnight and step < 86400 else "axis"))
        moment += step
    return parts


def _bars(data: Mapping[str, Any], axis: _Axis, begin: float) -> list[str]:
    width = data["bin_seconds"]
    per_hour = 3600 / width
    drawn = [status for status, _ in STATUSES if status in data["counts"]]
    series = [data["counts"][status] for status in drawn]
    sums = [sum(column) for column in zip(*series, strict=True)]
    ticks = svg.nice_ticks(max(sums) * per_hour)
    parts = []
    for tick in ticks:
        y = _TALL - (_TALL - 12) * tick / ticks[-1]
        parts += [svg.line(_LEFT, y, _WIDTH - _RIGHT, y), svg.label(short(tick), _LEFT - 8, y + 4, anchor="end")]
    wide = width / axis.per_pixel
    scale = (_TALL - 12) * per_hour / ticks[-1]
    # From the top of the stack down, so that each area covers the lower part of the one before.
    for upto in range(len(drawn), 0, -1):
        heights = [_TALL - scale * sum(column[:upto]) for column in zip(*series, strict=True)]
        parts.append(svg.bars(heights, axis.at(begin), wide, _TALL, f"s-{drawn[upto - 1]}"))
    for index, total in enumerate(sums):
        start = begin + index * width
        words = [
            f"{count(values[index])} {status}" for status, values in zip(drawn, series, strict=True) if values[index]
        ]
        tip = f"{clock(start, '%-d %b %H:%M' if width >= 60 else '%H:%M:%S')}: {count(total * per_hour)} per hour"
        parts.append(svg.rect(axis.at(start), 8, wide, _TALL - 8, "hit", f"{tip} ({', '.join(words) or 'none'})"))
    parts.append(svg.line(_LEFT, _TALL, _WIDTH - _RIGHT, _TALL, "base"))
    return parts


def _shades(pauses: Sequence[Mapping[str, Any]], axis: _Axis) -> list[_Shade]:
    """The pauses within the axis. Pauses too close to be told apart are merged into one."""
    result: list[_Shade] = []
    for pause in pauses:
        begin = unix_time(pause["started"])
        end = unix_time(pause["reopened"] or pause["until"])
        if begin is None or end is None or end < axis.begin or begin > axis.end:
            continue
        words = (
            f"{pause['kind'] or 'paused'} from {clock(begin, '%-d %b %H:%M:%S')} for {duration(max(end - begin, 0))}"
        )
        if pause["reopened"] is None:
            words += ", not reopened since"
        seconds = max(0.0, min(end, axis.end) - max(begin, axis.begin))
        if result and axis.at(begin) - axis.at(result[-1].end) < _LEAST_PIXELS:
            last = result.pop()
            result.append(_Shade(last.begin, max(last.end, end), last.seconds + seconds, (*last.words, words)))
        else:
            result.append(_Shade(begin, end, seconds, (words,)))
    return result


def _shaded(shades: Sequence[_Shade], axis: _Axis, y: float, tall: float, prefix: str) -> list[str]:
    parts = []
    for shade in shades:
        x = axis.at(shade.begin)
        more = len(shade.words) - 1
        tip = prefix + shade.words[0] + (f", and {more} more close by" if more else "")
        parts.append(svg.rect(x, y, max(axis.at(shade.end) - x, _LEAST_PIXELS), tall, "pause", tip))
    return parts


def _lane(name: str, counts: Sequence[int], shades: Sequence[_Shade], axis: _Axis, y: float, width: float) -> list[str]:
    top, tall = y + 16, _LANE - 18
    most = max(counts, default=0)
    paused = sum(shade.seconds for shade in shades)
    words = counted(sum(counts), "segment")
    if shades:
        number = sum(len(shade.words) for shade in shades)
        share = percent(paused, axis.end - axis.begin)
        words += f", paused {number} {'time' if number == 1 else 'times'} ({duration(paused)}, {share} of the time)"
    parts = [svg.element("text", f'<tspan class="strong">{text(name)}</tspan> {text(words)}',
                         x=_LEFT, y=y + 12, class_="axis lane")]  # fmt: skip
    heights = [top + tall - (tall * number / most if most else 0) for number in counts]
    parts.append(svg.bars(heights, axis.at(axis.begin), width / axis.per_pixel, top + tall, "quiet"))
    parts += _shaded(shades, axis, top, tall, f"{name}: ")
    parts.append(svg.line(_LEFT, top + tall, _WIDTH - _RIGHT, top + tall, "base"))
    return parts


def _numbers(data: Mapping[str, Any], pauses: Mapping[str, Any], begin: float) -> str:
    width = data["bin_seconds"]
    names = [status for status, _ in STATUSES if status in data["counts"]]
    rows = [
        [clock(begin + index * width, "%Y-%m-%d %H:%M:%S"), *(count(value) for value in column)]
        for index, column in enumerate(zip(*(data["counts"][name] for name in names), strict=True))
        if any(column)
    ]
    found = html.table(["from (UTC)", *names], rows)
    listed = [
        [
            name,
            pause["started"],
            pause["reopened"] or f"not yet; until {pause['until']}",
            pause["kind"],
            pause["detail"],
        ]
        for name, own in pauses.items()
        for pause in own[-200:]
    ]
    if listed:
        found += html.table(["egress", "paused", "open again", "why", "detail"], listed, "data wordy")
    return found
