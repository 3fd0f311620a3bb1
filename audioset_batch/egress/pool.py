"""All egresses of one task: who may resolve now, through which, and what to do when none is open."""

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
from audioset_batch.egress.advice import slow_words
from audioset_batch.egress.guard import LIKE_A_BAN, Verdict, strictest
from audioset_batch.egress.lane import Lane
from audioset_batch.egress.shared import SharedEgress
from audioset_batch.egress.status import EgressStatus, read_egress_status
from audioset_batch.egress.tickets import Closed, Ticket
from audioset_batch.errors import EgressDoubtful, EgressExhausted, Interrupted, StorageUnusable
from audioset_batch.reasons import TRANSIENT_REASONS, Reason
from audioset_batch.sharedfs.lease import Holder

_LONGEST_NAP: Final = 0.2
_NOT_WORTH_LEAVING: Final = 10.0
"""Seconds to a slot; going away and coming back takes longer."""


class Stop(Protocol):
    """What `threading.Event` and the worker's stop request have in common."""

    def is_set(self) -> bool:
        """True once somebody asked to stop."""
        ...


@dataclass(frozen=True, slots=True)
class Wait:
    """No egress has a resolve to give now; ask again after `seconds` (later wastes slots, earlier does no harm)."""

    seconds: float


class Grant:
    """Leave for one resolve, to be begun at once. Report how it went exactly once; later reports do nothing.

    Attributes:
        index: Of the egress in the config.
        name: Of the egress.
        probe_ytid: For a probe, the video to resolve; else "".
        reason: What YouTube answered to a segment, once that is reported.
        start_by: A time of `sharedfs.clock.boot_time`, the same in all processes of this machine. A resolve that has
            not begun by then must not begin (`release` the grant), or a window may hold one too many.
    """

    def __init__(self, pool: EgressPool, index: int, lane: Lane, ticket: Ticket) -> None:
        self.index = index
        self.name = lane.config.name
        self.probe_ytid = ticket.probe
        self.start_by = ticket.start_by
        self._pool = pool
        self._lane = lane
        self._ticket = ticket
        self._open = True
        self._ended_at = 0
        self._lost_at = 0.0
        self.reason = ""

    def answered(self, reason: str = "", detail: str = "", *, again: bool = False) -> Verdict:
        """YouTube answered about the video: "" for success, else a `Reason`; a failed download is its own reason.

        Returns RECORD, or HOLD for `nonexistent` and transient reasons: then record it only when `verdict` says so,
        for a soft ban, an outage and a change of YouTube's look like that.

        Args:
            reason: See above.
            detail: For people.
            again: The same segment has failed before in this run.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        with self._pool.lock:
            if self._close():
                self._ended_at = self._lane.issued
                self._lane.answered(self._ticket, reason, detail, again=again)
                if not self.probe_ytid:
                    self.reason = reason
                    self._lost_at = self._lane.now() if reason in TRANSIENT_REASONS else 0.0
        return self.verdict()

    def verdict(self) -> Verdict:
        """Of an answer that was held back: RECORD it, HOLD it, or DISCARD it (the segment is pending again)."""
        with self._pool.lock:
            brake, verdict = self._lane.brake, Verdict.RECORD
            if self.reason in LIKE_A_BAN:
                verdict = self._lane.verdict(self._ticket, self._ended_at)
            if self.reason in TRANSIENT_REASONS and (self.reason not in LIKE_A_BAN or brake.in_doubt):
                lost = brake.verdict(self._ticket, self.reason, self._ended_at, self._lost_at)
                verdict = strictest((verdict, lost))
            return verdict

    def blocked(self, detail: str) -> None:
        """A bot check, rate limit or 429: pauses the egress for everybody. The segment is pending again.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        with self._pool.lock:
            if self._close():
                self._lane.blocked(self._ticket, detail)

    def release(self) -> None:
        """Given up without an answer; the slot is spent."""
        with self._pool.lock:
            self._close()

    def _close(self) -> bool:
        was_open, self._open = self._open, False
        if was_open:
            self._lane.end(self._ticket)
        return was_open

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _by_our_clock(shared: float, lane: Lane) -> float:
    """A time of the filesystem's clock as one of this machine's, by which the next start is asked for."""
    return shared + time.time() - lane.now()


