"""Grant resolves through the egresses of one task."""

from __future__ import annotations

import contextlib
import datetime
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from audioset_batch.config.schema import Egress, Probe
from audioset_batch.egress.advice import slow_message
from audioset_batch.egress.limiter import EgressLimiter
from audioset_batch.egress.shared import SharedEgress
from audioset_batch.egress.soft_ban import BAN_LIKE_REASONS, Verdict, strictest
from audioset_batch.egress.status import EgressStatus, read_egress_status
from audioset_batch.egress.tickets import Closed, Ticket
from audioset_batch.errors import EgressDoubtful, EgressExhausted, Interrupted, StorageUnusable
from audioset_batch.reasons import TRANSIENT_REASONS, Reason
from audioset_batch.sharedfs.lease import Holder

_MAX_WAIT_SECONDS: Final = 0.2
_MIN_AWAY_SECONDS: Final = 10.0
"""Seconds; it is not worth leaving the node for a shorter wait for a slot."""


class Stop(Protocol):
    """A flag that asks to stop, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """True once it was asked to stop."""
        ...


@dataclass(frozen=True, slots=True)
class Wait:
    """No resolve can be granted now. Ask again after `seconds`; later wastes slots, earlier is harmless."""

    seconds: float


class Grant:
    """Permission for one resolve, to be started at once. Report its result exactly once; later reports do nothing.

    Attributes:
        index: Index of the egress in the config.
        name: Name of the egress.
        probe_ytid: For a probe, the video to resolve; else "".
        reason: The reported reason for a segment; "" for success or before.
        start_by: A time of `boot_time`, which is the same in all processes of a machine. A resolve that has not started
            by then must not start (`release` the grant), or the budget may be exceeded.
    """

    def __init__(self, pool: EgressPool, index: int, limiter: EgressLimiter, ticket: Ticket) -> None:
        self.index = index
        self.name = limiter.config.name
        self.probe_ytid = ticket.probe
        self.start_by = ticket.start_by
        self._pool = pool
        self._limiter = limiter
        self._ticket = ticket
        self._open = True
        self._ended_at = 0
        self._lost_at = 0.0
        self.reason = ""

    def answered(self, reason: str = "", detail: str = "", *, again: bool = False) -> Verdict:
        """Report an answer about the video.

        Returns RECORD, or for `nonexistent` and transient reasons HOLD: a soft ban, an outage and a change of YouTube
        look the same, so record such an answer only when `verdict` says so.

        Args:
            reason: "" for success, else a `Reason`, which may also be that of a failed download.
            detail: Text of the answer.
            again: The same segment has failed before in this run.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        with self._pool.lock:
            if self._close():
                self._ended_at = self._limiter.issued
                self._limiter.answered(self._ticket, reason, detail, again=again)
                if not self.probe_ytid:
                    self.reason = reason
                    self._lost_at = self._limiter.now() if reason in TRANSIENT_REASONS else 0.0
        return self.verdict()

    def verdict(self) -> Verdict:
        """Whether to record the answer, to hold it further, or to discard it, so that the segment is pending again."""
        with self._pool.lock:
            breaker, verdict = self._limiter.breaker, Verdict.RECORD
            if self.reason in BAN_LIKE_REASONS:
                verdict = self._limiter.verdict(self._ticket, self._ended_at)
            if self.reason in TRANSIENT_REASONS and (self.reason not in BAN_LIKE_REASONS or breaker.in_doubt):
                lost = breaker.verdict(self._ticket, self.reason, self._ended_at, self._lost_at)
                verdict = strictest((verdict, lost))
            return verdict

    def blocked(self, detail: str) -> None:
        """Report a bot check, rate limit or 429, which pauses the egress for all tasks; the segment is pending again.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        with self._pool.lock:
            if self._close():
                self._limiter.blocked(self._ticket, detail)

    def release(self) -> None:
        """Give the grant up without an answer; its slot is used up."""
        with self._pool.lock:
            self._close()

    def _close(self) -> bool:
        was_open, self._open = self._open, False
        if was_open:
            self._limiter.end(self._ticket)
        return was_open

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _to_local_clock(shared: float, limiter: EgressLimiter) -> float:
    """Convert a time of the filesystem's clock to this machine's clock."""
    return shared + time.time() - limiter.now()


class EgressPool:
    """The egresses of a config, shared through `folder` with all tasks that use the same folder.

    Thread-safe; use it in one process and send `Grant.index` to others. Close it, or use it as a context manager.

    Args:
        egresses: The egresses of the config; their names identify them within `folder`.
        probe: The `probe` section of the config.
        folder: `egress_dir`, on a filesystem that all tasks share; created on first use.
        me: This process; None: determine it.
        hold_seconds: Returns the longest time to wait for a slot or the end of a pause, seconds; called each time.
        burst: `worker.burst` of the config, seconds.
        stays: Called each time; if it returns True, slots are waited for however far away they are.
    """

    def __init__(
        self,
        egresses: Sequence[Egress],
        probe: Probe,
        folder: Path,
        me: Holder | None = None,
        hold_seconds: Callable[[], float] = lambda: math.inf,
        burst: float = 0.0,
        stays: Callable[[], bool] = lambda: False,
    ) -> None:
        holder = me or Holder.current()
        self.lock = threading.RLock()
        self._folder = folder
        self._hold_seconds = hold_seconds
        self._stays = stays
        self._egresses = tuple(egresses)
        shared = [SharedEgress(folder / egress.name, egress.pause_max_seconds) for egress in egresses]
        self._limiters = [
            EgressLimiter(egress, probe, one, holder, burst, self._slot_hold_seconds)
            for egress, one in zip(egresses, shared, strict=True)
        ]
        self._next = 0

    def _slot_hold_seconds(self) -> float:
        return math.inf if self._stays() else self._hold_seconds()

    def try_acquire(self, want: int | None = None) -> Grant | Wait:
        """Grant one resolve, or say how long to wait; never blocks.

        Args:
            want: Number of resolves that could start now; no more slots are reserved. None: one per egress.

        Raises:
            EgressExhausted: every egress is paused for longer than its `max_wait`, or has no slot within
                `hold_seconds`.
            StorageUnusable: the shared folder cannot be read or written.
        """
        with self.lock:
            order = [(self._next + i) % len(self._limiters) for i in range(len(self._limiters))]
            if want is not None:
                # The sort is stable: among equals it is round robin.
                order.sort(key=lambda i: self._limiters[i].slots.soonest())
            waits: list[tuple[Closed, EgressLimiter]] = []
            for index in order:
                limiter = self._limiters[index]
                room = want is None or sum(other.slots.reservation is not None for other in self._limiters) < want
                answer = limiter.try_ticket(may_reserve=room)
                if isinstance(answer, Ticket):
                    self._next = (index + 1) % len(self._limiters)
                    return Grant(self, index, limiter, answer)
                waits.append((answer, limiter))
            self._raise_if_exhausted(waits)
            return Wait(max(0.0, min(closed.seconds for closed, _ in waits)))

    def _raise_if_exhausted(self, waits: list[tuple[Closed, EgressLimiter]]) -> None:
        """Raise `EgressExhausted` if every egress is closed for too long to wait."""
        hold, slot_hold = self._hold_seconds(), self._slot_hold_seconds()
        held = False
        for closed, limiter in waits:
            longest = min(limiter.config.max_wait, hold) if closed.until else max(slot_hold, _MIN_AWAY_SECONDS)
            moment = max(closed.until, closed.slot_at)
            if not moment or moment - limiter.now() <= longest:
                return
            held = held or longest >= hold
        closed, limiter = min(waits, key=lambda pair: max(pair[0].until, pair[0].slot_at))
        moment = max(closed.until, closed.slot_at)
        reopens_at = _to_local_clock(moment, limiter)
        when = datetime.datetime.fromtimestamp(reopens_at, datetime.UTC).isoformat(timespec="seconds")
        state = limiter.shared.state
        why = state.detail or state.kind if closed.until else "its budget has no slot to use before"
        limit = "worker.hold_seconds" if held else "its max_wait"
        what = "paused" if all(closed.until for closed, _ in waits) else "closed"
        raise EgressExhausted(
            f"every egress is {what} for longer than {limit}; the first to reopen is {limiter.config.name}, not before "
            f"{when} ({why}). Run the same command again then",
            reopens_at,
        )

    def probe_due(self, *, may_begin: bool = True) -> Grant | None:
        """Grant a probe if an egress needs one and this task is to make it; never blocks.

        Call it every few seconds while a probe is in flight, or another task takes the role over; with
        `may_begin=False` if there is no room for another job.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        with self.lock:
            for index, limiter in enumerate(self._limiters):
                ticket = limiter.try_probe(may_begin=may_begin)
                if ticket is not None:
                    return Grant(self, index, limiter, ticket)
            return None

    def poll_interval(self, longest: float) -> float:
        """Seconds until `probe_due` and `try_acquire` have to be called to miss no slot; at most `longest`.

        Raises:
            StorageUnusable: the shared folder cannot be read.
        """
        with self.lock:
            return min([longest, *(limiter.slots.seconds_to_slot for limiter in self._limiters)])

    def decide(self, index: int, reason: str = Reason.NONEXISTENT) -> None:
        """Decide about held answers, with a probe if necessary, because nothing else is left to resolve.

        Args:
            index: Index of the egress in the config.
            reason: Reason of the answers.

        Raises:
            EgressDoubtful: they may be due to a change of YouTube; their segments stay pending.
            StorageUnusable: the shared folder cannot be read.
        """
        with self.lock:
            limiter = self._limiters[index]
            if reason in BAN_LIKE_REASONS:
                limiter.want_probe()
            if reason in TRANSIENT_REASONS and (reopens_at := limiter.decide_losses(reason)):
                words = slow_message(limiter.shared.state.losses)
                raise EgressDoubtful(f"egress {limiter.config.name}: {words}", _to_local_clock(reopens_at, limiter))

    @property
    def reserved(self) -> int:
        """Number of reserved slots of this task."""
        with self.lock:
            return sum(limiter.slots.reservation is not None for limiter in self._limiters)

    @property
    def any_open(self) -> bool:
        """True if an egress is open, as far as this task knows."""
        with self.lock:
            return any(not limiter.shared.state.paused for limiter in self._limiters)

    def acquire(self, stop: Stop, probe: Callable[[Grant], None]) -> Grant:
        """Like `try_acquire`, but waits.

        Args:
            stop: Checked five times a second.
            probe: Called with a grant whose `probe_ytid` is to be resolved and reported.

        Raises:
            Interrupted: `stop` was set.
            EgressExhausted, StorageUnusable: as `try_acquire`.
        """
        while not stop.is_set():
            due = self.probe_due()
            if due is not None:
                with due:
                    probe(due)
                continue
            answer = self.try_acquire()
            if isinstance(answer, Grant):
                return answer
            time.sleep(self.poll_interval(min(_MAX_WAIT_SECONDS, answer.seconds)))
        raise Interrupted("asked to stop while waiting for an egress")

    def describe(self) -> list[EgressStatus]:
        """The shared state of these egresses.

        Raises:
            StorageUnusable: the shared folder cannot be read.
        """
        return read_egress_status(self._folder, self._egresses)

    def close(self) -> None:
        """Release reserved slots and probes for other tasks. May be called twice."""
        with self.lock:
            for limiter in self._limiters:
                with contextlib.suppress(StorageUnusable):  # reservations expire by themselves
                    limiter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
