"""The overview: one line per shard, and totals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from audioset_batch.config import Config
from audioset_batch.config.reservation import Reservation, budget_of, estimated_cpu_seconds, needed, reserved
from audioset_batch.egress import EgressStatus, read_egress_status
from audioset_batch.layout import DataDir, no_shards
from audioset_batch.record.costs import Costs, read_costs
from audioset_batch.record.resubmission import Resubmission, commands, read_resubmissions
from audioset_batch.record.settings import unix_time
from audioset_batch.record.usage import cpu_seconds_per_segment
from audioset_batch.sharedfs.publish import storage
from audioset_batch.status.next_steps import next_steps
from audioset_batch.status.queue import Queue, read_queue
from audioset_batch.status.settings import ytdlp_version
from audioset_batch.status.shards import LIVE_SECONDS, STATUSES, Counted, Seen, ShardReader

Activity = Literal["done", "running", "queued", "stopped", "lost", "open"]
_ASK_SLURM_SECONDS: Final = 30.0
"""Seconds between two requests to SLURM in watch mode, to spare its controller."""

_READ_COSTS_SECONDS: Final = 300.0
"""The same for sacct, which queries a database."""


@dataclass(frozen=True, slots=True)
class ShardLine:
    """One shard and the task that works on it.

    Attributes:
        activity: `done`; `running`; `queued` in SLURM, or after a shard of another subset in its task; `stopped` on
            purpose or by SLURM; `lost`: its worker died and no other has taken over; `open`: work is left and no task
            works on it.
        job_id: The task that worked on it last, or that will.
        restarts: How often SLURM restarted that task.
        active_at: Unix time of the last activity; None if no worker has started it.
        pace: Segments per hour over the last hour; 0 without a live worker.
        note: Why it stopped, or how SLURM ended it.
    """

    seen: Seen
    activity: Activity
    host: str
    job_id: str
    restarts: int
    active_at: float | None
    pace: float
    note: str


@dataclass(frozen=True, slots=True)
class SubsetLine(Counted):
    """One subset, or all of them."""

    name: str
    shards: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What `status` shows. Times are Unix times, durations are seconds.

    Attributes:
        pace: Segments per hour over the last hour, of all live workers.
        budget: Videos per hour that all egresses together allow; None if one has no budget.
        left: Segments that are failed or pending.
        next_steps: Commands still to run when no segment is left: `merge` and `report`, `report`, or none.
        seconds_at_pace, seconds_at_budget: Expected time for the segments left; None if unknown.
        slurm: `answered`, `silent` (then `slurm_says` has the error) or `none`.
        costs: Resources held and used so far.
        asked, need: What `slurm:` of the config requests, and what the budgets need at the measured CPU time.
        resubmit: Lines about shards that no task will continue, with the commands that continue them.
        ytdlp_version: The version of the last worker, or a newer one that the next would use; "" if unknown.
    """

    data_dir: str
    at: float
    subsets: Sequence[SubsetLine]
    total: SubsetLine
    shards: Sequence[ShardLine]
    egresses: Sequence[EgressStatus]
    pace: float
    budget: float | None
    left: int
    next_steps: Sequence[str]
    seconds_at_pace: float | None
    seconds_at_budget: float | None
    slurm: Literal["answered", "silent", "none"]
    slurm_says: str
    costs: Costs
    asked: Reservation
    need: Reservation
    ytdlp_version: str = ""
    resubmit: Sequence[str] = ()


class Collector:
    """Collects the overview, once or repeatedly. Files that have not changed are not read again.

    Args:
        data: The data directory.
        config: The config of the run.
        exact: Read every manifest that is newer than its state file, however long that takes.
        ask_slurm: Whether to ask SLURM for its queue.
    """

    def __init__(self, data: DataDir, config: Config, *, exact: bool = False, ask_slurm: bool = True) -> None:
        self._data = data
        self._config = config
        self._reader = ShardReader(data, exact=exact)
        self._ask_slurm = ask_slurm
        self._queue = Queue()
        self._asked_at = float("-inf")
        self._costs = Costs()
        self._costs_at = float("-inf")

    def look(self) -> Overview:
        """The current overview.

        Raises:
            InputRefused: there are no shards.
            StorageUnusable: the filesystem fails.
        """
        with storage(self._data.root):
            found = self._reader.read()
            subsets = self._data.subsets_present()
        if not found:
            raise no_shards(self._data.root)
        notes = read_resubmissions(self._data) if any(seen.left for seen in found) else []
        queue = self._read_queue(found, notes)
        tasks = _Tasks(queue, subsets, found)
        lines = [_line(seen, tasks) for seen in found]
        total = _sum("all", found)
        pace = sum(line.pace for line in lines)
        budget = budget_of(self._config)
        left = total.left
        costs = self._read_costs()
        seconds = cpu_seconds_per_segment(costs.tasks, estimated_cpu_seconds(self._config))
        with storage(self._data.root):
            steps = () if left else next_steps(self._data, found)
        abandoned = {str(line.seen.shard) for line in lines if line.activity not in ("done", "running", "queued")}
        lost = [n for n in notes if n.shard in abandoned and n.job_id not in queue.waiting | queue.running]
        return Overview(
            data_dir=str(self._data.root),
            at=time.time(),
            subsets=[_sum(name, [seen for seen in found if seen.shard.subset == name]) for name in subsets],
            total=total,
            shards=lines,
            egresses=read_egress_status(self._config.egress_dir or self._data.egress, self._config.egress),
            pace=round(pace, 1),
            budget=budget,
            left=left,
            next_steps=steps,
            seconds_at_pace=3600 * left / pace if pace > 0 else None,
            seconds_at_budget=3600 * left / budget if budget else None,
            slurm="answered" if queue.answered else "silent" if queue.why_not else "none",
            slurm_says=queue.why_not,
            costs=costs,
            asked=reserved(self._config, seconds),
            need=needed(self._config, seconds),
            ytdlp_version=ytdlp_version(self._data),
            resubmit=commands(lost),
        )

    def _read_costs(self) -> Costs:
        if time.monotonic() - self._costs_at >= _READ_COSTS_SECONDS:
            self._costs = read_costs(self._data, ask_slurm=self._ask_slurm)
            self._costs_at = time.monotonic()
        return self._costs

    def _read_queue(self, found: Sequence[Seen], notes: Sequence[Resubmission]) -> Queue:
        if self._ask_slurm and time.monotonic() - self._asked_at >= _ASK_SLURM_SECONDS:
            jobs = {note.job_id: note.number for note in notes}
            jobs |= {seen.state.job_id: seen.shard.number for seen in found if seen.state is not None}
            unfinished = [seen.state.job_id for seen in found if seen.state is not None and seen.left]
            self._queue = read_queue(self._data, jobs, unfinished)
            self._asked_at = time.monotonic()
        return self._queue


