"""The overview as text for terminals of at least 80 columns."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Sequence
from typing import Final

from audioset_batch.config.reservation import cost_line
from audioset_batch.egress import EgressStatus
from audioset_batch.humanize import counted, duration
from audioset_batch.layout import shard_suffix
from audioset_batch.reasons import TRANSIENT_REASONS
from audioset_batch.record.costs import cost_so_far, warning
from audioset_batch.status.collect import Overview, ShardLine, SubsetLine
from audioset_batch.youtube.versions import age_note

GLYPHS: Final = {"ok": "#", "unavailable": "=", "failed": "!", "pending": "."}
"""The character of each status in the bar."""
_ORDER: Final = {"running": 0, "lost": 1, "stopped": 2, "queued": 3, "open": 4, "done": 5}
_WIDTH: Final = 80
_BAR: Final = 56
_HOST: Final = 10
_WORDINGS: Final = 5
_EGRESS_NOTE_LINES: Final = 4
_FIGURES: Final = ("settled", "failed", "pauses", "restarts")
"""Right-aligned columns."""


def render(overview: Overview, *, most_shards: int = 20) -> str:
    """The text, with at most `most_shards` shards: running ones and those with problems first."""
    parts = [_subsets(overview), _reasons(overview.total), _pace(overview), _costs(overview), _egresses(overview)]
    parts += [_shards(overview, most_shards), "\n".join(overview.resubmit)]
    return "\n\n".join(part for part in parts if part)


def fitting(overview: Overview, *, most_shards: int, lines: int) -> str:
    """The same in at most `lines` lines: without blank lines, then with fewer shards, then cut off."""
    text = render(overview, most_shards=most_shards)
    if _height(text) <= lines:
        return text
    most = min(most_shards, lines)
    while (excess := _height(text := _dense(overview, most)) - lines) > 0 and most:
        most = max(0, most - (excess + 1) // 2)  # a shard takes two lines at most
    if excess <= 0:
        return text
    return "\n".join([*text.splitlines()[: lines - 1], "... more does not fit into this window"])


def _dense(overview: Overview, most_shards: int) -> str:
    return "\n".join(line for line in render(overview, most_shards=most_shards).splitlines() if line)


def _height(text: str) -> int:
    return text.count("\n") + 1


def _subsets(overview: Overview) -> str:
    named = [(line.name.removesuffix("_segments"), line) for line in (*overview.subsets, overview.total)]
    width = max(len(name) for name, _ in named)
    lines = [f"{overview.data_dir}   {_clock(overview.at)} UTC", ""]
    lines.append(" " * width + _figures("planned", *(f"{glyph} {word}" for word, glyph in GLYPHS.items())))
    for name, line in named:
        counts = (f"{count:,}" for count in (line.planned, *(line.counts[word] for word in GLYPHS)))
        lines.append(f"{name:<{width}}" + _figures(*counts))
    lines.append(_bar(overview.total))
    behind = [line for line in overview.shards if not line.seen.exact]
    if behind:
        shards = "1 shard has" if len(behind) == 1 else f"{len(behind):,} shards have"
        since = min(line.seen.counted_at for line in behind)
        of_old = f": counts as of {_clock(since)}" if since else ""
        lines.append(f"{shards} rows that are NOT COUNTED here{of_old}; --exact counts them")
    return "\n".join(lines)


def _figures(planned: str, ok: str, unavailable: str, failed: str, pending: str) -> str:
    return f"{planned:>11}{ok:>11}{unavailable:>15}{failed:>10}{pending:>12}"


def _bar(total: SubsetLine) -> str:
    """`[####==!..]`: each status by its share, and at least one character wide unless it is 0."""
    planned = max(1, total.planned)
    settled = total.counts["ok"] + total.counts["unavailable"]
    wide = {word: max(1, round(_BAR * n / planned)) if (n := total.counts[word]) else 0 for word in GLYPHS}
    widest = max(wide, key=lambda word: wide[word])
    wide[widest] += _BAR - sum(wide.values()) if total.planned else 0
    drawn = "".join(glyph * wide[word] for word, glyph in GLYPHS.items())
    return f"[{drawn:<{_BAR}}] {_percent(settled, planned)} settled"


def _percent(part: int, whole: int) -> str:
    """The share, at most `99.9%` while anything is missing."""
    return f"{min(100 * part / whole, 100.0 if part == whole else 99.9):.1f}%"


def _reasons(total: SubsetLine) -> str:
    lines = []
    for title, wanted in (("unavailable", True), ("failed", False)):
        found = [
            f"{reason} {n:,}" for reason, n in total.reasons.items() if (reason not in TRANSIENT_REASONS) == wanted
        ]
        if found:
            lines.append(textwrap.fill(f"{title}: {', '.join(found)}", _WIDTH, subsequent_indent="  "))
    if total.words:
        lines.append("refused in words that are not known (youtube.wordings gives them a reason):")
        said = [f"{n:,} x {words}" for words, n in total.words.items()]
        lines += ["  " + textwrap.shorten(one, _WIDTH - 2, placeholder=" ...") for one in said[:_WORDINGS]]
        if len(said) > _WORDINGS:
            lines.append(f"  and {len(said) - _WORDINGS:,} more; --json has all")
    return "\n".join(lines)


def _pace(overview: Overview) -> str:
    if not overview.left:
        steps = ", then ".join(overview.next_steps)
        done = f"Next: audioset-batch {steps}" if steps else "The table and the report are up to date"
        return f"Nothing is left to do. {done}"
    at_pace = "" if overview.seconds_at_pace is None else f" at this pace: {duration(overview.seconds_at_pace)}"
    at_budget = (
        "without a budget"
        if overview.budget is None
        else f"at the budget of {overview.budget:,.0f} an hour: {duration(overview.seconds_at_budget or 0.0)}"
    )
    if overview.pace:
        pace = f"last hour: {counted(round(overview.pace), 'segment')} an hour"
    elif any(line.activity == "running" for line in overview.shards):
        pace = "nothing finished lately, as far as is known"
    else:
        pace = "nobody works on it now"
    if overview.egresses and all(one.state == "paused" for one in overview.egresses):
        opens = min((one.until for one in overview.egresses if one.until is not None), default=None)
        pace += "; every egress is paused" + ("" if opens is None else f" until {_clock(opens)} or later")
        at_pace, at_budget = "", f"once one is open, {at_budget}"
    old = age_note(overview.ytdlp_version)
    return f"{pace}; {overview.left:,} left\ntime left{at_pace + ';' if at_pace else ''} {at_budget}" + (
        old and f"\n{old}"
    )


def _costs(overview: Overview) -> str:
    lines = []
    if past := cost_so_far(overview.costs):
        lines.append(f"cost so far: {past}")
    if overview.costs.source and (ahead := cost_line(overview.asked, overview.left)):
        lines.append(f"what is left: {ahead}")
    if too_much := warning(overview.costs, overview.asked, overview.need, overview.left):
        lines.append(f"warning: {too_much}")
    return "\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in lines)


def _egresses(overview: Overview) -> str:
    rows = [("egress", "state", "left of the budget", "pauses")]
    notes = [""]
    for one in overview.egresses:
        rows.append((one.name, one.state, _budget(one), f"{len(one.pauses):,}"))
        notes.append(_pause(one, overview.at))
    return _table(rows, notes, note_lines=_EGRESS_NOTE_LINES)


def _budget(one: EgressStatus) -> str:
    if one.budget is None or one.left is None:
        return "no budget"
    window = "an hour" if one.window_seconds == 3600 else duration(one.window_seconds)
    return f"{one.left:,.0f} of {one.budget:,.0f} in {window}"


def _pause(one: EgressStatus, now: float) -> str:
    if one.state == "open":
        return ""
    why = one.detail or one.kind or "no reason given"
    if one.state == "slow":
        return why
    if one.until is None:
        return "too many losses, a probe decides"
    if one.state == "probing":
        return f"its pause is over, a probe decides; {why}"
    return f"until {_clock(one.until)}, in {duration(max(0.0, one.until - now))}; {why}"


def _shards(overview: Overview, most: int) -> str:
    by_activity = {word: sum(line.activity == word for line in overview.shards) for word in _ORDER}
    head = ", ".join(f"{count:,} {word}" for word, count in by_activity.items() if count)
    lines = [f"{counted(len(overview.shards), 'shard')}: {head}"]
    if overview.slurm == "silent":
        said = f"SLURM does not answer, so this is from the files alone: {_brief(overview.slurm_says)}"
        lines.append(textwrap.fill(said, _WIDTH, max_lines=2, placeholder=" ..."))
    listed = sorted(
        (line for line in overview.shards if line.activity not in ("done", "open") or line.seen.counts["failed"]),
        key=lambda line: (_ORDER[line.activity], line.seen.shard.number, line.seen.shard.subset),
    )
    if not listed or not most:
        return "\n".join(lines)
    shown = listed[:most]
    rows: list[tuple[str, ...]] = [("shard", "state", "settled", "failed", "host", "job", "seen", "restarts")]
    rows += [_shard(line, overview.at) for line in shown]
    lines += ["", _table(rows, ["", *(_note(line) for line in shown)])]
    if len(listed) > most:
        lines.append(f"... and {len(listed) - most:,} more; --shards N shows more of them")
    return "\n".join(lines)


def _brief(said: str) -> str:
    """The first line of an error message, without the options of the command."""
    return re.sub(r"`(\S+)[^`]*`(?:: \1)?", r"\1", said).partition("\n")[0]


def _shard(line: ShardLine, now: float) -> tuple[str, ...]:
    settled = line.seen.counts["ok"] + line.seen.counts["unavailable"]
    return (
        f"{line.seen.shard.subset.removesuffix('_segments').removesuffix('_train')}.{shard_suffix(line.seen.shard.number)}",
        line.activity,
        f"{settled:,}/{line.seen.planned:,}",
        f"{line.seen.counts['failed']:,}" if line.seen.counts["failed"] else "",
        line.host.partition(".")[0][:_HOST],
        line.job_id,
        "never" if line.active_at is None else duration(max(0.0, now - line.active_at)),
        f"{line.restarts}" if line.restarts else "",
    )


def _note(line: ShardLine) -> str:
    behind = (
        ""
        if line.seen.exact
        else f"counts as of {_clock(line.seen.counted_at)}"
        if line.seen.counted_at
        else "rows not counted"
    )
    return "; ".join(filter(None, (line.note, behind)))


def _table(rows: Sequence[Sequence[str]], notes: Sequence[str], note_lines: int = 1) -> str:
    """Align columns. Columns without content are left out; a note goes below its row."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for cells, note in zip(zip(*columns, strict=True), notes, strict=True):
        padded = (
            f"{cell:>{width}}" if column[0] in _FIGURES else f"{cell:<{width}}"
            for cell, width, column in zip(cells, widths, columns, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
        if note:
            indent = " " * (widths[0] + 2)
            lines += textwrap.wrap(
                note, _WIDTH, initial_indent=indent, subsequent_indent=indent, max_lines=note_lines, placeholder=" ..."
            )
    return "\n".join(lines)


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment))
