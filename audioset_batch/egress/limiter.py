"""Limit the resolves through one egress, and decide what their answers mean for it. Never blocks.

Not thread-safe: `EgressPool` holds a lock around it.
"""

from __future__ import annotations

import logging
import math
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from audioset_batch.config.redact import redact
from audioset_batch.config.schema import Egress, Probe
from audioset_batch.egress import pausing
from audioset_batch.egress.advice import drift_message, outage_message
from audioset_batch.egress.circuit_breaker import CircuitBreaker
from audioset_batch.egress.losses import MAX_LOST, SLOW_SLOTS, TRANSPORT, Throttle
from audioset_batch.egress.polling import min_poll_seconds
from audioset_batch.egress.prober_role import ProberRole
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.slot_reserver import BUSY_SECONDS, MIN_WAIT_SECONDS, SlotReserver
from audioset_batch.egress.soft_ban import SoftBanDetector, Verdict
from audioset_batch.egress.tickets import Closed, Ticket
from audioset_batch.reasons import TRANSIENT_REASONS, Reason
from audioset_batch.sharedfs.clock import boot_time
from audioset_batch.sharedfs.lease import Holder

_RETRY_PROBE_SECONDS: Final = 30.0
_DETAIL_LENGTH: Final = 300
_SLOW_SHARE: Final = 0.25
_log = logging.getLogger(__name__)


