"""Detect soft bans, during which YouTube answers that videos do not exist.

An answer `nonexistent` or `unrecognized` is accepted only between two answers that find a video, without a pause in
between: one that came before it was asked for, and one that was asked for later. Videos with such an answer before the
first of these are resolved again. After more than a few such answers in a row, or too many among the recent ones, a
video known to be good is probed first. A ban is therefore missed only if it begins and ends within those few answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from audioset_batch.reasons import Reason

_NEUTRAL_REASONS: Final = frozenset(
    {
        Reason.NETWORK,
        Reason.HTTP_ERROR,
        Reason.TIMEOUT,
        Reason.INTERNAL,
        Reason.MEDIA_FORBIDDEN,
        Reason.NO_USABLE_FORMAT,
    }
)

BAN_LIKE_REASONS: Final = frozenset({Reason.NONEXISTENT, Reason.UNRECOGNIZED})
"""The answers to every video during a soft ban."""


class Verdict(StrEnum):
    """What to do with an answer: record it, hold it until it is certain, or discard it."""

    RECORD = "record"
    HOLD = "hold"
    DISCARD = "discard"


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """The strictest of several verdicts: DISCARD before HOLD before RECORD."""
    given = set(verdicts)
    return next((verdict for verdict in (Verdict.DISCARD, Verdict.HOLD) if verdict in given), Verdict.RECORD)


_MAX_RUN: Final = 3
"""So many of these answers in a row are not suspicious. Each passed probe doubles it, until a video is found."""


class SoftBanDetector:
    """Watches the recent answers of one egress to this task.

    Args:
        share: The egress is suspicious if a larger share of recent answers looks like a ban.
        recent: Number of answers that count as recent.
    """

    def __init__(self, share: float, recent: int) -> None:
        self._max_suspicious = share * recent
        self._answers: deque[bool] = deque(maxlen=recent)
        self._run = 0
        self._max_run = _MAX_RUN
        self._first = (-1, 0)
        self._last = (-1, -1)

    @property
    def suspicious(self) -> bool:
        """True if a probe is needed before anything else."""
        return self._run > self._max_run or sum(self._answers) > self._max_suspicious

    def note(self, serial: int, epoch: int, reason: str, issued: int) -> None:
        """Note the answer to grant number `serial` of an epoch, after `issued` grants; "" is a success."""
        if reason in _NEUTRAL_REASONS:
            return
        dead = reason in BAN_LIKE_REASONS
        self._answers.append(dead)
        if dead:
            self._run += 1
        else:
            self._run, self._max_run = 0, _MAX_RUN
            self._video_known(serial, epoch, issued)

    def probe_passed(self, serial: int, epoch: int, issued: int) -> None:
        """Note that grant number `serial` of an epoch, a probe, has found its video, after `issued` grants."""
        self._answers.clear()
        if self._run:
            self._run, self._max_run = 0, 2 * self._max_run
        self._video_known(serial, epoch, issued)

    def _video_known(self, serial: int, epoch: int, issued: int) -> None:
        if epoch > self._first[0]:
            self._first = (epoch, issued)
        self._last = max(self._last, (epoch, serial))

    def forget(self) -> None:
        """Forget all answers, because the egress was paused."""
        self._answers.clear()
        self._run, self._max_run = 0, _MAX_RUN

    def verdict(self, serial: int, epoch: int, ended_at: int) -> Verdict:
        """The verdict on an answer to grant number `serial` of an epoch, which came after `ended_at` grants."""
        if self._last[0] != epoch or self._last[1] <= ended_at:
            return Verdict.HOLD
        return Verdict.RECORD if self._first[0] == epoch and self._first[1] < serial else Verdict.DISCARD
