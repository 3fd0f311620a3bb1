"""The overview as text for a terminal of 80 columns or more, and as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import time
from typing import Any, Final

from audioset_batch.egress import EgressStatus
from audioset_batch.layout import shard_suffix
from audioset_batch.reasons import TRANSIENT_REASONS
from audioset_batch.status.collect import Overview, ShardLine, SubsetLine
from audioset_batch.status.shards import STATUSES
from audioset_batch.words import duration

_ORDER: Final = {"running": 0, "lost": 1, "stopped": 2, "queued": 3, "open": 4, "done": 5}


def to_json(overview: Overview) -> dict[str, Any]:
    """Everything, under stable names; times in UTC, ISO 8601."""
    return {
        "data_dir": overview.data_dir,
        "at": _iso(overview.at),
        "totals": _subset_json(overview.total),
        "subsets": {line.name: _subset_json(line) for line in overview.subsets},
        "segments_per_hour": overview.pace,
        "videos_per_hour_allowed": overview.budget,
        "left": overview.left,
        "seconds_left_at_pace": overview.seconds_at_pace,
        "seconds_left_at_budget": overview.seconds_at_budget,
        "slurm": overview.slurm,
        "egresses": [_egress_json(one) for one in overview.egresses],
        "shards": [
            {
                **dataclasses.asdict(line),
                "shard": line.shard.number,
                "subset": line.shard.subset,
                "active_at": None if line.active_at is None else _iso(line.active_at),
            }
            for line in overview.shards
        ],
    }


def _subset_json(line: SubsetLine) -> dict[str, Any]:
    return {"shards": line.shards, "planned": line.planned, **line.counts, "reasons": dict(line.reasons)}


def _egress_json(one: EgressStatus) -> dict[str, Any]:
    values = dataclasses.asdict(one)
    values["pauses"] = len(one.pauses)
    for key in ("since", "until"):
        values[key] = None if values[key] is None else _iso(values[key])
    return values


def render(overview: Overview, *, most_shards: int = 20) -> str:
    """The text; shards that are at work or in trouble first, `most_shards` of them."""
    parts = [_subsets(overview), _reasons(overview.total), _pace(overview), _egresses(overview)]
    parts.append(_shards(overview, most_shards))
    return "\n\n".join(part for part in parts if part)


def _subsets(overview: Overview) -> str:
    width = max(len(line.name) for line in (*overview.subsets, overview.total))
    lines = [f"{overview.data_dir}   {_clock(overview.at)} UTC", ""]
    lines.append(" " * width + _figures("planned", *STATUSES))
    for line in (*overview.subsets, overview.total):
        counts = (f"{count:,}" for count in (line.planned, *(line.counts[word] for word in STATUSES)))
        lines.append(f"{line.name:<{width}}" + _figures(*counts))
    behind = sum(not line.exact for line in overview.shards)
    if behind:
        lines.append(f"{behind} shards have rows that are not counted here yet; --exact counts them")
    return "\n".join(lines)


def _figures(planned: str, ok: str, unavailable: str, failed: str, pending: str) -> str:
    return f"{planned:>11}{ok:>11}{unavailable:>13}{failed:>9}{pending:>11}"


def _reasons(total: SubsetLine) -> str:
    lines = []
    for title, wanted in (("unavailable", True), ("failed", False)):
        found = [
            f"{reason} {n:,}" for reason, n in total.reasons.items() if (reason not in TRANSIENT_REASONS) == wanted
        ]
        if found:
            lines.append(f"{title}: {', '.join(found)}")
    return "\n".join(lines)


def _pace(overview: Overview) -> str:
    if not overview.left:
        return "Nothing is left to do. Next: audioset-batch merge, then report"
    at_pace = "" if overview.seconds_at_pace is None else f" at this pace: {duration(overview.seconds_at_pace)}"
    at_budget = (
        "without a budget"
        if overview.budget is None
        else f"at the budget of {overview.budget:,.0f} an hour: {duration(overview.seconds_at_budget or 0.0)}"
    )
    pace = f"last hour: {overview.pace:,.0f} segments an hour" if overview.pace else "nobody works on it now"
    return f"{pace}; {overview.left:,} left\ntime left{at_pace + ';' if at_pace else ''} {at_budget}"


def _egresses(overview: Overview) -> str:
    width = max(len("egress"), *(len(one.name) for one in overview.egresses))
    lines = [f"{'egress':<{width}}  {'state':<9} {'left of the budget':<24} pauses"]
    for one in overview.egresses:
        budget = "no budget"
        if one.budget is not None and one.left is not None:
            hours = one.window_seconds / 3600
            window = "an hour" if hours == 1 else f"{duration(one.window_seconds)}"
            budget = f"{one.left:,.0f} of {one.budget:,.0f} in {window}"
        line = f"{one.name:<{width}}  {one.state:<9} {budget:<24} {len(one.pauses)}"
        if one.state != "open" and one.until is not None:
            line += f"   {'until ' + _clock(one.until) if one.state == 'paused' else 'a probe decides'}: {one.kind}"
        lines.append(line)
    return "\n".join(lines)


def _shards(overview: Overview, most: int) -> str:
    by_activity = {word: sum(line.activity == word for line in overview.shards) for word in _ORDER}
    head = ", ".join(f"{count:,} {word}" for word, count in by_activity.items() if count)
    lines = [f"{len(overview.shards):,} shards: {head}"]
    if overview.slurm == "silent":
        lines.append(f"SLURM does not answer, so this is from the files alone: {_first_line(overview.slurm_says)}")
    listed = sorted(
        (line for line in overview.shards if line.activity not in ("done", "open") or line.counts["failed"]),
        key=lambda line: (_ORDER[line.activity], -(line.active_at or 0), str(line.shard)),
    )
    if not listed or not most:
        return "\n".join(lines)
    width = max(len(_name(line)) for line in listed[:most])
    lines += ["", f"{'shard':<{width}}  {'state':<8}{'done':>12}  {'host':<10} {'job':<12} {'active':<13}restarts"]
    for line in listed[:most]:
        lines.append(_shard(line, width, overview.at))
    if len(listed) > most:
        lines.append(f"... and {len(listed) - most:,} more; --shards N shows more of them")
    return "\n".join(lines)


def _first_line(text: str) -> str:
    return next(iter(text.partition("`: ")[2].splitlines()), text)


def _shard(line: ShardLine, width: int, now: float) -> str:
    done = f"{line.planned - line.counts['failed'] - line.counts['pending']:,}/{line.planned:,}"
    active = "never" if line.active_at is None else f"{duration(max(0.0, now - line.active_at))} ago"
    text = (
        f"{_name(line):<{width}}  {line.activity:<8}{done:>12}  {line.host[:10] or '-':<10} {line.job_id or '-':<12} "
        f"{active:<13}{line.restarts}"
    )
    notes = [line.note] if line.note else []
    if line.counts["failed"]:
        notes.append(f"{line.counts['failed']:,} failed")
    return text + (f"\n{'':<{width}}  {'; '.join(notes)}" if notes else "")


def _name(line: ShardLine) -> str:
    return f"{line.shard.subset.removesuffix('_segments')}.{shard_suffix(line.shard.number)}"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment))


def _iso(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")
