"""What resolves through an egress have lost, counted over all tasks, and how to go on after that.

YouTube changes, and a yt-dlp that does not know it loses every video alike; a network fails, and so does every
connection. Neither says anything about a video, so neither may use up the list. Pure: no files, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from audioset_batch import untrusted
from audioset_batch.reasons import TRANSIENT_REASONS, Reason

TRANSPORT: Final = frozenset({Reason.NETWORK, Reason.TIMEOUT})
"""What a resolve ends with when its connection fails."""

DOUBTFUL: Final = 5
"""From so many losses on, one resolve at a time for all tasks together: what is in flight would be lost as well."""
MOST_LOST: Final = 20
"""From so many losses on, a video known to be good decides."""
MOST_CUT: Final = 5
"""So many failed connections in a row, and a video known to be good decides."""
SLOW_SLOTS: Final = 20
"""One slot in so many is used while the losses go on although the probe was good."""

_EXAMPLE_LENGTH: Final = 160
_MOST_COUNTED: Final = 10**9


class Course(StrEnum):
    """How resolves may go on."""

    FULL = "full"
    SINGLE = "single"
    PROBE = "probe"
    SLOW = "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What all tasks have lost lately through one egress. Times are Unix times of the filesystem's clock.

    Attributes:
        lost: Transient failures, less the clips since; at most `MOST_LOST`.
        cut: Failed connections since the last answer of any kind; at most `MOST_CUT`.
        reasons: How many of the losses there were of each reason.
        example: The last one's text.
        served_at: When the latest resolve began that brought a clip, as far as it was written down: it is after losses.
        reached_at: When a probe last passed that was asked for here.
        cleared_at: The same, of those that came after `MOST_LOST` losses.
    """

    lost: int = 0
    cut: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    example: str = ""
    served_at: float = 0.0
    reached_at: float = 0.0
    cleared_at: float = 0.0

    @classmethod
    def from_values(cls, values: object) -> Losses:
        """What another task, user or version wrote; counts are cut, and reasons that are none left out.

        Raises:
            ValueError: it is damaged.
        """
        found = untrusted.fields_of(cls, values)
        reasons = values.get("reasons", {}) if isinstance(values, dict) else {}
        if not isinstance(reasons, dict):
            raise ValueError(f"reasons: expected an object, found {type(reasons).__name__}")
        known = {
            str(r): untrusted.whole(reasons[r], 0, _MOST_COUNTED) for r in sorted(TRANSIENT_REASONS & set(reasons))
        }
        bounds = {name: min(found.get(name, 0), most) for name, most in (("lost", MOST_LOST), ("cut", MOST_CUT))}
        return cls(**{**found, **bounds, "reasons": known, "example": found.get("example", "")[:_EXAMPLE_LENGTH]})

    def lose(self, reason: str, detail: str, *, again: bool = False) -> Losses:
        """A resolve ended with a transient reason; `again`: as this segment has before, which is no news at first."""
        cut = min(self.cut + 1, MOST_CUT) if reason in TRANSPORT else 0
        no_news = again and self.lost < DOUBTFUL and self.cleared_at <= self.served_at
        lost = self.lost if no_news else min(self.lost + 1, MOST_LOST)
        if (lost, cut) == (self.lost, self.cut):
            return self  # nothing new, and nothing to write
        return replace(
            self,
            lost=lost,
            cut=cut,
            reasons={**self.reasons, str(reason): self.reasons.get(reason, 0) + 1},
            example=" ".join(detail.split())[:_EXAMPLE_LENGTH],
        )

    def serve(self, began: float) -> Losses:
        """A resolve that began then brought a clip."""
        if not self.lost and not self.cut:
            return self
        lost = max(0, self.lost - 1)
        kept = replace(self, lost=lost, cut=0, served_at=max(self.served_at, began))
        return kept if lost else replace(kept, reasons={}, example="")

    def answer(self) -> Losses:
        """A resolve was answered about its video: there is a connection."""
        return replace(self, cut=0) if self.cut else self

    def passed(self, now: float) -> Losses:
        """A video known to be good was there, with its media: after many losses, they have a second chance."""
        if self.lost < MOST_LOST:
            return replace(self, cut=0, reached_at=now)
        if self.cleared_at > self.served_at:
            return replace(self, cut=0, reached_at=now, cleared_at=now)
        return Losses(served_at=self.served_at, reached_at=now, cleared_at=now)

    def course(self, now: float, cleared_for: float) -> Course:
        """How to go on.

        Args:
            now: Of the filesystem's clock.
            cleared_for: Seconds that a probe which passed after `MOST_LOST` losses speaks for the egress.
        """
        if self.lost >= MOST_LOST and 0 <= now - self.cleared_at < cleared_for:
            return Course.SLOW
        if self.lost >= MOST_LOST or self.cut >= MOST_CUT:
            return Course.PROBE
        return Course.SINGLE if self.lost >= DOUBTFUL else Course.FULL

    @property
    def untroubled(self) -> bool:
        """True if the course is `FULL`, whatever the time."""
        return self.lost < DOUBTFUL and self.cut < MOST_CUT

    @property
    def summary(self) -> str:
        """`14 media_forbidden, 6 http_error; the last: ...`."""
        counts = sorted(self.reasons.items(), key=lambda item: -item[1])
        told = ", ".join(f"{count} {reason}" for reason, count in counts) or f"{self.lost} losses"
        return f"{told}; the last: {self.example}" if self.example else told
