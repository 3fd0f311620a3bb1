"""Every shard in one line, and their sums."""

from __future__ import annotations

import datetime
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from audioset_batch.adapters.lease import LeaseInfo, read_lease
from audioset_batch.adapters.publish import storage
from audioset_batch.config import Config
from audioset_batch.config.schema import Egress
from audioset_batch.egress import EgressStatus, read_egress_status
from audioset_batch.errors import InputRefused
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.header import promised_rows
from audioset_batch.record.manifest import warn_of_problem
from audioset_batch.record.state import ShardState, read_state
from audioset_batch.status.queue import Queue, read_queue

Activity = Literal["done", "running", "queued", "stopped", "lost", "open"]
STATUSES: Final = ("ok", "unavailable", "failed", "pending")
_STALE_SECONDS: Final = 5.0
"""A manifest that was written so long after its state file says more than it."""
_MOST_RECOUNTED: Final = 40
"""Shards whose manifests are read for a status; with more of them it would keep people waiting."""
_LIVE_SECONDS: Final = 180.0
"""A state file is written every 30 s; one that is older does not count for the pace."""


@dataclass(frozen=True, slots=True)
class ShardLine:
    """One shard.

    Attributes:
        counts: Segments by `ok`, `unavailable`, `failed`, `pending`.
        reasons: Unavailable and failed segments by reason.
        activity: `done`; `running`; `queued` in SLURM; `stopped` on purpose or ended by SLURM; `lost`: its worker died
            and nobody has taken over; `open`: there is work left and nobody at it.
        job_id: The task that worked on it last, or is to.
        restarts: Of that task.
        active_at: Unix time of the last sign of life; None if it was never begun.
        pace: Segments per hour over the last hour, of a worker that is alive.
        note: Why it stopped, how SLURM ended it.
        exact: False if the manifest is newer than these counts.
    """

    shard: ShardId
    planned: int
    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    activity: Activity
    host: str = ""
    job_id: str = ""
    restarts: int = 0
    active_at: float | None = None
    pace: float = 0.0
    note: str = ""
    exact: bool = True


@dataclass(frozen=True, slots=True)
class SubsetLine:
    """One subset, or all of them."""

    name: str
    shards: int
    planned: int
    counts: Mapping[str, int]
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Overview:
    """What `status` shows. Times are Unix times, durations seconds.

    Attributes:
        pace: Segments per hour over the last hour, of all workers that are alive.
        budget: Videos per hour that all egresses together allow; None: at least one has no budget.
        left: Segments that are failed or pending.
        seconds_at_pace, seconds_at_budget: For these; None if it cannot be told.
        slurm: `answered`, `silent` (with `slurm_says`) or `none`.
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
    seconds_at_pace: float | None
    seconds_at_budget: float | None
    slurm: Literal["answered", "silent", "none"]
    slurm_says: str


def collect(data: DataDir, config: Config, *, exact: bool = False, ask_slurm: bool = True) -> Overview:
    """Look at everything once.

    Args:
        exact: Read every manifest that is newer than its state file, however many these are.
        ask_slurm: Whether to ask what its queue says of the shards.

    Raises:
        InputRefused: there are no shards.
        StorageUnusable: the filesystem fails.
    """
    with storage(data.root):
        shards = [shard for subset in data.subsets_present() for shard in data.shards(subset)]
        if not shards:
            raise InputRefused(f"{data.root}: no shards (*.csv.NN) here; ./download_subset_files.sh DATADIR makes them")
        looker = _Looker(data, 10**9 if exact else _MOST_RECOUNTED)
        found = [looker.look(shard) for shard in shards]
    open_jobs = [seen.state.job_id for seen in found if seen.state is not None and seen.left]
    jobs = [seen.state.job_id for seen in found if seen.state is not None]
    queue = read_queue(data, jobs, open_jobs) if ask_slurm else Queue()
    queued_shards = {shard: task for task, shard in queue.shards.items() if task in queue.waiting}
    lines = [_line(seen, queue, queued_shards) for seen in found]
    subsets = [_sum(name, [line for line in lines if line.shard.subset == name]) for name in data.subsets_present()]
    total = _sum("all", lines)
    pace = sum(line.pace for line in lines)
    budgets = [one.videos_per_hour for one in config.egress]
    budget = None if None in budgets else float(sum(one for one in budgets if one is not None))
    left = total.counts["failed"] + total.counts["pending"]
    return Overview(
        data_dir=str(data.root),
        at=time.time(),
        subsets=subsets,
        total=total,
        shards=lines,
        egresses=_egresses(data, config),
        pace=round(pace, 1),
        budget=budget,
        left=left,
        seconds_at_pace=3600 * left / pace if pace > 0 else None,
        seconds_at_budget=3600 * left / budget if budget else None,
        slurm="answered" if queue.answered else "silent" if queue.why_not else "none",
        slurm_says=queue.why_not,
    )


def _egresses(data: DataDir, config: Config) -> list[EgressStatus]:
    folder = config.egress_dir or data.egress
    egresses: Sequence[Egress] = config.egress
    return read_egress_status(folder, egresses)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the filesystem says of one shard."""

    shard: ShardId
    planned: int
    counts: dict[str, int]
    reasons: dict[str, int]
    state: ShardState | None
    lease: LeaseInfo | None
    written_at: float | None
    exact: bool

    @property
    def left(self) -> int:
        return self.planned - self.counts["ok"] - self.counts["unavailable"]


