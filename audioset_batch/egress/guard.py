"""A soft ban looks like dead videos: nothing is said about a video by an egress that may be lying.

An answer `nonexistent`, or a refusal that settles nothing (`unrecognized`), is believed between two answers that know a
video: one that came before it was asked, one to a question asked later, and no known pause in between. What came before
the first of them is asked again. More than a few such in a row, or too many among the recent answers, and a video known
to be good is asked for before anything else; so a ban is missed only if it begins and ends within those few.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from audioset_batch.reasons import Reason

_SAY_NOTHING: Final = frozenset(
    {
        Reason.NETWORK,
        Reason.HTTP_ERROR,
        Reason.TIMEOUT,
        Reason.INTERNAL,
        Reason.MEDIA_FORBIDDEN,
        Reason.NO_USABLE_FORMAT,
    }
)

LIKE_A_BAN: Final = frozenset({Reason.NONEXISTENT, Reason.UNRECOGNIZED})
"""The reasons that an address in a soft ban gets for every video."""


class Verdict(StrEnum):
    """What to do with an answer."""

    RECORD = "record"
    HOLD = "hold"
    DISCARD = "discard"


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several: DISCARD before HOLD before RECORD."""
    given = set(verdicts)
    return next((verdict for verdict in (Verdict.DISCARD, Verdict.HOLD) if verdict in given), Verdict.RECORD)


_RUN: Final = 3
"""So many of these in a row are nothing special; each probe that passes doubles it, until a video is found."""


class Guard:
    """The recent answers of one egress to this task.

    Args:
        share: Share of these from which the egress is suspected.
        recent: How many answers count as recent.
    """

    def __init__(self, share: float, recent: int) -> None:
        self._most = share * recent
        self._answers: deque[bool] = deque(maxlen=recent)
        self._run = 0
        self._run_most = _RUN
        self._first = (-1, 0)
        self._last = (-1, -1)

    @property
    def suspicious(self) -> bool:
        """True if a good video is to be asked for before anything else."""
        return self._run > self._run_most or sum(self._answers) > self._most

    def note(self, serial: int, epoch: int, reason: str, issued: int) -> None:
        """An answer to the grant number `serial` of an epoch, when `issued` grants were out; "" is a success."""
        if reason in _SAY_NOTHING:
            return
        dead = reason in LIKE_A_BAN
        self._answers.append(dead)
        if dead:
            self._run += 1
        else:
            self._run, self._run_most = 0, _RUN
            self._knows(serial, epoch, issued)

    def vouch(self, serial: int, epoch: int, issued: int) -> None:
        """A good video was found by the grant number `serial` of an epoch, when `issued` grants were out."""
        self._answers.clear()
        if self._run:
            self._run, self._run_most = 0, 2 * self._run_most
        self._knows(serial, epoch, issued)

    def _knows(self, serial: int, epoch: int, issued: int) -> None:
        if epoch > self._first[0]:
            self._first = (epoch, issued)
        self._last = max(self._last, (epoch, serial))

    def forget(self) -> None:
        """The egress was paused; what it said before counts no more."""
        self._answers.clear()
        self._run, self._run_most = 0, _RUN

    def verdict(self, serial: int, epoch: int, ended_at: int) -> Verdict:
        """Of an answer to the grant number `serial` of an epoch, which came when `ended_at` grants were out."""
        if self._last[0] != epoch or self._last[1] <= ended_at:
            return Verdict.HOLD
        return Verdict.RECORD if self._first[0] == epoch and self._first[1] < serial else Verdict.DISCARD
