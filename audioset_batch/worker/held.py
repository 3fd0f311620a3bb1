"""Answers that are recorded only when their egress has shown that they are the videos' own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from audioset_batch.egress import EgressPool, Grant, Verdict, strictest
from audioset_batch.worker.todo import Entry


@dataclass(slots=True)
class Held:
    """`nonexistent`, until it is no soft ban, or the last failure of a segment, until it is no outage and no drift."""

    entry: Entry
    grant: Grant
    reason: str
    detail: str
    transient: bool

    @property
    def _awaited(self) -> list[Grant]:
        return self.entry.losses if self.transient else [self.grant]

    def verdict(self) -> Verdict:
        """RECORD it; HOLD it; or DISCARD it: the segment is pending again."""
        return strictest(grant.verdict() for grant in self._awaited)

    def questions(self) -> set[tuple[int, str]]:
        """Which egresses have to be looked at, and for what kind of answer."""
        held = [grant for grant in self._awaited if grant.verdict() is Verdict.HOLD]
        return {(grant.index, grant.reason) for grant in held}


def count_tries(entry: Entry) -> int:
    """How many tries of a segment have failed, without those that an outage, a drift or a ban has taken."""
    entry.losses = [grant for grant in entry.losses if grant.verdict() is not Verdict.DISCARD]
    return len(entry.losses)


def settle(egress: EgressPool, held: Iterable[Held]) -> None:
    """Nothing is left to resolve: have it decided what these answers are.

    Raises:
        EgressExhausted: it cannot be told now; the segments stay pending.
        StorageUnusable: the shared folder cannot be read.
    """
    for index, reason in {question for one in held for question in one.questions()}:
        egress.settle(index, reason)
