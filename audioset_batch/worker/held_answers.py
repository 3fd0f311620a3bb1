"""Answers that are recorded only when it is certain that they are about the video, not about the egress."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from audioset_batch.egress import EgressPool, Grant, Verdict, strictest
from audioset_batch.worker.segment_queue import QueueEntry


@dataclass(slots=True)
class HeldAnswer:
    """A `nonexistent` that may be a soft ban, or the last failure of a segment, which may be an outage or a drift."""

    entry: QueueEntry
    grant: Grant
    reason: str
    detail: str
    transient: bool

    @property
    def _grants(self) -> list[Grant]:
        return self.entry.failures if self.transient else [self.grant]

    def verdict(self) -> Verdict:
        """Whether to record the answer, to hold it further, or to discard it, so that the segment is pending again."""
        return strictest(grant.verdict() for grant in self._grants)

    def undecided(self) -> set[tuple[int, str]]:
        """The egresses that have to decide, as (index, reason of the answer)."""
        held = [grant for grant in self._grants if grant.verdict() is Verdict.HOLD]
        return {(grant.index, grant.reason) for grant in held}


def count_attempts(entry: QueueEntry) -> int:
    """Number of failed attempts, without those that failed because of an outage, a drift or a ban."""
    entry.failures = [grant for grant in entry.failures if grant.verdict() is not Verdict.DISCARD]
    return len(entry.failures)


def decide_held(egress: EgressPool, held: Iterable[HeldAnswer]) -> None:
    """Ask the egresses to decide about these answers, because nothing else is left to resolve.

    Raises:
        EgressExhausted: it cannot be decided now; the segments stay pending.
        StorageUnusable: the shared folder cannot be read.
    """
    for index, reason in {question for one in held for question in one.undecided()}:
        egress.decide(index, reason)
