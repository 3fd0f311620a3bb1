"""One shard from its CSV to its last row: the coordinator. It alone publishes and records.

Order of things for one clip: temporary file, verified -> the lease is still ours -> final name -> row. A kill
between any two leaves at worst temporary files and one whole file not yet recorded; the next run clears the
ones and replaces the other.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from audioset_batch.adapters.lease import Lease
from audioset_batch.adapters.publish import make_folders, storage
from audioset_batch.config import Config
from audioset_batch.egress import EgressPool, Grant, Verdict, Wait
from audioset_batch.errors import EgressExhausted, Interrupted, StopEarly, StorageUnusable, UsageError
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import Segment, SegmentKey
from audioset_batch.plan.label_counts import label_counts
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.swap import ensure_settled
from audioset_batch.reasons import ONCE_A_RUN, Reason, Status
from audioset_batch.record.hints import read_hints
from audioset_batch.record.manifest import ManifestWriter, Outcome, replay
from audioset_batch.record.resubmission import forget_resubmission
from audioset_batch.record.standing import Standing
from audioset_batch.record.state import StateWriter
from audioset_batch.words import counted
from audioset_batch.worker.former import FormerFiles, differing
from audioset_batch.worker.found import PublishedFiles
from audioset_batch.worker.held import Held, count_tries, settle
from audioset_batch.worker.messages import Attempt, Job, Kind
from audioset_batch.worker.pool import Death, Pool
from audioset_batch.worker.progress import RunProgress
from audioset_batch.worker.rows import Recorder
from audioset_batch.worker.sink import open_sink
from audioset_batch.worker.stop import StopRequest
from audioset_batch.worker.temporary import temporary_folders
from audioset_batch.worker.todo import Entry, Ordering, Todo, backoff

_TICK: Final = 0.5
_SHORTEST_NAP: Final = 0.01
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardResult:
    """How a run of one shard ended.

    Attributes:
        counts: Planned segments by status, `pending` included.
        recorded: Rows written by this run.
    """

    counts: Counter[Status]
    recorded: int


@dataclass(slots=True)
class _Flying:
    entry: Entry | None
    grant: Grant


class ShardRun:
    """Works through one shard with a pool of processes that several shards in turn share.

    Args:
        config: As loaded.
        data: The data directory.
        shard: Which shard.
        pool: Running worker processes.
        egress: The ways out, shared with all other tasks.
        stop: Set when somebody asks to stop.
        recorder: What all rows have in common.
    """

    def __init__(
        self,
        config: Config,
        data: DataDir,
        shard: ShardId,
        pool: Pool,
        egress: EgressPool,
        stop: StopRequest,
        recorder: Recorder,
    ) -> None:
        self._config = config
        self._data = data
        self._shard = shard
        self._pool = pool
        self._egress = egress
        self._stop = stop
        self._recorder = recorder
        self._flying: dict[int, _Flying] = {}
        self._held: list[Held] = []
        self._numbers = itertools.count(1)
        self.recorded = 0

    def run(self) -> ShardResult:
        """Process what no earlier run has settled.

        Raises:
            ShardHeld: another worker has this shard, or took it over.
            Interrupted, EgressExhausted, StorageUnusable: stopped early; what is not recorded is pending.
            InputRefused: the shard's CSV cannot be read.
        """
        with contextlib.ExitStack() as stack:
            make_folders(self._data.states, self._data.root)
            self._lease = stack.enter_context(
                Lease.acquire(self._data.lease(self._shard), self._recorder.holder(), self._config.worker.lease_seconds)
            )
            forget_resubmission(self._data, self._shard)
            ensure_settled(self._data)
            folders = stack.enter_context(temporary_folders(self._data, self._shard, self._config.worker.temp_dir))
            self._tmp = folders.work
            segments = read_shard(self._data.shard_csv(self._shard), self._shard.subset)
            settled: Counter[Status] = Counter()
            left: list[Segment] = []
            known = replay(self._data.manifest(self._shard))
            self._sink = open_sink(
                self._config, self._data, self._shard, known, folders.staging, fence=self._lease.predecessor_may_live
            )
            stack.callback(self._sink.close)
            for key in self._sink.lost:
                del known[key]
            self._former = FormerFiles(self._data, known)
            self._published = PublishedFiles(self._data, self._config, known)
            for segment in segments:
                outcome = known.get(segment.key)
                settles = outcome is not None and outcome.status in (Status.OK, Status.UNAVAILABLE)
                if outcome is not None and settles:
                    settled[Status(outcome.status)] += 1
                else:
                    left.append(segment)
            if difference := differing((known[s.key] for s in segments if s.key in known), self._config):
                _log.warning("%s: %s", self._shard, difference)
            self._standing = Standing([segment.key for segment in segments], known)
            self._todo = Todo(self._ordering(known).apply(left))
            # Forced to the disk now and then: NFS tells of a full disk or quota only then, and a node may crash.
            self._manifest = stack.enter_context(
                ManifestWriter(self._data.manifest(self._shard), fsync_seconds=self._config.worker.state_seconds)
            )
            self._progress = stack.enter_context(RunProgress(str(self._shard), len(segments), settled))
            self._state = stack.enter_context(
                StateWriter(
                    self._data.state(self._shard),
                    every=self._config.worker.state_seconds,
                    planned=len(segments),
                    holder=self._recorder.holder(),
                )
            )
            if left:
                _log.info("%s: %d of %d segments to do", self._shard, len(left), len(segments))
            self._loop()
            self._lease.check()
            self._sink.finish()
            counts = Counter(self._progress.counts)
            counts[Status.PENDING] = len(segments) - counts.total()
            return ShardResult(counts, self.recorded)

    def _ordering(self, known: Mapping[SegmentKey, Outcome]) -> Ordering:
        order = self._config.worker.order
        return Ordering(
            order,
            seed=str(self._shard),
            counts=label_counts(self._data, self._shard.subset) if order == "rare-first" else {},
            failed={key for key, outcome in known.items() if outcome.status == Status.FAILED},
            hints=read_hints(self._data.hints(self._shard)),
        )

    # The loop

    def _loop(self) -> None:
        try:
            self._tell_state()
            self._work()
            self._tell_state()
        except StorageUnusable:
            self._lease.check()  # whoever took the shard over has cleared our files: that is no broken disk
            raise
        finally:
            # Also on a lost lease or a full disk: what still runs would write into a folder that is being cleared,
            # and answer under numbers that the next shard gives out again.
            self._drop_the_rest()

    def _work(self) -> None:
        ending: StopEarly | None = None
        deadline = float("inf")
        while self._flying or (ending is None and self._open):
            if ending is None:
                if self._stop.is_set():
                    ending = Interrupted(f"stopped by {self._stop.why}")
                    deadline = time.monotonic() + self._config.worker.grace_seconds
                else:
                    ending = self._start_what_can()
            elif self._stop.is_set():
                deadline = min(deadline, time.monotonic() + self._config.worker.grace_seconds)
            if time.monotonic() >= deadline or not self._open:
                break
            for event in self._pool.wait(max(_SHORTEST_NAP, self._egress.nap(_TICK))):
                if isinstance(event, Death):
                    self._on_death(event)
                else:
                    self._on_attempt(event)
            self._review_held()
            self._progress.tick()
            self._tell_state()
        if ending is not None:
            raise ending

    @property
    def _open(self) -> bool:
        """True while something is to be done or decided."""
        return bool(self._flying or len(self._todo) or self._held)

    def _tell_state(self) -> None:
        finished, seconds = self._progress.last_hour()
        self._state.update(self._standing.counts(), self._standing.reasons(), finished, seconds, self._standing.words())

    def _start_what_can(self) -> StopEarly | None:
        """Hand out jobs until processes, egresses or segments run out; an error means: begin no more."""
        if self._held and not self._flying and not len(self._todo):
            try:
                settle(self._egress, self._held)
            except EgressExhausted as error:
                return error
            self._review_held()
        while True:
            # Asked for also while our own probe is under way, which keeps other tasks from taking it over.
            probing = any(flying.entry is None for flying in self._flying.values())
            room = self._pool.can_take()
            probe = self._egress.probe_due(may_begin=room) if probing or room else None
            if probe is not None:
                self._submit(None, probe)
                continue
            entry = self._todo.peek(time.monotonic())
            if entry is None or not self._pool.can_take(alone=entry.suspect):
                return None
            if (columns := self._published.columns(entry.segment)) is not None:
                self._record(self._todo.pop(), Status.OK, "", columns=columns, detail="published before, without a row")
                continue
            try:
                grant = self._egress.try_acquire(min(len(self._todo), self._pool.free))
            except EgressExhausted as error:
                return error
            if isinstance(grant, Wait):
                return None
            try:
                self._lease.check()  # the slot may come long after the last look: whoever has the shard now gets it
            except StopEarly:
                grant.release()
                raise
            self._submit(self._todo.pop(), grant)

    def _submit(self, entry: Entry | None, grant: Grant) -> None:
        number = next(self._numbers)
        job = Job(
            number=number,
            segment=None if entry is None else entry.segment,
            probe=grant.probe_ytid,
            egress=grant.index,
            tmp_dir=self._tmp,
            timeout=self._config.worker.segment_timeout,
            start_by=grant.start_by,
        )
        self._flying[number] = _Flying(entry, grant)
        self._pool.submit(job, alone=entry is not None and entry.suspect)

    # Answers

    def _on_attempt(self, attempt: Attempt) -> None:
        flying = self._flying.pop(attempt.number, None)
        if flying is None:
            return
        entry, grant = flying.entry, flying.grant
        if attempt.kind is Kind.BLOCKED:
            _log.warning("egress %s is blocked: %s", grant.name, attempt.detail)
            grant.blocked(attempt.detail)
            if entry is not None:
                self._after_block(entry)
            return
        if attempt.kind is Kind.REFUSED:
            grant.release()
            raise UsageError(attempt.detail)
        if attempt.kind is Kind.LATE:
            grant.release()
            if entry is not None:
                self._todo.put_back(entry)
            return
        if attempt.kind is Kind.STORAGE:
            grant.release()
            raise StorageUnusable(attempt.detail)
        reason = attempt.reason if attempt.proven else Reason.NONEXISTENT
        verdict = grant.answered(reason, attempt.detail, again=entry is not None and bool(entry.losses))
        if entry is None:
            return
        entry.elapsed += attempt.elapsed
        entry.requests += attempt.requests
        entry.fetched_bytes += attempt.fetched_bytes
        if attempt.kind is Kind.TRANSIENT:
            self._retry_or_hold(entry, grant, Reason(attempt.reason), attempt.detail)
        elif attempt.kind is Kind.OK and attempt.clip is not None:
            entry.attempts += 1
            self._lease.check()
            with storage(self._data.root):
                columns = attempt.clip.columns | self._sink.put(entry.segment, attempt.clip)
                self._former.remove(entry.segment, columns)
            self._record(entry, Status.OK, grant.name, columns=columns)
        elif verdict is Verdict.RECORD:
            self._record_unavailable(entry, grant, attempt.reason, attempt.detail)
        else:
            self._held.append(Held(entry, grant, attempt.reason, attempt.detail, transient=False))

    def _after_block(self, entry: Entry) -> None:
        """Back to the queue; to its end if a probe has passed since the last time: YouTube may say so of this video."""
        entry.blocks += 1
        if entry.blocks > 1:
            self._todo.put_last(entry)
        else:
            self._todo.put_back(entry)

    def _record_unavailable(self, entry: Entry, grant: Grant, reason: str, detail: str) -> None:
        entry.attempts += 1
        self._record(entry, Status.UNAVAILABLE, grant.name, reason=reason, detail=detail)

    def _review_held(self) -> None:
        """Record what has turned out to be true, put back what was the egress's own."""
        waiting = []
        for held in self._held:
            verdict = held.verdict()
            if verdict is Verdict.DISCARD:
                held.entry.attempts = count_tries(held.entry)
                self._todo.put_back(held.entry)
            elif verdict is Verdict.HOLD:
                waiting.append(held)
            elif held.transient:
                self._record(held.entry, Status.FAILED, held.grant.name, reason=held.reason, detail=held.detail)
            else:
                self._record_unavailable(held.entry, held.grant, held.reason, held.detail)
        self._held = waiting

    def _on_death(self, death: Death) -> None:
        _log.warning("%s; %s in flight there: tried again", death.why, counted(len(death.jobs), "segment"))
        for job in death.jobs:
            flying = self._flying.pop(job.number, None)
            if flying is None:
                continue
            flying.grant.release()
            entry = flying.entry
            if entry is None:
                continue
            if death.stillborn:
                self._todo.put_back(entry)
            elif death.hung is job:
                self._retry_or_hold(entry, flying.grant, Reason.TIMEOUT, death.why)
            elif death.alone and death.hung is None:
                entry.suspect = True
                self._retry_or_hold(entry, flying.grant, Reason.INTERNAL, death.why)
            else:
                entry.suspect = entry.suspect or death.hung is None
                self._todo.put_back(entry)

    def _retry_or_hold(self, entry: Entry, grant: Grant, reason: Reason, detail: str) -> None:
        entry.losses.append(grant)
        entry.attempts = count_tries(entry)
        worker = self._config.worker
        if entry.attempts > (0 if reason in ONCE_A_RUN else worker.retries):
            self._held.append(Held(entry, grant, reason, detail, transient=True))
            return
        pause = backoff(entry.attempts, worker.backoff_seconds, worker.backoff_max_seconds)
        _log.debug("%s: %s (%s); again in %.1f s", entry.segment.ytid, reason, detail, pause)
        self._todo.put_later(entry, time.monotonic() + pause)

    # Rows

    def _record(self, entry: Entry, status: Status, egress: str, **columns: Any) -> None:
        self._lease.check()
        self._manifest.append(
            self._recorder.row(
                entry.segment,
                status,
                egress=egress,
                attempts=entry.attempts,
                elapsed=entry.elapsed,
                requests=entry.requests,
                fetched_bytes=entry.fetched_bytes,
                **columns,
            )
        )
        self.recorded += 1
        self._progress.record(status)
        reason, detail = (str(columns.get(name, "")) for name in ("reason", "detail"))
        self._standing.record(entry.segment.key, status, reason, detail)

    def _drop_the_rest(self) -> None:
        """What is still in flight stays pending; its processes are ended by the pool."""
        for flying in self._flying.values():
            flying.grant.release()
        if self._flying:
            _log.info("%s: dropped %d segments in flight; they stay pending", self._shard, len(self._flying))
            self._flying.clear()
            self._pool.kill()
