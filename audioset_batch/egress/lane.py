"""Limit the resolves through one egress, and decide what their answers mean for it. Never blocks.

Not thread-safe: `EgressPool` holds a lock around it.
"""

from __future__ import annotations

import logging
import math
import random
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from audioset_batch.config.redact import redact
from audioset_batch.config.schema import Egress, Probe
from audioset_batch.egress import pausing, slots
from audioset_batch.egress.advice import drift_words, outage_words
from audioset_batch.egress.agreement import agree_on_grid
from audioset_batch.egress.brake import Brake
from audioset_batch.egress.guard import Guard, Verdict
from audioset_batch.egress.looks import LONGEST_LOOK, seconds_to_look, shortest_look
from audioset_batch.egress.losses import MOST_LOST, SLOW_SLOTS, TRANSPORT, Course
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.slots import Grid, Reservation
from audioset_batch.egress.tickets import Closed, Ticket
from audioset_batch.reasons import TRANSIENT_REASONS, Reason
from audioset_batch.sharedfs.clock import boot_time
from audioset_batch.sharedfs.lease import Holder
from audioset_batch.sharedfs.publish import storage

PROBER_SECONDS: Final = 60.0
_BUSY_SECONDS: Final = 0.5
_SHORT_NAP: Final = 0.02
_RETRY_PROBE_SECONDS: Final = 30.0
_DETAIL_LENGTH: Final = 300
_SLOW_SHARE: Final = 0.25
_log = logging.getLogger(__name__)


