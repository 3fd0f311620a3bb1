"""The overview as JSON. Scripts rely on the keys, which docs/status.md describes."""

from __future__ import annotations

from typing import Any

from audioset_batch.egress import EgressStatus
from audioset_batch.record.settings import iso_time
from audioset_batch.status.collect import Overview, ShardLine, SubsetLine
from audioset_batch.youtube.versions import age_days


def to_json(overview: Overview) -> dict[str, Any]:
    """The complete overview with every shard. Times are UTC in ISO 8601, durations are seconds."""
    return {
        "data_dir": overview.data_dir,
        "at": iso_time(overview.at),
        "totals": _subset(overview.total),
        "subsets": {line.name: _subset(line) for line in overview.subsets},
        "segments_per_hour": overview.pace,
        "videos_per_hour_allowed": overview.budget,
        "left": overview.left,
        "next_steps": list(overview.next_steps),
        "seconds_left_at_pace": overview.seconds_at_pace,
        "seconds_left_at_budget": overview.seconds_at_budget,
        "costs": overview.costs.to_json(overview.asked, overview.need, overview.left),
        "slurm": overview.slurm,
        "slurm_says": overview.slurm_says,
        "ytdlp": {"version": overview.ytdlp_version, "age_days": age_days(overview.ytdlp_version)},
        "resubmit": list(overview.resubmit),
        "egresses": [_egress(one) for one in overview.egresses],
        "shards": [_shard(line) for line in overview.shards],
    }


def _subset(line: SubsetLine) -> dict[str, Any]:
    return {
        "shards": line.shards,
        "planned": line.planned,
        **line.counts,
        "reasons": dict(line.reasons),
        "unrecognized": dict(line.words),
    }


def _egress(one: EgressStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "proxy": one.proxy,
        "state": one.state,
        "budget": one.budget,
        "window_seconds": one.window_seconds,
        "used": one.used,
        "left": one.left,
        "since": _moment(one.since),
        "until": _moment(one.until),
        "kind": one.kind,
        "detail": one.detail,
        "prober": one.prober,
        "pauses": len(one.pauses),
    }


def _shard(line: ShardLine) -> dict[str, Any]:
    return {
        "subset": line.seen.shard.subset,
        "shard": line.seen.shard.number,
        "planned": line.seen.planned,
        "counts": dict(line.seen.counts),
        "reasons": dict(line.seen.reasons),
        "activity": line.activity,
        "note": line.note,
        "host": line.host,
        "job_id": line.job_id,
        "restarts": line.restarts,
        "segments_per_hour": line.pace,
        "active_at": _moment(line.active_at),
        "counted_at": _moment(line.seen.counted_at),
        "exact": line.seen.exact,
    }


def _moment(time: float | None) -> str | None:
    return None if time is None else iso_time(time)