class _Looker:
    """Reads small files only, but for manifests that are newer than what the state file says of them."""

    def __init__(self, data: DataDir, most_recounted: int) -> None:
        self._data = data
        self._left = most_recounted
        self._manifests = _modified(data.manifests, ".jsonl")
        self._states = _modified(data.states, ".json")
        self._leases = _modified(data.states, ".lease")

    def look(self, shard: ShardId) -> _Seen:
        name = str(shard)
        state = read_state(self._data.state(shard)) if name in self._states else None
        written = self._manifests.get(name)
        lease = None
        if name in self._leases and (state is None or not state.finished):
            lease = read_lease(self._data.lease(shard))
        stale = written is not None and (state is None or written > self._states[name] + _STALE_SECONDS)
        if stale and self._left > 0:
            self._left -= 1
            return self._recount(shard, state, lease, written)
        if state is not None:
            planned, counts, reasons = state.planned, dict(state.counts), dict(state.reasons)
        else:
            promised = promised_rows(self._data.shard_csv(shard))
            if promised is None:
                return self._recount(shard, state, lease, written)
            planned = promised
            counts, reasons = {}, {}
        full = {word: counts.get(word, 0) for word in STATUSES}
        full["pending"] = planned - full["ok"] - full["unavailable"] - full["failed"]
        return _Seen(shard, planned, full, reasons, state, lease, written, not stale)

    def _recount(
        self, shard: ShardId, state: ShardState | None, lease: LeaseInfo | None, written: float | None
    ) -> _Seen:
        from audioset_batch.merge.shard_table import shard_table  # pandas and Arrow: only where rows are read

        table = shard_table(self._data, shard, warn_of_problem).planned
        statuses = Counter(table.column("status").to_pylist())
        counts = {word: statuses.get(word, 0) for word in STATUSES}
        pairs = zip(table.column("status").to_pylist(), table.column("reason").to_pylist(), strict=True)
        reasons = Counter(reason for status, reason in pairs if status in ("unavailable", "failed"))
        return _Seen(shard, table.num_rows, counts, dict(reasons), state, lease, written, exact=True)


def _modified(folder: os.PathLike[str], ending: str) -> dict[str, float]:
    """Names without `ending`, and when they were changed: one listing instead of a question per shard."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name.endswith(ending)]
            return {entry.name.removesuffix(ending): entry.stat().st_mtime for entry in found}
    except FileNotFoundError:
        return {}


def _line(seen: _Seen, queue: Queue, queued_shards: Mapping[int, str]) -> ShardLine:
    state = seen.state
    job = "" if state is None else state.job_id
    updated = None if state is None else _unix(state.updated_at)
    activity, note = _activity(seen, queue, queued_shards)
    pace = 0.0
    if activity == "running" and state is not None and updated is not None:
        fresh = time.time() - updated < _LIVE_SECONDS and state.lately_seconds > 0
        pace = 3600 * state.finished_lately / state.lately_seconds if fresh else 0.0
    if activity == "queued" and job not in queue.waiting:
        job = queued_shards.get(seen.shard.number, job)
    signs = [moment for moment in (updated, seen.written_at) if moment is not None]
    return ShardLine(
        shard=seen.shard,
        planned=seen.planned,
        counts=seen.counts,
        reasons=seen.reasons,
        activity=activity,
        host="" if state is None else state.host,
        job_id=job,
        restarts=0 if state is None else state.restart_count,
        active_at=max(signs, default=None),
        pace=round(pace, 1),
        note=note,
        exact=seen.exact,
    )


def _activity(seen: _Seen, queue: Queue, queued_shards: Mapping[int, str]) -> tuple[Activity, str]:
    state = seen.state
    job = "" if state is None else state.job_id
    if state is not None and not state.finished and seen.lease is not None and seen.lease.alive:
        return "running", ""
    if not seen.left:
        return "done", ""
    if job in queue.waiting or seen.shard.number in queued_shards:
        return "queued", "" if state is None else state.note
    if job in queue.ended:
        return "stopped", f"SLURM: {queue.ended[job]}"
    if seen.lease is not None and state is not None and not state.finished:
        return "lost", f"{seen.lease.holder} gave no sign of life for {max(0.0, seen.lease.age_seconds):.0f} s"
    if state is not None and state.note:
        return "stopped", state.note
    return "open", ""


def _sum(name: str, lines: Sequence[ShardLine]) -> SubsetLine:
    reasons: Counter[str] = Counter()
    for line in lines:
        reasons.update(line.reasons)
    counts = {word: sum(line.counts[word] for line in lines) for word in STATUSES}
    return SubsetLine(name, len(lines), sum(line.planned for line in lines), counts, dict(reasons.most_common()))


def _unix(text: str) -> float | None:
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
