"""One egress as one task sees it: when the next resolve may start, what its answers mean. Never blocks.

Not thread-safe: `EgressPool` holds a lock around it.
"""

from __future__ import annotations

import logging
import math
import random
from dataclasses import dataclass, replace
from typing import Final

from audioset_batch.adapters.fsclock import boot_time
from audioset_batch.adapters.lease import Holder
from audioset_batch.adapters.publish import storage
from audioset_batch.config.schema import Egress, Probe
from audioset_batch.egress import slots
from audioset_batch.egress.guard import Guard, Verdict
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.slots import Grid, Reservation
from audioset_batch.reasons import Reason
from audioset_batch.redact import redact

PROBER_SECONDS: Final = 60.0
_BUSY_SECONDS: Final = 0.5
_SHORT_NAP: Final = 0.02
_RETRY_PROBE_SECONDS: Final = 30.0
_DETAIL_LENGTH: Final = 300
_UNTESTED: Final = frozenset(
    {
        Reason.NETWORK,
        Reason.HTTP_ERROR,
        Reason.TIMEOUT,
        Reason.INTERNAL,
        Reason.MEDIA_FORBIDDEN,
        Reason.NO_USABLE_FORMAT,
        Reason.TRUNCATED,
    }
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave for one resolve: its number within the lane, the epoch it belongs to, and the video if it is a probe.

    `start_by` is a time of `boot_time`.
    """

    serial: int
    epoch: int
    probe: str = ""
    start_by: float = math.inf


@dataclass(frozen=True, slots=True)
class Closed:
    """No resolve now. `seconds`: when to ask again; `until`: end of a pause (filesystem's time), 0 if there is none."""

    seconds: float
    until: float = 0.0


class Lane:
    """See the module.

    Args:
        config: The egress.
        probe: Videos known to be good, and when to ask for one.
        shared: What all tasks know of it.
        me: This process.
    """

    def __init__(self, config: Egress, probe: Probe, shared: SharedEgress, me: Holder) -> None:
        self.config = config
        self.shared = shared
        self.in_flight = 0
        self._probe = probe
        self._me = me
        self._guard = Guard(probe.nonexistent_share, probe.recent)
        self._serial = 0
        self._reservation: Reservation | None = None
        self._refreshed_at = float("-inf")
        self._refresh_every = min(2.0, config.pause_seconds / 10)
        self._probing = False
        self._probe_wanted = False
        self._probe_not_before = 0.0
        self._grid_checked = False

    @property
    def reserved(self) -> bool:
        """True if a slot is waiting for its time."""
        return self._reservation is not None

    @property
    def seconds_to_slot(self) -> float:
        """Until the slot that is waiting is due, briefly while it is; infinite without one, or when it is missed."""
        reservation, grid = self._reservation, self.shared.state.grid
        if reservation is None or grid is None:
            return math.inf
        now = self.now()
        return math.inf if now > grid.last_issue(reservation.slot) else max(_SHORT_NAP, reservation.due - now)

    def now(self) -> float:
        """The filesystem's time."""
        with storage(self.shared.folder):
            return self.shared.clock.now()

    # Asking

    def try_ticket(self, *, may_reserve: bool = True) -> Ticket | Closed:
        """Leave for a segment, or when to ask again.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        state = self._state()
        if self._probing:
            self._stay_prober(state)
        if state.paused:
            if not self._is_me(state):
                self._leave_slot()
            remaining = state.until - self.now()
            return Closed(
                self._refresh_every if remaining <= 0 else min(remaining, 5 * self._refresh_every), state.until
            )
        if self._guard.suspicious or self._probing or self.in_flight >= self.config.concurrent:
            return Closed(_BUSY_SECONDS)
        if self.config.videos_per_hour is None:
            return self._issue(state)
        return self._from_slot(may_reserve)

    def soonest(self) -> float:
        """Unix time of the next slot that is free or ours; 0 without a budget. For choosing between egresses."""
        if self._reservation is not None:
            return self._reservation.due
        state = self._state()
        if self.config.videos_per_hour is None or state.grid is None:
            return 0.0
        taken = slots.claimed(self.shared.names, state.grid_number)
        return state.grid.begin(slots.next_free(state.grid, taken, self.now()))

    def _issue(self, state: EgressState, probe: str = "", start_by: float = math.inf) -> Ticket:
        self._serial += 1
        self.in_flight += 1
        return Ticket(self._serial, state.epoch, probe, start_by)

    def _state(self, *, fresh: bool = False) -> EgressState:
        if not fresh and boot_time() - self._refreshed_at < self._refresh_every:
            return self.shared.state
        state = self.shared.refresh()
        if self.config.videos_per_hour is not None and not self._grid_checked:
            state = self._agree_on_grid()
        self._refreshed_at = boot_time()
        return state

    def _agree_on_grid(self) -> EgressState:
        """The config of the task that started last rules for everybody."""
        self.shared.make_folder()
        self._grid_checked = True
        with storage(self.shared.folder):
            now = self.shared.clock.measure()
        wanted = Grid(now, self.config.videos_per_hour or 1.0, self.config.window_seconds)

        def change(state: EgressState) -> EgressState | None:
            old = state.grid
            if old is None:
                # After slots that cannot be trusted the new ones begin as after a change of the budget.
                begin = now + (2 * wanted.interval + wanted.spread + wanted.slack if state.grid_number else 0.0)
                return replace(state, grid=replace(wanted, start=begin), grid_number=state.grid_number + 1)
            if (old.budget, old.window) == (wanted.budget, wanted.window):
                return None
            _log.warning(
                "egress %s: the budget for all tasks changes from %g per %g s to %g per %g s",
                self.config.name,
                *(old.budget, old.window, wanted.budget, wanted.window),
            )
            pause = 2 * max(old.interval, wanted.interval) + old.spread + old.slack
            return replace(state, grid=replace(wanted, start=now + pause), grid_number=state.grid_number + 1)

        self.shared.update(change)
        return self.shared.refresh()

    # Slots

    def _from_slot(self, may_reserve: bool, probe: str = "") -> Ticket | Closed:
        now = self.now()
        if self._reservation is None:
            if not may_reserve:
                return Closed(_BUSY_SECONDS)
            wait = self._reserve(now)
            if wait is not None:
                return wait
        reservation = self._reservation
        if reservation is None or now < reservation.due:
            return Closed(0.0 if reservation is None else reservation.due - now)
        # Making a file for the clock's sake also makes NFS list the folder afresh.
        asked_at = boot_time()
        with storage(self.shared.folder):
            now = self.shared.clock.measure()
        state = self._state(fresh=True)
        if now < reservation.due:
            return Closed(reservation.due - now)
        self._reservation = None
        grid = state.grid
        if grid is None or state.grid_number != reservation.number or (state.paused and not probe):
            return Closed(0.0)
        if now > grid.last_issue(reservation.slot):
            _log.debug("egress %s: came %.3f s late for a slot", self.config.name, now - reservation.due)
            return self._reserve(now) or Closed(0.0)
        ticket = self._issue(state, probe, asked_at + grid.latest_start(reservation.slot) - now)
        with storage(self.shared.folder):
            slots.prune(self.shared.folder, grid, state.grid_number, self.shared.names, now)
        return ticket

    def _reserve(self, now: float) -> Closed | None:
        state = self._state(fresh=True)
        grid = state.grid
        if grid is None:
            self._grid_checked = False  # somebody has removed the folder
            return Closed(_BUSY_SECONDS)
        taken = slots.claimed(self.shared.names, state.grid_number)
        while True:
            slot = slots.next_free(grid, taken, now)
            if grid.begin(slot) > now + grid.horizon and slot > 0:
                return Closed(random.uniform(0.5, 1.5) * max(grid.interval, grid.horizon / 4))
            with storage(self.shared.folder):
                if slots.claim(self.shared.folder, state.grid_number, slot):
                    self._reservation = Reservation(state.grid_number, slot, grid.draw(slot, now))
                    return None
            taken.add(slot)

    def _leave_slot(self) -> None:
        """Give a slot back that is not due yet."""
        reservation, self._reservation = self._reservation, None
        if reservation is not None and reservation.number == self.shared.state.grid_number:
            with storage(self.shared.folder):
                slots.give_back(self.shared.folder, reservation)

    def close(self) -> None:
        """Let others have what this task waits for.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        self._leave_slot()
        state = self.shared.state
        if state.prober is not None and state.prober.token == self._me.token:
            self.shared.update(lambda s: replace(s, prober=None) if self._is_me(s) else None)

    # Probes

    def want_probe(self) -> None:
        """Ask for a good video at the next chance: answers are held back and no other resolve will follow."""
        self._probe_wanted = True

    def try_probe(self, *, may_begin: bool = True) -> Ticket | None:
        """Leave for a probe, if one is due, nobody else is to do it and it `may_begin`; keeps hold of one under way.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        state = self._state()
        if self._probing:
            self._stay_prober(state)
            return None
        if not may_begin:
            return None
        if not state.paused:
            if not (self._guard.suspicious or self._probe_wanted) or boot_time() < self._probe_not_before:
                return None
        else:
            now = self.now()
            if now < state.until or state.probed_by_another(self._me, now) or not self._become_prober(now):
                return None
        video = self._probe.ytids[self.shared.state.probes % len(self._probe.ytids)]
        if self.config.videos_per_hour is None:
            ticket: Ticket | Closed = self._issue(self.shared.state, video)
        else:
            ticket = self._from_slot(True, video)
        if isinstance(ticket, Closed):
            return None
        self._probing = True
        return ticket

    def _is_me(self, state: EgressState) -> bool:
        return state.paused and state.prober is not None and state.prober.token == self._me.token

    def _become_prober(self, now: float) -> bool:
        state = self.shared.state
        if self._is_me(state) and state.prober_until - now > PROBER_SECONDS / 2:
            return True

        def change(state: EgressState) -> EgressState | None:
            if not state.paused or now < state.until or state.probed_by_another(self._me, now):
                return None
            return replace(state, prober=self._me, prober_until=now + PROBER_SECONDS)

        return self.shared.update(change)

    def _stay_prober(self, state: EgressState) -> None:
        if self._is_me(state):
            self._become_prober(self.now())

    # Answers

    def end(self, ticket: Ticket) -> None:
        """The resolve is over, or was given up without an answer."""
        self.in_flight -= 1
        if ticket.probe:
            self._probing = False
            self._probe_not_before = boot_time() + min(_RETRY_PROBE_SECONDS, self.config.pause_seconds)

    def answered(self, ticket: Ticket, reason: str, detail: str = "") -> None:
        """An answer about a video: "" (it is there) or a reason.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        if ticket.probe:
            self._probe_answered(ticket, reason, detail)
            return
        self._guard.note(ticket.serial, ticket.epoch, reason, self._serial)
        state = self.shared.state
        if reason == "" and state.streak and not state.paused and ticket.epoch == state.epoch:
            now = self.now()
            if now - state.reopened_at >= self.config.pause_seconds:
                self.shared.update(
                    lambda s: replace(s, streak=0) if s.streak and not s.paused and s.epoch == ticket.epoch else None
                )

    def _probe_answered(self, ticket: Ticket, reason: str, detail: str) -> None:
        if reason in _UNTESTED:
            if ticket.epoch == self.shared.state.epoch and self.shared.state.paused:
                self._extend(min(_RETRY_PROBE_SECONDS, self.config.pause_seconds))
            return
        if reason != "":
            video = f"a video known to be good is said to be {reason}"
            self.blocked(ticket, f"soft ban: {video} ({ticket.probe}){': ' if detail else ''}{detail}")
            return
        self._probe_wanted = False
        self._guard.vouch(ticket.serial, ticket.epoch, self._serial)
        if not self.shared.state.paused:
            return
        now = self.now()

        def reopen(state: EgressState) -> EgressState | None:
            if not self._is_me(state) or state.epoch != ticket.epoch:
                return None
            return replace(state, paused=False, prober=None, reopened_at=now, probes=state.probes + 1)

        if self.shared.update(reopen):
            self.shared.log("reopened", self.shared.state, now)
            _log.info("egress %s is open again", self.config.name)

    def blocked(self, ticket: Ticket, detail: str) -> None:
        """The answer was about the egress: pause it for everybody. Reports of the same ban count once.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        self.shared.make_folder()
        now = self.now()
        detail = redact(" ".join(detail.split()))[:_DETAIL_LENGTH]

        def pause(state: EgressState) -> EgressState | None:
            if state.epoch != ticket.epoch or (state.paused and not (ticket.probe and self._is_me(state))):
                return None
            streak = state.streak + 1
            growth = self.config.pause_factor ** min(streak - 1, 64)
            seconds = min(self.config.pause_max_seconds, self.config.pause_seconds * growth)
            begun = state if state.paused else replace(state, epoch=state.epoch + 1, since=now)
            return replace(
                begun,
                paused=True,
                kind=detail.partition(":")[0][:40],
                detail=detail,
                until=now + seconds,
                streak=streak,
                prober=None,
                probes=state.probes + bool(ticket.probe),
            )

        if self.shared.update(pause):
            state = self.shared.state
            event = "paused" if state.since == now else "extended"
            self.shared.log(event, state, now)
            _log.warning("egress %s: pause of %.0f s for all tasks: %s", self.config.name, state.until - now, detail)
        self._guard.forget()
        self._probe_wanted = False
        self._leave_slot()

    def _extend(self, seconds: float) -> None:
        now = self.now()
        changed = self.shared.update(
            lambda s: replace(s, until=now + seconds, prober=None, probes=s.probes + 1) if self._is_me(s) else None
        )
        if changed:
            self.shared.log("extended", self.shared.state, now)

    def verdict(self, ticket: Ticket, ended_at: int) -> Verdict:
        """What to do with an answer `nonexistent` to `ticket`, which came when `ended_at` tickets were issued."""
        verdict = self._guard.verdict(ticket.serial, ticket.epoch, ended_at)
        paused_since = verdict is Verdict.HOLD and self.shared.state.epoch != ticket.epoch
        return Verdict.DISCARD if paused_since else verdict

    @property
    def issued(self) -> int:
        """Tickets issued so far."""
        return self._serial
