"""What is left to do, the resources it takes, and the time at the budgets of the egresses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from audioset_batch.config import Config
from audioset_batch.config.reservation import cost_line, excess
from audioset_batch.humanize import counted, duration, size
from audioset_batch.layout import DataDir
from audioset_batch.sharedfs.publish import storage
from audioset_batch.status.collect import Overview
from audioset_batch.status.expectation import Expectation, expect


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the segments left will take. Times are in seconds, sizes in bytes.

    Attributes:
        left: Segments that are failed or pending, by subset.
        total: The same over all subsets.
        addresses: Number of egresses.
        budget: Videos per hour of all egresses together; None if one has no budget.
        seconds: Time at that budget; None without one.
        seconds_times_ten: Time with ten times as many such addresses.
        requests, fetched_bytes, clips, disk_bytes: Expected values for the segments left.
        free_bytes: Free space in the filesystem of the data directory.
        uncounted_shards: Shards with uncounted rows; fewer segments are left than `total`.
        expectation: The means or estimates behind the expected values.
        cost: Core-hours and GB-hours for the segments left, in words; empty without a budget.
        too_much: What to change in `slurm:` if it requests more than twice the need; else empty.
    """

    left: Mapping[str, int]
    total: int
    addresses: int
    budget: float | None
    seconds: float | None
    seconds_times_ten: float | None
    requests: float
    fetched_bytes: float
    clips: float
    disk_bytes: float
    free_bytes: int
    uncounted_shards: int
    expectation: Expectation
    cost: str
    too_much: str


def forecast(data: DataDir, config: Config, overview: Overview) -> Forecast:
    """Forecast from an overview.

    Raises:
        StorageUnusable: the filesystem does not answer.
    """
    left = {line.name: line.left for line in overview.subsets}
    total = sum(left.values())
    each = expect(data, config)
    with storage(data.root):
        facts = os.statvfs(data.root)
    seconds = 3600 * total / overview.budget if overview.budget else None
    return Forecast(
        left=left,
        total=total,
        addresses=len(config.egress),
        budget=overview.budget,
        seconds=seconds,
        seconds_times_ten=None if seconds is None else seconds / 10,
        requests=total * each.requests,
        fetched_bytes=total * each.fetched_bytes,
        clips=total * each.available,
        disk_bytes=total * each.available * each.clip_bytes,
        free_bytes=facts.f_bavail * facts.f_frsize,
        uncounted_shards=sum(not line.seen.exact for line in overview.shards),
        expectation=each,
        cost=cost_line(overview.asked, total),
        too_much=excess(overview.asked, overview.need) if total else "",
    )


def render(plan: Forecast) -> str:
    """The forecast as text."""
    width = max(len(name) for name in plan.left)
    lines = [f"{'':<{width}}{'left':>12}"]
    lines += [f"{name:<{width}}{count:>12,}" for name, count in plan.left.items()]
    if plan.uncounted_shards:
        shards = "1 shard has" if plan.uncounted_shards == 1 else f"{plan.uncounted_shards:,} shards have"
        lines += ["", f"{shards} rows that are NOT COUNTED here: less is left; --exact counts them"]
    lines += ["", _time(plan)]
    if not plan.total:
        return "\n".join(lines)
    each = plan.expectation
    source = f"the means of {each.counted:,} rows so far" if each.counted else "estimates, until 100 rows are there"
    free = "" if plan.disk_bytes <= plan.free_bytes else ", which is NOT ENOUGH"
    lines += [
        "",
        f"expected clips  {plan.clips:>10,.0f}   {100 * each.available:.0f}% of what is left",
        f"requests        {plan.requests:>10,.0f}   {each.requests:.1f} a segment",
        f"to fetch        {size(plan.fetched_bytes):>10}   {each.fetched_bytes / 1e3:,.0f} kB a segment",
        f"on the disk     {size(plan.disk_bytes):>10}   {each.clip_bytes / 1e6:.2f} MB a clip; "
        f"{size(plan.free_bytes)} free{free}",
        f"({source})",
        *([f"on a cluster    {plan.cost}"] if plan.cost else []),
        *([f"warning: {plan.too_much}"] if plan.too_much else []),
    ]
    return "\n".join(lines)


def _time(plan: Forecast) -> str:
    if not plan.total:
        return "nothing is left to do"
    ways = "1 address" if plan.addresses == 1 else f"{plan.addresses} addresses"
    segments = counted(plan.total, "segment")
    if plan.budget is None or plan.seconds is None or plan.seconds_times_ten is None:
        return f"{segments} behind {ways} without a budget (videos_per_hour: null): no telling how long"
    together = "" if plan.addresses == 1 else " together"
    text = f"{segments} behind {ways} at {plan.budget:,.0f} an hour{together}: {duration(plan.seconds)}"
    more = f"with 10 proxies: {duration(plan.seconds_times_ten)}" if plan.addresses == 1 else ""
    return f"{text}; {more}" if more else text