class EgressPool:
    """The egresses of a config, shared through `folder` with all tasks that use the same folder.

    Thread-safe; use it in one process and send `Grant.index` to others. Close it, or use it as a context manager.

    Args:
        egresses: From the config; their names identify them within `folder`.
        probe: From the config.
        folder: `egress_dir`, on a filesystem that all tasks see; made on first use, never without need.
        me: This process; found out if it is None.
        hold_seconds: No wait may be longer, whether for the end of a pause or a slot; asked before each.
        burst: `worker.burst` of the config.
    """

    def __init__(
        self,
        egresses: Sequence[Egress],
        probe: Probe,
        folder: Path,
        me: Holder | None = None,
        hold_seconds: Callable[[], float] = lambda: math.inf,
        burst: float = 0.0,
    ) -> None:
        holder = me or Holder.current()
        self.lock = threading.RLock()
        self._folder = folder
        self._hold_seconds = hold_seconds
        self._egresses = tuple(egresses)
        shared = [SharedEgress(folder / egress.name, egress.pause_max_seconds) for egress in egresses]
        self._lanes = [
            Lane(egress, probe, one, holder, burst, hold_seconds) for egress, one in zip(egresses, shared, strict=True)
        ]
        self._next = 0

    def try_acquire(self, want: int | None = None) -> Grant | Wait:
        """Leave for one resolve, or how long to wait; never blocks.

        Args:
            want: How many resolves could be begun now; no more slots than that are kept waiting. None: one per egress.

        Raises:
            EgressExhausted: every egress is closed for too long: paused for longer than its `max_wait`, or without a
                slot within `hold_seconds`.
            StorageUnusable: the shared folder cannot be read or written.
        """
        with self.lock:
            order = [(self._next + i) % len(self._lanes) for i in range(len(self._lanes))]
            if want is not None:
                # A stable sort: among equals it stays round robin.
                order.sort(key=lambda i: self._lanes[i].soonest())
            waits: list[tuple[Closed, Lane]] = []
            for index in order:
                lane = self._lanes[index]
                room = want is None or sum(other.reserved for other in self._lanes) < want
                answer = lane.try_ticket(may_reserve=room)
                if isinstance(answer, Ticket):
                    self._next = (index + 1) % len(self._lanes)
                    return Grant(self, index, lane, answer)
                waits.append((answer, lane))
            self._raise_if_exhausted(waits)
            return Wait(max(0.0, min(closed.seconds for closed, _ in waits)))

    def _raise_if_exhausted(self, waits: list[tuple[Closed, Lane]]) -> None:
        """Where every egress is closed for longer than is to be waited for here."""
        hold = self._hold_seconds()
        held = False
        for closed, lane in waits:
            longest = min(lane.config.max_wait, hold) if closed.until else max(hold, _NOT_WORTH_LEAVING)
            moment = max(closed.until, closed.slot_at)
            if not moment or moment - lane.now() <= longest:
                return
            held = held or longest >= hold
        closed, lane = min(waits, key=lambda pair: max(pair[0].until, pair[0].slot_at))
        moment = max(closed.until, closed.slot_at)
        reopens_at = _by_our_clock(moment, lane)
        when = datetime.datetime.fromtimestamp(reopens_at, datetime.UTC).isoformat(timespec="seconds")
        state = lane.shared.state
        why = state.detail or state.kind if closed.until else "its budget has no slot to use before"
        limit = "worker.hold_seconds" if held else "its max_wait"
        what = "paused" if all(closed.until for closed, _ in waits) else "closed"
        raise EgressExhausted(
            f"every egress is {what} for longer than {limit}; the first to reopen is {lane.config.name}, not before "
            f"{when} ({why}). Run the same command again then",
            reopens_at,
        )

    def probe_due(self, *, may_begin: bool = True) -> Grant | None:
        """Leave to resolve `probe_ytid`, if an egress needs it and this task is the one to do it; never blocks.

        Call it every few seconds at least while a probe is on its way, else another task takes it over; with
        `may_begin=False` where there is no room for another one.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        with self.lock:
            for index, lane in enumerate(self._lanes):
                ticket = lane.try_probe(may_begin=may_begin)
                if ticket is not None:
                    return Grant(self, index, lane, ticket)
            return None

    def nap(self, longest: float) -> float:
        """How long one need not call `probe_due` and `try_acquire` to miss no slot; at most `longest` seconds.

        Raises:
            StorageUnusable: the shared folder cannot be read.
        """
        with self.lock:
            return min([longest, *(lane.seconds_to_slot for lane in self._lanes)])

    def settle(self, index: int, reason: str = Reason.NONEXISTENT) -> None:
        """Answers of this egress are held back and nothing else is left to resolve: have it probed where need be.

        Args:
            index: Of the egress in the config.
            reason: Of the answers.

        Raises:
            EgressDoubtful: they cannot be told from a change of YouTube's; their segments stay pending.
            StorageUnusable: the shared folder cannot be read.
        """
        with self.lock:
            lane = self._lanes[index]
            if reason in LIKE_A_BAN:
                lane.want_probe()
            if reason in TRANSIENT_REASONS and (reopens_at := lane.settle_loss(reason)):
                words = slow_words(lane.shared.state.losses)
                raise EgressDoubtful(f"egress {lane.config.name}: {words}", _by_our_clock(reopens_at, lane))

    @property
    def reserved(self) -> int:
        """How many slots this task has that are not due yet."""
        with self.lock:
            return sum(lane.reserved for lane in self._lanes)

    @property
    def way_out(self) -> bool:
        """True if, as far as this task knows, an egress is open."""
        with self.lock:
            return any(not lane.shared.state.paused for lane in self._lanes)

    def acquire(self, stop: Stop, probe: Callable[[Grant], None]) -> Grant:
        """Like `try_acquire`, but waits.

        Args:
            stop: Looked at five times a second.
            probe: Called with a grant whose `probe_ytid` is to be resolved and reported on.

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
            time.sleep(self.nap(min(_LONGEST_NAP, answer.seconds)))
        raise Interrupted("asked to stop while waiting for an egress")

    def describe(self) -> list[EgressStatus]:
        """What all tasks know of these egresses.

        Raises:
            StorageUnusable: the shared folder cannot be read.
        """
        return read_egress_status(self._folder, self._egresses)

    def close(self) -> None:
        """Let other tasks have the slots and probes that this one waits for. Closing twice is fine."""
        with self.lock:
            for lane in self._lanes:
                with contextlib.suppress(StorageUnusable):  # they expire by themselves
                    lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
