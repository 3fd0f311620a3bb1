"""A soft ban looks like dead videos: nothing is said about a video by an egress that may be lying.

An answer `nonexistent` is held back until the same egress, asked later, knows some other video. When too many of the
recent answers are `nonexistent`, a video known to be good is asked for before anything else.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

from audioset_batch.reasons import Reason

_SAY_NOTHING: Final = frozenset(
    {Reason.NETWORK, Reason.HTTP_ERROR, Reason.TIMEOUT, Reason.INTERNAL, Reason.MEDIA_FORBIDDEN}
)


class Verdict(StrEnum):
    """What to do with an answer."""

    RECORD = "record"
    HOLD = "hold"
    DISCARD = "discard"


class Guard:
    """The recent answers of one egress to this task.

    Args:
        share: Share of `nonexistent` from which the egress is suspected.
        recent: How many answers count as recent.
    """

    def __init__(self, share: float, recent: int) -> None:
        self._most = share * recent
        self._answers: deque[bool] = deque(maxlen=recent)
        self._vouched = (-1, -1)

    @property
    def suspicious(self) -> bool:
        """True if a good video is to be asked for before anything else."""
        return sum(self._answers) > self._most

    def note(self, serial: int, epoch: int, reason: str) -> None:
        """An answer to the grant number `serial` of an epoch; "" is a success."""
        if reason in _SAY_NOTHING:
            return
        dead = reason == Reason.NONEXISTENT
        self._answers.append(dead)
        if not dead:
            self._vouched = max(self._vouched, (epoch, serial))

    def vouch(self, serial: int, epoch: int) -> None:
        """A good video was found by the grant number `serial` of an epoch."""
        self._answers.clear()
        self._vouched = max(self._vouched, (epoch, serial))

    def forget(self) -> None:
        """The egress was paused; what it said before counts no more."""
        self._answers.clear()

    def vouched_after(self, serial: int, epoch: int) -> bool:
        """True if a grant later than number `serial`, before any further pause, found a video."""
        return self._vouched[0] == epoch and self._vouched[1] > serial
