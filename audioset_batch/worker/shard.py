"""A shard that this worker holds: its queue, its results, and how they are recorded.

The order for one clip is: verified temporary file -> lease checked -> final name -> row. A kill at any point leaves at
worst temporary files and one complete file that is not recorded; the next run removes or replaces them.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.progress import Progress

from audioset_batch.config import Config
from audioset_batch.egress import Grant, Verdict
from audioset_batch.errors import InputRefused, ShardHeld, StorageUnusable
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import SegmentKey
from audioset_batch.plan.label_counts import label_counts
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.swap import ensure_settled
from audioset_batch.reasons import ONCE_A_RUN, Reason, Status
from audioset_batch.record.hints import read_hints
from audioset_batch.record.manifest import ManifestWriter, Outcome, replay
from audioset_batch.record.resubmission import forget_resubmissions
from audioset_batch.record.shard_counts import ShardCounts
from audioset_batch.record.state import StateWriter
from audioset_batch.sharedfs.lease import Lease
from audioset_batch.sharedfs.publish import make_folders, storage
from audioset_batch.worker.held_answers import HeldAnswer, count_attempts
from audioset_batch.worker.messages import Attempt, AttemptResult
from audioset_batch.worker.pool import WorkerExit
from audioset_batch.worker.progress import ShardProgress
from audioset_batch.worker.rows import RowTemplate
from audioset_batch.worker.segment_queue import QueueEntry, QueueOrder, SegmentQueue, backoff
from audioset_batch.worker.sink import open_sink
from audioset_batch.worker.stale_clips import StaleFiles, describe_stale_clips
from audioset_batch.worker.temporary import temporary_folders
from audioset_batch.worker.unrecorded import UnrecordedClips

_log = logging.getLogger(__name__)


class OpenShard:
    """An open shard, from acquiring its lease to its last row. Call `finish` when it is done, and always `close`.

    Args:
        config: As loaded.
        data: The data directory.
        shard: The shard to open.
        row_template: What all its rows have in common.
        rows: Rows of this run by status, incremented with each one.
        bars: The live display; None without a terminal.

    Attributes:
        queue: The segments to process, now or later.
        held: Answers that are recorded only if it is certain that they are about the video.
        tmp_dir: Folder in which its clips are made.
        in_flight: Number of its jobs without an answer.
        lost: Why nothing more is started or recorded: another worker has the shard, or its files cannot be trusted.

    Raises:
        ShardHeld: another worker has this shard.
        StorageUnusable: the data directory cannot be read or written.
        InputRefused: the shard's CSV or manifest cannot be read.
    """

    def __init__(
        self,
        config: Config,
        data: DataDir,
        shard: ShardId,
        row_template: RowTemplate,
        rows: Counter[Status],
        bars: Progress | None = None,
    ) -> None:
        self.shard = shard
        self.queue = SegmentQueue(())
        self.held: list[HeldAnswer] = []
        self.in_flight = 0
        self.lost: ShardHeld | InputRefused | None = None
        self._config = config
        self._data = data
        self._row_template = row_template
        with contextlib.ExitStack() as stack:
            make_folders(data.states, data.root)
            self._lease = stack.enter_context(
                Lease.acquire(data.lease(shard), row_template.holder(), config.worker.lease_seconds)
            )
            forget_resubmissions(data, [shard])
            ensure_settled(data)
            folders = stack.enter_context(temporary_folders(data, shard, config.worker.temp_dir))
            self.tmp_dir: Path = folders.work
            segments = read_shard(data.shard_csv(shard), shard.subset)
            known = replay(data.manifest(shard))
            self._sink = open_sink(config, data, shard, known, folders.staging, fence=self._lease.predecessor_may_live)
            stack.callback(self._sink.close)
            for key in self._sink.lost:
                del known[key]
            self._stale_files = StaleFiles(data, known)
            self._unrecorded = UnrecordedClips(data, config, known)
            left = [s for s in segments if s.key not in known or not known[s.key].settled]
            if difference := describe_stale_clips((known[s.key] for s in segments if s.key in known), config):
                _log.warning("%s: %s", shard, difference)
            self._counts = ShardCounts([segment.key for segment in segments], known, rows)
            # Synced now and then: NFS reports a full disk or quota only then, and a node may crash.
            self._manifest = stack.enter_context(
                ManifestWriter(data.manifest(shard), fsync_seconds=config.worker.state_seconds)
            )
            self._progress = stack.enter_context(ShardProgress(str(shard), self._counts, bars))
            self._state = stack.enter_context(
                StateWriter(
                    data.state(shard), self._counts, every=config.worker.state_seconds, holder=row_template.holder()
                )
            )
            self.queue = SegmentQueue(self._ordering(known).apply(left))
            if left:
                _log.info("%s: %d of %d segments to do", shard, len(left), len(segments))
            self._stack = stack.pop_all()

    def _ordering(self, known: Mapping[SegmentKey, Outcome]) -> QueueOrder:
        order = self._config.worker.order
        return QueueOrder(
            order,
            seed=str(self.shard),
            counts=label_counts(self._data, self.shard.subset) if order == "rare-first" else {},
            failed={key for key, outcome in known.items() if outcome.status == Status.FAILED},
            hints=read_hints(self._data.hints(self.shard)),
        )

    @property
    def done(self) -> bool:
        """True if nothing is left to do or to decide."""
        return not (self.in_flight or len(self.queue) or self.held)

    @property
    def unsettled(self) -> bool:
        """True if the next run would have to ask again what this one has asked."""
        failures = (grant for entry in self.queue.tried() for grant in entry.failures)
        return bool(self.held) or any(grant.verdict() is not Verdict.DISCARD for grant in failures)

    @contextlib.contextmanager
    def isolating_errors(self) -> Iterator[None]:
        """Limit errors to this shard: a lost lease, or a link in place of one of its files, ends only this shard."""
        try:
            try:
                yield
            except StorageUnusable:
                self._lease.check()  # if another worker took the shard over, it has removed our files: the disk is fine
                raise
        except (ShardHeld, InputRefused) as error:
            if self.lost is None:
                _log.error("%s", error)
            self.lost = error
            self.queue, self.held = SegmentQueue(()), []

    # Starting jobs

    def record_published(self, entry: QueueEntry) -> bool:
        """Record the next entry if its clip was published before without a row; returns whether it was."""
        columns = self._unrecorded.columns(entry.segment)
        if columns is None:
            return False
        self._record(self.queue.pop(), Status.OK, "", columns=columns, detail="published before, without a row")
        return True

    def take(self) -> QueueEntry:
        """Remove the next entry from the queue, to be started at once.

        Raises:
            ShardHeld: another worker has the shard now.
        """
        self._lease.check()  # the last check may be long ago: another worker may have the shard now
        self.in_flight += 1
        return self.queue.pop()

    # Results

    def answered(self, entry: QueueEntry, grant: Grant, attempt: Attempt, verdict: Verdict) -> None:
        """Process the result of an attempt, which has been reported to the egress already.

        Args:
            entry: The segment.
            grant: The grant of the egress.
            attempt: The result.
            verdict: The egress's verdict on the result; RECORD if it has none.

        Raises:
            ShardHeld: another worker has the shard now.
            StorageUnusable: the clip could not be made, published or recorded.
        """
        if self.lost is not None:
            return
        if attempt.result is AttemptResult.BLOCKED:
            self._after_block(entry)
            return
        if attempt.result is AttemptResult.SLOT_EXPIRED:
            self.queue.put_back(entry)
            return
        if attempt.result is AttemptResult.STORAGE:
            raise StorageUnusable(attempt.detail)
        entry.elapsed += attempt.elapsed
        entry.requests += attempt.requests
        entry.fetched_bytes += attempt.fetched_bytes
        if attempt.result is AttemptResult.TRANSIENT:
            self._retry_or_hold(entry, grant, Reason(attempt.reason), attempt.detail)
        elif attempt.result is AttemptResult.OK and attempt.clip is not None:
            entry.attempts += 1
            self._lease.check()
            with storage(self._data.root):
                columns = attempt.clip.columns | self._sink.put(entry.segment, attempt.clip)
                self._stale_files.remove(entry.segment, columns)
            self._record(entry, Status.OK, grant.name, columns=columns)
        elif verdict is Verdict.RECORD:
            self._record_unavailable(entry, grant, attempt.reason, attempt.detail)
        else:
            self.held.append(HeldAnswer(entry, grant, attempt.reason, attempt.detail, transient=False))

    def worker_exited(self, entry: QueueEntry, grant: Grant, worker_exit: WorkerExit, *, hung: bool) -> None:
        """Process the exit of the worker process of a job; `hung`: this job exceeded its timeout."""
        if self.lost is not None:
            return
        if worker_exit.failed_at_startup:
            self.queue.put_back(entry)
        elif hung:
            self._retry_or_hold(entry, grant, Reason.TIMEOUT, worker_exit.why)
        elif worker_exit.alone and worker_exit.hung is None:
            entry.suspect = True
            self._retry_or_hold(entry, grant, Reason.INTERNAL, worker_exit.why)
        else:
            entry.suspect = entry.suspect or worker_exit.hung is None
            self.queue.put_back(entry)

    def review_held(self) -> None:
        """Record held answers that are certain now, and put segments back whose answers the egress caused."""
        waiting = []
        for held in self.held:
            verdict = held.verdict()
            if verdict is Verdict.DISCARD:
                held.entry.attempts = count_attempts(held.entry)
                self.queue.put_back(held.entry)
            elif verdict is Verdict.HOLD:
                waiting.append(held)
            elif held.transient:
                self._record(held.entry, Status.FAILED, held.grant.name, reason=held.reason, detail=held.detail)
            else:
                self._record_unavailable(held.entry, held.grant, held.reason, held.detail)
        self.held = waiting

    def _after_block(self, entry: QueueEntry) -> None:
        """Put a segment back after a block, the second time at the end: YouTube may always answer so for this video."""
        entry.blocks += 1
        if entry.blocks > 1:
            self.queue.put_last(entry)
        else:
            self.queue.put_back(entry)

    def _retry_or_hold(self, entry: QueueEntry, grant: Grant, reason: Reason, detail: str) -> None:
        entry.failures.append(grant)
        entry.attempts = count_attempts(entry)
        worker = self._config.worker
        if entry.attempts > (0 if reason in ONCE_A_RUN else worker.retries):
            self.held.append(HeldAnswer(entry, grant, reason, detail, transient=True))
            return
        pause = backoff(entry.attempts, worker.backoff_seconds, worker.backoff_max_seconds)
        _log.debug("%s: %s (%s); again in %.1f s", entry.segment.ytid, reason, detail, pause)
        self.queue.put_later(entry, time.monotonic() + pause)

    # Rows

    def _record_unavailable(self, entry: QueueEntry, grant: Grant, reason: str, detail: str) -> None:
        entry.attempts += 1
        self._record(entry, Status.UNAVAILABLE, grant.name, reason=reason, detail=detail)

    def _record(self, entry: QueueEntry, status: Status, egress: str, **columns: Any) -> None:
        self._lease.check()
        row = self._row_template.row(
            entry.segment,
            status,
            egress=egress,
            attempts=entry.attempts,
            elapsed=entry.elapsed,
            requests=entry.requests,
            fetched_bytes=entry.fetched_bytes,
            **columns,
        )
        self._manifest.append(row)
        self._counts.record(row)

    # State and end

    def report_progress(self) -> None:
        """Update the progress display and, if it is due, the state file.

        Raises:
            ShardHeld: another worker has the shard now, and the state file with it.
            StorageUnusable: the state file cannot be written.
        """
        if self.lost is not None:
            return
        self._progress.tick()
        if self._state.due:
            self._lease.check()
            self._state.write()

    def finish(self) -> Counter[Status]:
        """Publish what is still open, because the shard is done; returns planned segments by status.

        Raises:
            ShardHeld: another worker has the shard now.
            StorageUnusable: something could not be published; the next run does it.
        """
        self._lease.check()
        self._sink.finish()
        self._manifest.check()
        return self._counts.by_status()

    def close(self, error: BaseException | None = None) -> None:
        """Release the shard, because of `error` or after `finish`; segments without a row stay pending.

        Raises:
            StorageUnusable: something could not be written.
        """
        self._stack.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