class Lane:
    """The budget, pauses and probes of one egress, for one task.

    Args:
        config: The egress.
        probe: Videos known to be good, and when to probe one.
        shared: The state that all tasks share.
        me: This process.
        burst: How long a slot may be used later than its time, seconds.
        hold_seconds: Returns the longest time to wait for a slot, seconds.
    """

    def __init__(
        self,
        config: Egress,
        probe: Probe,
        shared: SharedEgress,
        me: Holder,
        burst: float = 0.0,
        hold_seconds: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.config = config
        self.shared = shared
        self.in_flight = 0
        self._burst = burst
        self._hold_seconds = hold_seconds
        self._rests_until = 0.0
        self._probe = probe
        self._me = me
        self._guard = Guard(probe.nonexistent_share, probe.recent)
        self._serial = 0
        self._reservation: Reservation | None = None
        self._look_at = float("-inf")
        self._no_slot = (0, 0, 0.0, 0.0)
        """Grid and step for which there was no free slot, when to try again, and the start of the next slot."""
        self._probing = False
        self._probe_slot_at = 0.0
        """Start of the slot that a probe waits for; 0 if none does."""
        self._probe_wanted = False
        self._probe_not_before = 0.0
        self._grid_checked = False
        self._told_epoch = -1
        self.brake = Brake(config, shared, self.now)

    @property
    def reserved(self) -> bool:
        """True if this task has a slot that is not due yet."""
        return self._reservation is not None

    @property
    def seconds_to_slot(self) -> float:
        """Seconds until the reserved slot is due, short if it is due; infinite without one, or if it is missed."""
        reservation, grid = self._reservation, self.shared.state.grid
        if reservation is None or grid is None:
            return math.inf
        now = self.now()
        return math.inf if now > grid.last_issue(reservation) else max(_SHORT_NAP, reservation.due - now)

    def now(self) -> float:
        """The filesystem's time."""
        with storage(self.shared.folder):
            return self.shared.clock.now()

    # Tickets

    def try_ticket(self, *, may_reserve: bool = True) -> Ticket | Closed:
        """A ticket for a segment, or when to ask again.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        state = self._state()
        if self._probing:
            self._stay_prober(state)
        if state.paused:
            self._tell_pause(state)
            if not self._is_me(state):
                self._leave_slot()
            remaining = state.until - self.now()
            soon = shortest_look(self.config)
            if remaining <= 0:
                return Closed(soon, slot_at=self._probe_slot_at)
            return Closed(min(remaining, 5 * soon), state.until)
        course = self.brake.course()
        if course is not Course.FULL and not self._may_go_alone(course):
            if not self._is_me(self.shared.state):
                self._leave_slot()
            return Closed(max(_SHORT_NAP, shortest_look(self.config)), slot_at=self._probe_slot_at)
        if self._guard.suspicious or self._probing or self.in_flight >= self.config.concurrent:
            return Closed(_BUSY_SECONDS, slot_at=self._probe_slot_at)
        if self.config.videos_per_hour is None:
            return self._issue(self.shared.state)
        step = SLOW_SLOTS if course is Course.SLOW else 1
        return self._from_slot(lambda: self._may_still_go(course), may_reserve=may_reserve, step=step)

    def _may_still_go(self, course: Course) -> bool:
        """True if the decision of `try_ticket` still holds after the shared state was read again."""
        if self.shared.state.paused or self.brake.course() is not course:
            return False
        return course is Course.FULL or self._may_go_alone(course)

    def _tell_pause(self, state: EgressState) -> None:
        """Log a pause of another task once; those of this task have been logged already."""
        if self._told_epoch != state.epoch:
            self._told_epoch = state.epoch
            seconds = max(0.0, state.until - self.now())
            _log.warning(
                "egress %s is paused for another %.0f s (%s); it continues by itself, and segments stay pending: %s",
                self.config.name,
                seconds,
                state.kind,
                state.detail,
            )

    def _may_go_alone(self, course: Course) -> bool:
        """While resolves fail, only one task at a time may have one resolve in flight; True for that task."""
        if course is Course.PROBE or self.in_flight:
            return False
        if course is Course.SINGLE or self.config.videos_per_hour is not None:
            return self._become_prober(self.now())
        # Without slots, a quarter of the first pause in between.
        state, now = self.shared.state, self.now()
        return not (self._is_me(state) and now < state.prober_until) and self._become_prober(
            now, _SLOW_SHARE * self.config.pause_seconds
        )

    def soonest(self) -> float:
        """Unix time of the next slot that is free or reserved; 0 without a budget. Used to choose between egresses."""
        if self._reservation is not None:
            return self._reservation.due
        state = self._state()
        if self.config.videos_per_hour is None or state.grid is None:
            return 0.0
        number, _, ask_at, slot_at = self._no_slot
        if number == state.grid_number and boot_time() < ask_at:
            return slot_at
        now = self.now()
        return max(now, state.grid.begin(self._next_slot(state, state.grid, now, 1)))

    def _issue(self, state: EgressState, probe: str = "", start_by: float = math.inf) -> Ticket:
        self._serial += 1
        self.in_flight += 1
        return Ticket(self._serial, state.epoch, probe, start_by, boot_time())

    def _state(self, *, fresh: bool = False) -> EgressState:
        if not fresh and boot_time() < self._look_at:
            return self.shared.state
        state = self.shared.refresh()
        if self.config.videos_per_hour is not None and not self._grid_checked:
            self._grid_checked = True
            state = agree_on_grid(self.shared, self.config, self._burst)
        self._look_at = boot_time() + seconds_to_look(self.config, state, self._reservation, self._me, self.now)
        return state

    # Slots

    def _from_slot(
        self, still: Callable[[], bool], probe: str = "", *, may_reserve: bool = True, step: int = 1
    ) -> Ticket | Closed:
        """A ticket if a slot is due; `still` is called then, to decide again with the current shared state."""
        now = self.now()
        if self._reservation is not None and self._reservation.slot % step:
            self._leave_slot()
        if self._reservation is None:
            if not may_reserve:
                return Closed(_BUSY_SECONDS, slot_at=self.soonest())
            wait = self._reserve(now, step, probing=bool(probe))
            if wait is not None:
                return wait
        reservation = self._reservation
        if reservation is None:
            return Closed(0.0)
        if now < reservation.due:
            return Closed(reservation.due - now, slot_at=reservation.due)
        # Creating a file for the clock also makes NFS list the folder afresh.
        asked_at = boot_time()
        with storage(self.shared.folder):
            now = self.shared.clock.measure()
        state = self._state(fresh=True)
        if now < reservation.due:
            return Closed(reservation.due - now)
        if not still():
            return Closed(0.0)  # the slot is kept; the next call uses it for a probe or gives it back
        self._reservation = None
        grid = state.grid
        if grid is None or state.grid_number != reservation.number:
            return Closed(0.0)
        if now > grid.last_issue(reservation):
            _log.debug("egress %s: came %.3f s late for a slot", self.config.name, now - reservation.due)
            if reservation.tick is not None and self._take_tick(state.grid_number, grid, reservation.slot, now):
                return Closed(0.0)
            return self._reserve(now, step, probing=bool(probe)) or Closed(0.0)
        ticket = self._issue(state, probe, asked_at + grid.latest_start(reservation) - now)
        with storage(self.shared.folder):
            slots.prune(self.shared.folder, grid, state.grid_number, self.shared.names, now)
        return ticket

    def _reserve(self, now: float, step: int, *, probing: bool = False) -> Closed | None:
        number, for_step, ask_at, slot_at = self._no_slot
        if (number, for_step) == (self._state().grid_number, step) and boot_time() < ask_at:
            return Closed(ask_at - boot_time(), slot_at=slot_at)
        state = self._state(fresh=True)
        grid = state.grid
        if grid is None:
            self._grid_checked = False  # the folder was removed
            return Closed(_BUSY_SECONDS)
        # A task that may leave its node rests once its old slots are used, so that its other egresses rest as well.
        saves = not probing and grid.burst > 0 and grid.sleep > self._hold_seconds()
        while True:
            slot = self._next_slot(state, grid, now, step)
            begin = grid.begin(slot)
            if saves and begin > now:
                self._rests_until = begin + grid.sleep
            if saves and now < self._rests_until:
                return Closed(min(self._rests_until - now, grid.interval), slot_at=self._rests_until)
            if begin > now + grid.horizon and slot > 0:
                seconds = random.uniform(0.5, 1.5) * max(grid.interval, grid.horizon / 4)
                if not grid.burst:
                    self._look_at = boot_time() + min(seconds, LONGEST_LOOK)
                    self._no_slot = (state.grid_number, step, self._look_at, begin)
                return Closed(seconds, slot_at=begin)
            with storage(self.shared.folder):
                claimed = slots.claim(self.shared.folder, state.grid_number, slot)
            self.shared.names.append(slots.name_of(state.grid_number, slot))
            if claimed and not grid.burst:
                self._reservation = Reservation(state.grid_number, slot, grid.draw(slot, now))
                return None
            if claimed and self._take_tick(state.grid_number, grid, slot, now):
                return None

    def _next_slot(self, state: EgressState, grid: Grid, now: float, step: int) -> int:
        taken = slots.claimed(self.shared.names, state.grid_number)
        return (slots.oldest_free if grid.burst else slots.next_free)(grid, taken, now, step)

    def _take_tick(self, number: int, grid: Grid, slot: int, now: float) -> bool:
        """Reserve the next tick for a slot of this process; False if the slot expires before it."""
        while slots.is_good(grid, slot, tick := slots.next_tick(grid, self.shared.names, number, slot, now)):
            with storage(self.shared.folder):
                claimed = slots.claim_tick(self.shared.folder, number, tick)
            self.shared.names.append(slots.tick_name(number, tick))
            if claimed:
                self._reservation = Reservation(
                    number, slot, grid.start + (tick + random.uniform(0, 0.1)) * grid.tick, tick
                )
                return True
        return False

    def _leave_slot(self) -> None:
        """Give back the reserved slot."""
        reservation, self._reservation = self._reservation, None
        if reservation is not None and reservation.number == self.shared.state.grid_number:
            with storage(self.shared.folder):
                slots.give_back(self.shared.folder, reservation)

    def close(self) -> None:
        """Release what this task has reserved for itself.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        self._leave_slot()
        state = self.shared.state
        if state.prober is not None and state.prober.token == self._me.token:
            self.shared.update(lambda s: replace(s, prober=None) if self._is_me(s) else None)

    # Probes

    def want_probe(self) -> None:
        """Request a probe, because answers are held and no other resolve will follow."""
        self._probe_wanted = True

    def try_probe(self, *, may_begin: bool = True) -> Ticket | None:
        """A ticket for a probe, if this task is to make one now and it `may_begin`; renews the role during a probe.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        state = self._state()
        if self._probing:
            self._stay_prober(state)
            return None
        if not may_begin:
            return None
        self._probe_slot_at = 0.0
        if not self._may_probe():
            return None
        video = self._probe.ytids[self.shared.state.probes % len(self._probe.ytids)]
        if self.config.videos_per_hour is None:
            ticket: Ticket | Closed = self._issue(self.shared.state, video)
        else:
            ticket = self._from_slot(self._may_probe, video)
        if isinstance(ticket, Closed):
            self._probe_slot_at = ticket.slot_at
            return None
        self._probing = True
        return ticket

    def _may_probe(self) -> bool:
        """True if a probe is needed and this task is to make it."""
        state = self.shared.state
        if state.paused:
            return self.now() >= state.until and self._become_prober(self.now())
        course = self.brake.course()
        doubted = (self._guard.suspicious or self._probe_wanted) and boot_time() >= self._probe_not_before
        if not (doubted or course is Course.PROBE):
            return False
        return course is Course.FULL or self._become_prober(self.now())

    def _is_me(self, state: EgressState) -> bool:
        return state.prober is not None and state.prober.token == self._me.token

    def _become_prober(self, now: float, seconds: float = 0.0) -> bool:
        """Become the one task that probes or resolves alone, for `seconds` unless it renews the role."""
        state = self.shared.state
        if state.probed_by_another(self._me, now):
            return False
        if not seconds and self._is_me(state) and state.prober_until - now > PROBER_SECONDS / 2:
            return True

        def change(state: EgressState) -> EgressState | None:
            needed = now >= state.until if state.paused else not state.losses.untroubled
            if not needed or state.probed_by_another(self._me, now):
                return None
            return replace(state, prober=self._me, prober_until=now + (seconds or PROBER_SECONDS))

        return self.shared.update(change)

    def _stay_prober(self, state: EgressState) -> None:
        if self._is_me(state):
            self._become_prober(self.now())

    # Answers

    def end(self, ticket: Ticket) -> None:
        """Note that the resolve has ended, with or without an answer."""
        self.in_flight -= 1
        if ticket.probe:
            self._probing = False
            self._probe_not_before = boot_time() + min(_RETRY_PROBE_SECONDS, self.config.pause_seconds)

    def answered(self, ticket: Ticket, reason: str, detail: str = "", *, again: bool = False) -> None:
        """Process an answer about a video: "" for success, or a reason.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        if ticket.probe:
            self._probe_answered(ticket, reason, detail)
            return
        self._guard.note(ticket.serial, ticket.epoch, reason, self._serial)
        self.brake.note(ticket, reason, detail, again=again)
        state = self.shared.state
        in_a_row = (state.streak or state.outages) and not state.paused and ticket.epoch == state.epoch
        if reason == "" and in_a_row and self.now() - state.reopened_at >= self.config.pause_seconds:
            self.shared.update(lambda s: pausing.forgiven(s) if not s.paused and s.epoch == ticket.epoch else None)

    def _probe_answered(self, ticket: Ticket, reason: str, detail: str) -> None:
        state = self.shared.state
        if reason in TRANSIENT_REASONS:
            what = redact(f"{reason} ({ticket.probe}: {detail})")
            self.brake.note(ticket, reason, detail)
            losses = self.shared.state.losses
            drifting = losses.lost >= MOST_LOST or (state.paused and state.kind == pausing.DRIFT)
            # If there are few answers, the failure that led to the probe and the probe's own suffice.
            unreachable = state.paused or not losses.untroubled or (self._probe_wanted and losses.cut > 1)
            if reason in TRANSPORT and unreachable:
                self._pause(ticket, pausing.OUTAGE, outage_words(what))
            elif drifting or (reason == Reason.UNRECOGNIZED and self.brake.in_doubt):
                self._pause(ticket, pausing.DRIFT, drift_words(losses, what))
            elif reason == Reason.UNRECOGNIZED:
                self._soft_ban(ticket, reason, detail)
            elif state.paused:  # inconclusive: probe again soon
                self._pause(ticket, pausing.OUTAGE, f"the probe shows nothing: {what}; before: {state.detail}")
            return
        if reason != "":
            self._soft_ban(ticket, reason, detail)
            return
        self._probe_wanted = False
        self._guard.vouch(ticket.serial, ticket.epoch, self._serial)
        self.brake.passed(ticket)
        if not state.paused and state.losses.untroubled and not state.losses.lost:
            return
        now = self.now()

        def passed(state: EgressState) -> EgressState | None:
            if state.epoch != ticket.epoch:
                return None
            if state.paused:
                return pausing.reopened(state, now) if self._is_me(state) else None
            return replace(state, losses=state.losses.passed(now), prober=None, probes=state.probes + 1)

        if self.shared.update(passed) and state.paused:
            self.shared.log("reopened", self.shared.state, now)
            _log.info("egress %s is open again", self.config.name)

    def _soft_ban(self, ticket: Ticket, reason: str, detail: str) -> None:
        video = f"a video known to be good is said to be {reason}"
        self.blocked(ticket, f"soft ban: {video} ({ticket.probe}){': ' if detail else ''}{detail}")

    def blocked(self, ticket: Ticket, detail: str) -> None:
        """Pause the egress for all tasks, because an answer was about it. Reports of the same ban count once.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        self._pause(ticket, redact(detail).partition(":")[0][:40], detail)

    def _pause(self, ticket: Ticket, kind: str, detail: str) -> None:
        self.shared.make_folder()
        now = self.now()
        detail = textwrap.shorten(redact(" ".join(detail.split())), _DETAIL_LENGTH, placeholder=" ...")

        def pause(state: EgressState) -> EgressState | None:
            if state.epoch != ticket.epoch or (state.paused and not (ticket.probe and self._is_me(state))):
                return None
            return pausing.paused(state, self.config, kind, detail, now, probed=bool(ticket.probe))

        if self.shared.update(pause):
            state = self.shared.state
            event = "paused" if state.since == now else "extended"
            self.shared.log(event, state, now)
            self._told_epoch = state.epoch
            why = detail if detail.startswith(kind) else f"{kind}: {detail}"
            _log.warning("egress %s: pause of %.0f s for all tasks: %s", self.config.name, state.until - now, why)
        self._guard.forget()
        self._probe_wanted = False
        self._leave_slot()

    def settle_loss(self, reason: str) -> float:
        """Decide about held failures, or request a probe, because nothing else is left to resolve.

        Returns a Unix time at which to retry those that stay pending; 0 if none do.

        Raises:
            StorageUnusable: the shared folder cannot be read.
        """
        state = self._state()
        if self.brake.course() is Course.SLOW:
            return state.losses.cleared_at + pausing.cleared_for(self.config)
        if not self.brake.settle(reason, self._serial):
            self.want_probe()
        return 0.0

    def verdict(self, ticket: Ticket, ended_at: int) -> Verdict:
        """The verdict on an answer `nonexistent` to `ticket`, which came after `ended_at` tickets."""
        verdict = self._guard.verdict(ticket.serial, ticket.epoch, ended_at)
        paused_since = verdict is Verdict.HOLD and self.shared.state.epoch != ticket.epoch
        return Verdict.DISCARD if paused_since else verdict

    @property
    def issued(self) -> int:
        """Number of tickets issued so far."""
        return self._serial
