"""Throttle an egress whose resolves fail, and decide which failures are about the videos.

After a change of YouTube an old yt-dlp fails for every video, and during a network outage every connection fails.
Neither says anything about a video, so neither may use up the list.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from audioset_batch.config.redact import redact
from audioset_batch.config.schema import Egress
from audioset_batch.egress import pausing
from audioset_batch.egress.advice import slow_message
from audioset_batch.egress.losses import DOUBTFUL, MAX_LOST, TRANSPORT, Losses, Throttle
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.soft_ban import Verdict
from audioset_batch.egress.tickets import Ticket
from audioset_batch.reasons import TRANSIENT_REASONS
from audioset_batch.sharedfs.clock import boot_time

_log = logging.getLogger(__name__)


class CircuitBreaker:
    """The circuit breaker of one egress, as seen by one task. Not thread-safe.

    Args:
        config: The egress.
        shared: Its shared state.
        now: Returns the filesystem's time.
    """

    def __init__(self, config: Egress, shared: SharedEgress, now: Callable[[], float]) -> None:
        self._config = config
        self._shared = shared
        self._now = now
        self._served = self._reached = self._settled = self._drifted = (-1, -1)
        self._logged = Throttle.FULL

    def throttle(self) -> Throttle:
        """How far resolves are throttled after the losses of all tasks. Logs when that becomes `SLOW`."""
        losses = self._shared.state.losses
        throttle = Throttle.FULL
        if not losses.untroubled:
            throttle = losses.throttle(self._now(), pausing.cleared_for(self._config))
        if throttle is Throttle.SLOW and self._logged is not throttle:
            _log.warning("egress %s: %s", self._config.name, slow_message(losses))
        if throttle in (Throttle.FULL, Throttle.SLOW):
            self._logged = throttle
        return throttle

    @property
    def in_doubt(self) -> bool:
        """True if more resolves failed lately than unavailable videos explain."""
        return self._shared.state.losses.lost >= DOUBTFUL

    def note(self, ticket: Ticket, reason: str, detail: str, *, again: bool = False) -> None:
        """Count an answer. Most answers change nothing, and are not written to the shared state.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        if not reason:
            self._served = max(self._served, (ticket.epoch, ticket.serial))
        losses = self._shared.state.losses
        if reason not in TRANSIENT_REASONS and not (losses.lost or losses.cut):
            return
        words = redact(detail)

        def count(state: EgressState) -> EgressState | None:
            losses = self._counted(state.losses, ticket, reason, words, again)
            if state.paused or state.epoch != ticket.epoch or losses == state.losses:
                return None
            return replace(state, losses=losses, prober=None if losses.untroubled else state.prober)

        self._shared.update(count)

    def _counted(self, losses: Losses, ticket: Ticket, reason: str, detail: str, again: bool) -> Losses:
        if reason in TRANSIENT_REASONS:
            return losses.lose(reason, detail, again=again)
        if reason:
            return losses.answer()
        return losses.serve(self._now() - (boot_time() - ticket.begun))

    def passed(self, ticket: Ticket) -> None:
        """Note that a probe of this task has passed: connections that failed before were not an outage."""
        self._reached = max(self._reached, (ticket.epoch, ticket.serial))

    def verdict(self, ticket: Ticket, reason: str, ended_at: int, lost_at: float) -> Verdict:
        """What to do with a transient failure, at time `lost_at`, after which `ended_at` tickets were issued.

        It is about the video once a later resolve has succeeded, and little else casts doubt on the egress.
        """
        state = self._shared.state
        if state.epoch != ticket.epoch:
            return Verdict.DISCARD
        if state.losses.lost >= MAX_LOST:
            self._drifted = max(self._drifted, (ticket.epoch, ended_at))
            return Verdict.HOLD
        if (ticket.epoch, ended_at) <= self._drifted:  # failed during a drift that is over now
            return Verdict.DISCARD
        if (self._reached if reason in TRANSPORT else self._settled) > (ticket.epoch, ended_at):
            return Verdict.RECORD
        served = self._served > (ticket.epoch, ended_at) or lost_at < state.losses.served_at
        return Verdict.RECORD if served and not self.in_doubt else Verdict.HOLD

    def decide(self, reason: str, issued: int) -> bool:
        """Accept failures with this reason, as nothing else is left to resolve; False if a probe has to decide.

        Args:
            reason: The reason of the failures.
            issued: Number of tickets issued so far.
        """
        state = self._shared.state
        if state.losses.lost >= MAX_LOST or state.paused:
            return True
        everything = (state.epoch, issued + 1)
        if reason not in TRANSPORT:
            self._settled = everything
        elif 0 <= self._now() - state.losses.reached_at < self._config.pause_seconds:
            self._reached = everything
        else:
            return False
        return True
