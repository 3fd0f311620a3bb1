"""Slows a task down when resolves bring nothing, and tells which failures are the videos' own.

YouTube changes, and a yt-dlp that does not know it loses every video alike; a network fails, and so does every
connection. Neither says anything about a video, so neither may use up the list.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from audioset_batch.config.redact import redact
from audioset_batch.config.schema import Egress
from audioset_batch.egress import pausing
from audioset_batch.egress.advice import slow_words
from audioset_batch.egress.guard import Verdict
from audioset_batch.egress.losses import DOUBTFUL, MOST_LOST, TRANSPORT, Course, Losses
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.tickets import Ticket
from audioset_batch.reasons import TRANSIENT_REASONS
from audioset_batch.sharedfs.clock import boot_time

_log = logging.getLogger(__name__)


class Brake:
    """The losses of one egress as one task sees them. Not thread-safe.

    Args:
        config: The egress.
        shared: What all tasks know of it.
        now: The filesystem's time.
    """

    def __init__(self, config: Egress, shared: SharedEgress, now: Callable[[], float]) -> None:
        self._config = config
        self._shared = shared
        self._now = now
        self._served = self._reached = self._settled = self._drifted = (-1, -1)
        self._told = Course.FULL

    def course(self) -> Course:
        """How to go on after the losses of all tasks; the log says when that becomes slow."""
        losses = self._shared.state.losses
        course = Course.FULL
        if not losses.untroubled:
            course = losses.course(self._now(), pausing.cleared_for(self._config))
        if course is Course.SLOW and self._told is not course:
            _log.warning("egress %s: %s", self._config.name, slow_words(losses))
        if course in (Course.FULL, Course.SLOW):
            self._told = course
        return course

    @property
    def in_doubt(self) -> bool:
        """True if more was lost lately than videos lose on their own."""
        return self._shared.state.losses.lost >= DOUBTFUL

    def note(self, ticket: Ticket, reason: str, detail: str, *, again: bool = False) -> None:
        """Count what an answer says of the egress. Most answers change nothing, and nothing is written.

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
        """A probe of this task was good: connections that failed before it did so on their own account."""
        self._reached = max(self._reached, (ticket.epoch, ticket.serial))

    def verdict(self, ticket: Ticket, reason: str, ended_at: int, lost_at: float) -> Verdict:
        """What to do with a transient failure, which came at `lost_at` when `ended_at` tickets were issued.

        It is the video's own once a later resolve has brought a clip, and little else makes one doubt the egress.
        """
        state = self._shared.state
        if state.epoch != ticket.epoch:
            return Verdict.DISCARD
        if state.losses.lost >= MOST_LOST:
            self._drifted = max(self._drifted, (ticket.epoch, ended_at))
            return Verdict.HOLD
        if (ticket.epoch, ended_at) <= self._drifted:  # lost with all the others; now there is a way again
            return Verdict.DISCARD
        if (self._reached if reason in TRANSPORT else self._settled) > (ticket.epoch, ended_at):
            return Verdict.RECORD
        served = self._served > (ticket.epoch, ended_at) or lost_at < state.losses.served_at
        return Verdict.RECORD if served and not self.in_doubt else Verdict.HOLD

    def settle(self, reason: str, issued: int) -> bool:
        """Nothing is left to resolve but what failed like that: believe it, unless a probe has to tell.

        Args:
            reason: Of the failure.
            issued: How many tickets were.
        """
        state = self._shared.state
        if state.losses.lost >= MOST_LOST or state.paused:
            return True
        everything = (state.epoch, issued + 1)
        if reason not in TRANSPORT:
            self._settled = everything
        elif 0 <= self._now() - state.losses.reached_at < self._config.pause_seconds:
            self._reached = everything
        else:
            return False
        return True