def collect(data: DataDir, config: Config, *, exact: bool = False, ask_slurm: bool = True) -> Overview:
    """`Collector.look`, once."""
    return Collector(data, config, exact=exact, ask_slurm=ask_slurm).look()


class _Tasks:
    """Which task works on a shard, or will. A task does one shard of each subset, in the order of the subsets."""

    def __init__(self, queue: Queue, subsets: Sequence[str], found: Sequence[Seen]) -> None:
        self.queue = queue
        self._place = {subset: place for place, subset in enumerate(subsets)}
        by_shard = [(shard, task) for task, shards in queue.shards.items() for shard in shards]
        self._waiting = {shard: task for shard, task in by_shard if task in queue.waiting}
        # A job for several shards goes from one to the next.
        self._serving = {shard: task for shard, task in by_shard if task in queue.running and "_" not in task}
        self._at: dict[int, Seen] = {seen.shard.number: seen for seen in found if seen.at_work}

    def coming(self, seen: Seen) -> tuple[str, str] | None:
        """The task that will work on this shard, and what it waits for; None if there is none."""
        before = self._at.get(seen.shard.number)
        if before is not None and before.state is not None:
            if self._place[before.shard.subset] < self._place[seen.shard.subset]:
                return before.state.job_id, f"after {before.shard}"
            return None
        known = seen.state.job_id if seen.state is not None else ""
        job = known if known in self.queue.waiting else self._waiting.get(seen.shard.number)
        job = job or self._serving.get(seen.shard.number)
        if job is None or (job == known and job in self.queue.running):
            return None
        return job, "" if seen.state is None else seen.state.note


def _line(seen: Seen, tasks: _Tasks) -> ShardLine:
    state = seen.state
    job = "" if state is None else state.job_id
    coming = tasks.coming(seen) if seen.left and not seen.at_work else None
    if coming is not None:
        activity: Activity = "queued"
        job, note = coming
    else:
        activity, note = _activity(seen, tasks.queue)
    updated = None if state is None else unix_time(state.updated_at)
    pace = 0.0
    if activity == "running" and state is not None and updated is not None:
        fresh = time.time() - updated < LIVE_SECONDS and state.lately_seconds > 0
        pace = 3600 * state.finished_lately / state.lately_seconds if fresh else 0.0
    signs = [moment for moment in (updated, seen.written_at) if moment is not None]
    return ShardLine(
        seen=seen,
        activity=activity,
        host="" if state is None else state.host,
        job_id=job,
        restarts=0 if state is None else state.restart_count,
        active_at=max(signs, default=None),
        pace=round(pace, 1),
        note=note,
    )


def _activity(seen: Seen, queue: Queue) -> tuple[Activity, str]:
    """Activity and note of a shard that no queued task will work on."""
    if seen.at_work:
        return "running", ""
    if not seen.left:
        return "done", ""
    state = seen.state
    if state is None:
        return "open", ""
    end = queue.ended.get(state.job_id)
    ended = "" if end is None else f"SLURM: {end.state}, exit {end.exit_code}"
    if state.finished:  # the worker released it; without a note it reached the end
        return ("stopped", "; ".join(filter(None, (state.note, ended)))) if state.note else ("open", "")
    if ended:
        return "stopped", ended
    if seen.lease is not None:
        return "lost", f"{seen.lease.holder} gave no sign of life for {max(0.0, seen.lease.age_seconds):.0f} s"
    return "open", state.note


def _sum(name: str, shards: Sequence[Seen]) -> SubsetLine:
    reasons: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for seen in shards:
        reasons.update(seen.reasons)
        words.update(seen.words)
    counts = {word: sum(seen.counts[word] for seen in shards) for word in STATUSES}
    planned = sum(seen.planned for seen in shards)
    return SubsetLine(planned, counts, dict(reasons.most_common()), dict(words.most_common()), name, len(shards))
