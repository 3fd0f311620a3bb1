"""The main loop of a worker over its open shards, which share processes and egresses.

A shard that is nearly done cannot keep the worker busy: it waits for retries, held answers or a last slow clip. The
next shard is therefore opened whenever another job could start and no entry is ready.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.config import Config
from audioset_batch.egress import EgressPool, Grant, Verdict, Wait
from audioset_batch.errors import (
    EgressExhausted,
    InputRefused,
    Interrupted,
    PlanChanging,
    ShardHeld,
    StopEarly,
    StopRun,
    StorageUnusable,
    UsageError,
)
from audioset_batch.humanize import counted
from audioset_batch.layout import ShardId
from audioset_batch.reasons import Reason, Status
from audioset_batch.worker.held_answers import decide_held
from audioset_batch.worker.messages import Attempt, AttemptResult, Job
from audioset_batch.worker.pool import Pool, WorkerExit
from audioset_batch.worker.segment_queue import QueueEntry
from audioset_batch.worker.shard import OpenShard
from audioset_batch.worker.stop import StopRequest

MAX_OPEN_SHARDS: Final = 16
"""Each open shard costs some file descriptors, a thread and heartbeats for its lease, and is unavailable to others.
This many keep a worker with 8 threads busy on shards with a single row."""
_MAX_UNUSABLE_SHARDS: Final = 2
"""Shards whose files cannot be used, for lack of permission, say. If there are more, the filesystem is at fault."""
_MAX_RECHECK_SECONDS: Final = 600.0
_MAX_WAIT_SECONDS: Final = 0.5
_MIN_WAIT_SECONDS: Final = 0.01
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _InFlight:
    """A job without an answer. A probe has no shard and no entry."""

    shard: OpenShard | None
    entry: QueueEntry | None
    grant: Grant


@dataclass(slots=True)
class _BusyShard:
    """A shard that another worker holds, to be tried again at `due`, when the lease of a dead worker has expired."""

    shard: ShardId
    error: ShardHeld
    due: float
    holder_alive: bool = False


class Coordinator:
    """Works through shards. Only this class publishes clips and records rows.

    Args:
        config: As loaded.
        shards: The shards to work through, in this order.
        open_shard: Opens a shard.
        pool: The worker processes.
        egress: The egresses, shared with all other tasks.
        stop: Set when the worker is to stop.
        rows: Rows of this run by status, which the open shards increment.
    """

    def __init__(
        self,
        config: Config,
        shards: Sequence[ShardId],
        open_shard: Callable[[ShardId], OpenShard],
        pool: Pool,
        egress: EgressPool,
        stop: StopRequest,
        rows: Counter[Status],
    ) -> None:
        self._config = config
        self._open_shard = open_shard
        self._pool = pool
        self._egress = egress
        self._stop = stop
        self._pending = deque(shards)
        self._busy: list[_BusyShard] = []
        self._recheck_seconds = min(config.worker.lease_seconds, _MAX_RECHECK_SECONDS)
        self._open: list[OpenShard] = []
        self._any_opened = False
        self._errors: list[StopRun] = []
        self._in_flight: dict[int, _InFlight] = {}
        self._numbers = itertools.count(1)
        self._counts: Counter[Status] = Counter()
        self._rows = rows

    @property
    def idle(self) -> bool:
        """True if nothing was finished although an egress was open."""
        return not self._rows and self._egress.any_open

    @property
    def unsettled(self) -> bool:
        """True if answers are held or retries are due, which the next run would have to begin again."""
        return any(shard.unsettled for shard in self._open)

    def run(self) -> Counter[Status]:
        """Process the segments that are not settled; returns planned segments by status, including `pending`.

        Raises:
            ShardHeld: another worker has one of the shards, or took it over; the others were worked through.
            InputRefused: a shard cannot be read; the others were worked through.
            Interrupted, EgressExhausted, StorageUnusable: stopped early; what is not recorded is pending.
                `StorageUnusable` also if the files of a shard or two cannot be used, after the others.
            UsageError: yt-dlp does not accept `youtube.args`.
        """
        try:
            self._work()
        except BaseException as error:
            self._abandon_in_flight()
            self._close_all(error)
            raise
        if self._errors:
            # First the errors after which a SLURM task is requeued.
            worst = (PlanChanging, StorageUnusable, InputRefused, ShardHeld)
            raised = min(self._errors, key=lambda one: [isinstance(one, kind) for kind in worst].index(True))
            for one in self._errors:
                if one is not raised:
                    _log.error("%s", one)
            raise raised
        return self._counts

    # The loop

    def _work(self) -> None:
        ending: StopEarly | None = None
        deadline = float("inf")
        while True:
            opened = False
            if ending is None:
                if self._stop.is_set():
                    ending = Interrupted(f"stopped by {self._stop.why}")
                    deadline = time.monotonic() + self._config.worker.grace_seconds
                else:
                    opened = self._open_next()
                    ending = self._start_jobs()
            elif self._stop.is_set():
                deadline = min(deadline, time.monotonic() + self._config.worker.grace_seconds)
            closed = self._close_finished()
            if not (self._open or self._in_flight or self._pending or self._busy):
                return  # also if a signal came during the last clip
            if ending is not None and (not self._in_flight or time.monotonic() >= deadline):
                raise ending
            poll_interval = (
                0.0 if opened or closed else max(_MIN_WAIT_SECONDS, self._egress.poll_interval(_MAX_WAIT_SECONDS))
            )
            for event in self._pool.wait(poll_interval):
                if isinstance(event, WorkerExit):
                    self._on_worker_exit(event)
                else:
                    self._on_attempt(event)
            for shard in self._open:
                with shard.isolating_errors():
                    shard.review_held()
                    shard.report_progress()

    # Opening and closing

    def _open_next(self) -> bool:
        """Open one more shard if there is room for its jobs; True if something has changed."""
        if len(self._open) >= MAX_OPEN_SHARDS or not self._pool.can_take():
            return False
        now = time.monotonic()
        # An entry for which a slot is reserved counts as started.
        if sum(shard.queue.ready(now) for shard in self._open) > self._egress.reserved:
            return False
        if self._pending:
            return self._try_to_open(_BusyShard(self._pending.popleft(), ShardHeld(), now), last=False)
        last = not (self._open or self._in_flight)
        for one in self._busy:
            if now >= one.due or (last and (one.holder_alive or not self._any_opened)):
                self._busy.remove(one)
                if last and not self._any_opened:  # all shards are held: another worker does the work of this one
                    self._errors.append(one.error)
                    return True
                one.holder_alive = now >= one.due
                return self._try_to_open(one, last=last)
        return False

    def _try_to_open(self, one: _BusyShard, *, last: bool) -> bool:
        try:
            self._open.append(self._open_shard(one.shard))
            self._any_opened = True
        except ShardHeld as error:
            if last:
                self._errors.append(error)
            else:
                if not one.holder_alive and (self._open or self._pending):
                    _log.warning("%s; the other shards come first", error)
                one.error, one.due = error, time.monotonic() + self._recheck_seconds
                self._busy.append(one)
        except (InputRefused, StorageUnusable) as error:
            unusable = sum(isinstance(one, StorageUnusable) for one in self._errors)
            if isinstance(error, StorageUnusable) and unusable >= _MAX_UNUSABLE_SHARDS:
                raise  # more than a few shards: the filesystem is at fault
            _log.error("%s; the other shards are worked through", error)
            self._errors.append(error)
        return True

    def _close_finished(self) -> bool:
        """Close shards that are done or lost; True if there were any."""
        finished = [shard for shard in self._open if shard.done]
        for shard in finished:
            with shard.isolating_errors():
                if shard.lost is None:
                    self._counts += shard.finish()
            if shard.lost is not None:
                self._errors.append(shard.lost)
            self._open.remove(shard)
            shard.close(shard.lost)
        return bool(finished)

    def _close_all(self, error: BaseException) -> None:
        for shard in self._open:
            try:
                shard.close(shard.lost or error)
            except StopRun as further:
                _log.warning("%s", further)  # the original error is more informative
        self._open = []

    def _abandon_in_flight(self) -> None:
        """Kill what is in flight, which stays pending: it would write into a folder that is being removed."""
        for in_flight in self._in_flight.values():
            in_flight.grant.release()
        if self._in_flight:
            _log.info("dropped %d segments in flight; they stay pending", len(self._in_flight))
            self._in_flight.clear()
            self._pool.kill()

    # Jobs

    def _start_jobs(self) -> StopEarly | None:
        """Start jobs until processes, egresses or segments run out; an error means that no more may be started."""
        try:
            self._decide_held()
            while not self._stop.is_set() and self._start_job():
                pass
        except EgressExhausted as error:
            # What is in flight may be held or have to be retried, which can change how long to wait: ask again then.
            return None if self._in_flight else error
        return None

    def _decide_held(self) -> None:
        """Have held answers decided if nothing else is left to resolve."""
        held = [one for shard in self._open for one in shard.held]
        if not held or self._in_flight or any(len(shard.queue) for shard in self._open):
            return
        if self._pending and len(self._open) < MAX_OPEN_SHARDS:
            return
        decide_held(self._egress, held)
        for shard in self._open:
            with shard.isolating_errors():
                shard.review_held()

    def _start_job(self) -> bool:
        """Start a probe or a segment, or record a segment that needs no job; False if there is none to start now."""
        # Called also while a probe of this task is in flight, so that no other task takes it over.
        probing = any(in_flight.entry is None for in_flight in self._in_flight.values())
        room = self._pool.can_take()
        probe = self._egress.probe_due(may_begin=room) if probing or room else None
        if probe is not None:
            self._submit(None, None, probe)
            return True
        now = time.monotonic()
        shard, entry = next(
            ((shard, entry) for shard in self._open if (entry := shard.queue.peek(now)) is not None), (None, None)
        )
        if shard is None or entry is None or not self._pool.can_take(alone=entry.suspect):
            return False
        recorded = True
        with shard.isolating_errors():
            recorded = shard.record_published(entry)
        if recorded:
            return True
        grant = self._egress.try_acquire(min(sum(len(one.queue) for one in self._open), self._pool.free))
        if isinstance(grant, Wait):
            return False
        taken = None
        with shard.isolating_errors():
            taken = shard.take()
        if taken is None:
            grant.release()
        else:
            self._submit(shard, taken, grant)
        return True

    def _submit(self, shard: OpenShard | None, entry: QueueEntry | None, grant: Grant) -> None:
        number = next(self._numbers)
        job = Job(
            number=number,
            segment=None if entry is None else entry.segment,
            probe=grant.probe_ytid,
            egress=grant.index,
            tmp_dir=Path() if shard is None else shard.tmp_dir,
            timeout=self._config.worker.segment_timeout,
            start_by=grant.start_by,
        )
        self._in_flight[number] = _InFlight(shard, entry, grant)
        self._pool.submit(job, alone=entry is not None and entry.suspect)

    # Answers

    def _remove_in_flight(self, number: int) -> _InFlight | None:
        in_flight = self._in_flight.pop(number, None)
        if in_flight is not None and in_flight.shard is not None:
            in_flight.shard.in_flight -= 1
        return in_flight

    def _on_attempt(self, attempt: Attempt) -> None:
        in_flight = self._remove_in_flight(attempt.number)
        if in_flight is None:
            return
        shard, entry, grant = in_flight.shard, in_flight.entry, in_flight.grant
        verdict = Verdict.RECORD
        if attempt.result is AttemptResult.BLOCKED:
            _log.warning("egress %s is blocked: %s", grant.name, attempt.detail)
            grant.blocked(attempt.detail)
        elif attempt.result in (AttemptResult.USAGE_ERROR, AttemptResult.SLOT_EXPIRED, AttemptResult.STORAGE):
            grant.release()
        else:
            reason = attempt.reason if attempt.proven else Reason.NONEXISTENT
            verdict = grant.answered(reason, attempt.detail, again=entry is not None and bool(entry.failures))
        if attempt.result is AttemptResult.USAGE_ERROR:
            raise UsageError(attempt.detail)
        if shard is not None and entry is not None:
            with shard.isolating_errors():
                shard.answered(entry, grant, attempt, verdict)
        elif attempt.result is AttemptResult.STORAGE:
            raise StorageUnusable(attempt.detail)

    def _on_worker_exit(self, worker_exit: WorkerExit) -> None:
        _log.warning("%s; %s in flight there: tried again", worker_exit.why, counted(len(worker_exit.jobs), "segment"))
        for job in worker_exit.jobs:
            in_flight = self._remove_in_flight(job.number)
            if in_flight is None:
                continue
            in_flight.grant.release()
            if in_flight.shard is not None and in_flight.entry is not None:
                in_flight.shard.worker_exited(
                    in_flight.entry, in_flight.grant, worker_exit, hung=worker_exit.hung is job
                )