class EgressLimiter:
    """The budget, pauses and probes of one egress, for one task.

    Args:
        config: The egress.
        probe: Videos known to be good, and when to probe one.
        shared: The state that all tasks share.
        me: This process.
        burst: How long a slot may be used later than its time, seconds.
        hold_seconds: Returns the longest time to wait for a slot, seconds.

    Attributes:
        in_flight: Number of tickets that have not ended.
        slots: The reserved slots.
        breaker: Throttles resolves while they fail.
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
        self.slots = SlotReserver(config, shared, me, burst, hold_seconds)
        self._role = ProberRole(shared, me, self.now)
        self._probe = probe
        self._soft_ban_detector = SoftBanDetector(probe.nonexistent_share, probe.recent)
        self._serial = 0
        self._probing = False
        self._probe_slot_at = 0.0
        """Start of the slot that a probe waits for; 0 if none does."""
        self._probe_wanted = False
        self._probe_not_before = 0.0
        self._logged_epoch = -1
        self.breaker = CircuitBreaker(config, shared, self.now)

    def now(self) -> float:
        """The filesystem's time."""
        return self.slots.now()

    # Tickets

    def try_ticket(self, *, may_reserve: bool = True) -> Ticket | Closed:
        """A ticket for a segment, or when to ask again.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        state = self.slots.state()
        if self._probing and self._role.is_mine(state):
            self._role.take()
        if state.paused:
            self._log_pause(state)
            if not self._role.is_mine(state):
                self.slots.release()
            remaining = state.until - self.now()
            soon = min_poll_seconds(self.config)
            if remaining <= 0:
                return Closed(soon, slot_at=self._probe_slot_at)
            return Closed(min(remaining, 5 * soon), state.until)
        throttle = self.breaker.throttle()
        if throttle is not Throttle.FULL and not self._may_go_alone(throttle):
            if not self._role.is_mine(self.shared.state):
                self.slots.release()
            return Closed(max(MIN_WAIT_SECONDS, min_poll_seconds(self.config)), slot_at=self._probe_slot_at)
        if self._soft_ban_detector.suspicious or self._probing or self.in_flight >= self.config.concurrent:
            return Closed(BUSY_SECONDS, slot_at=self._probe_slot_at)
        if self.config.videos_per_hour is None:
            return self._issue(self.shared.state)
        step = SLOW_SLOTS if throttle is Throttle.SLOW else 1
        start_by = self.slots.take(lambda: self._may_still_go(throttle), may_reserve=may_reserve, step=step)
        return start_by if isinstance(start_by, Closed) else self._issue(self.shared.state, start_by=start_by)

    def _may_still_go(self, throttle: Throttle) -> bool:
        """True if the decision of `try_ticket` still holds after the shared state was read again."""
        if self.shared.state.paused or self.breaker.throttle() is not throttle:
            return False
        return throttle is Throttle.FULL or self._may_go_alone(throttle)

    def _log_pause(self, state: EgressState) -> None:
        """Log a pause of another task once; those of this task have been logged already."""
        if self._logged_epoch != state.epoch:
            self._logged_epoch = state.epoch
            seconds = max(0.0, state.until - self.now())
            _log.warning(
                "egress %s is paused for another %.0f s (%s); it continues by itself, and segments stay pending: %s",
                self.config.name,
                seconds,
                state.kind,
                state.detail,
            )

    def _may_go_alone(self, throttle: Throttle) -> bool:
        """While resolves fail, only one task at a time may have one resolve in flight; True for that task."""
        if throttle is Throttle.PROBE or self.in_flight:
            return False
        if throttle is Throttle.SINGLE or self.config.videos_per_hour is not None:
            return self._role.take()
        # Without slots, a quarter of the first pause in between.
        state = self.shared.state
        waits = self._role.is_mine(state) and self.now() < state.prober_until
        return not waits and self._role.take(_SLOW_SHARE * self.config.pause_seconds)

    def _issue(self, state: EgressState, probe: str = "", start_by: float = math.inf) -> Ticket:
        self._serial += 1
        self.in_flight += 1
        return Ticket(self._serial, state.epoch, probe, start_by, boot_time())

    def close(self) -> None:
        """Release what this task has reserved for itself.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        self.slots.release()
        self._role.release()

    # Probes

    def want_probe(self) -> None:
        """Request a probe, because answers are held and no other resolve will follow."""
        self._probe_wanted = True

    def try_probe(self, *, may_begin: bool = True) -> Ticket | None:
        """A ticket for a probe, if this task is to make one now and it `may_begin`; renews the role during a probe.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        state = self.slots.state()
        if self._probing:
            if self._role.is_mine(state):
                self._role.take()
            return None
        if not may_begin:
            return None
        self._probe_slot_at = 0.0
        if not self._may_probe():
            return None
        video = self._probe.ytids[self.shared.state.probes % len(self._probe.ytids)]
        if self.config.videos_per_hour is None:
            start_by: float | Closed = math.inf
        else:
            start_by = self.slots.take(self._may_probe, probing=True)
        if isinstance(start_by, Closed):
            self._probe_slot_at = start_by.slot_at
            return None
        self._probing = True
        return self._issue(self.shared.state, video, start_by)

    def _may_probe(self) -> bool:
        """True if a probe is needed and this task is to make it."""
        state = self.shared.state
        if state.paused:
            return self.now() >= state.until and self._role.take()
        throttle = self.breaker.throttle()
        doubted = (self._soft_ban_detector.suspicious or self._probe_wanted) and boot_time() >= self._probe_not_before
        if not (doubted or throttle is Throttle.PROBE):
            return False
        return throttle is Throttle.FULL or self._role.take()

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
        self._soft_ban_detector.note(ticket.serial, ticket.epoch, reason, self._serial)
        self.breaker.note(ticket, reason, detail, again=again)
        state = self.shared.state
        in_a_row = (state.streak or state.outages) and not state.paused and ticket.epoch == state.epoch
        if reason == "" and in_a_row and self.now() - state.reopened_at >= self.config.pause_seconds:
            self.shared.update(lambda s: pausing.forgiven(s) if not s.paused and s.epoch == ticket.epoch else None)

    def _probe_answered(self, ticket: Ticket, reason: str, detail: str) -> None:
        state = self.shared.state
        if reason in TRANSIENT_REASONS:
            what = redact(f"{reason} ({ticket.probe}: {detail})")
            self.breaker.note(ticket, reason, detail)
            losses = self.shared.state.losses
            drifting = losses.lost >= MAX_LOST or (state.paused and state.kind == pausing.DRIFT)
            # If there are few answers, the failure that led to the probe and the probe's own suffice.
            unreachable = state.paused or not losses.untroubled or (self._probe_wanted and losses.cut > 1)
            if reason in TRANSPORT and unreachable:
                self._pause(ticket, pausing.OUTAGE, outage_message(what))
            elif drifting or (reason == Reason.UNRECOGNIZED and self.breaker.in_doubt):
                self._pause(ticket, pausing.DRIFT, drift_message(losses, what))
            elif reason == Reason.UNRECOGNIZED:
                self._soft_ban(ticket, reason, detail)
            elif state.paused:  # inconclusive: probe again soon
                self._pause(ticket, pausing.OUTAGE, f"the probe shows nothing: {what}; before: {state.detail}")
            return
        if reason != "":
            self._soft_ban(ticket, reason, detail)
            return
        self._probe_wanted = False
        self._soft_ban_detector.probe_passed(ticket.serial, ticket.epoch, self._serial)
        self.breaker.passed(ticket)
        if not state.paused and state.losses.untroubled and not state.losses.lost:
            return
        now = self.now()

        def passed(state: EgressState) -> EgressState | None:
            if state.epoch != ticket.epoch:
                return None
            if state.paused:
                return pausing.reopened(state, now) if self._role.is_mine(state) else None
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
            if state.epoch != ticket.epoch or (state.paused and not (ticket.probe and self._role.is_mine(state))):
                return None
            return pausing.paused(state, self.config, kind, detail, now, probed=bool(ticket.probe))

        if self.shared.update(pause):
            state = self.shared.state
            event = "paused" if state.since == now else "extended"
            self.shared.log(event, state, now)
            self._logged_epoch = state.epoch
            why = detail if detail.startswith(kind) else f"{kind}: {detail}"
            _log.warning("egress %s: pause of %.0f s for all tasks: %s", self.config.name, state.until - now, why)
        self._soft_ban_detector.forget()
        self._probe_wanted = False
        self.slots.release()

    def decide_losses(self, reason: str) -> float:
        """Decide about held failures, or request a probe, because nothing else is left to resolve.

        Returns a Unix time at which to retry those that stay pending; 0 if none do.

        Raises:
            StorageUnusable: the shared folder cannot be read.
        """
        state = self.slots.state()
        if self.breaker.throttle() is Throttle.SLOW:
            return state.losses.cleared_at + pausing.cleared_for(self.config)
        if not self.breaker.decide(reason, self._serial):
            self.want_probe()
        return 0.0

    def verdict(self, ticket: Ticket, ended_at: int) -> Verdict:
        """The verdict on an answer `nonexistent` to `ticket`, which came after `ended_at` tickets."""
        verdict = self._soft_ban_detector.verdict(ticket.serial, ticket.epoch, ended_at)
        paused_since = verdict is Verdict.HOLD and self.shared.state.epoch != ticket.epoch
        return Verdict.DISCARD if paused_since else verdict

    @property
    def issued(self) -> int:
        """Number of tickets issued so far."""
        return self._serial
