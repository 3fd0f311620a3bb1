"""Count the failed resolves of an egress over all tasks, and derive how far to throttle it.

Pure functions and values: no files, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from audioset_batch import untrusted
from audioset_batch.reasons import TRANSIENT_REASONS, Reason

TRANSPORT: Final = frozenset({Reason.NETWORK, Reason.TIMEOUT})
"""The reasons of a failed connection."""

DOUBTFUL: Final = 5
"""From so many losses on, all tasks together have one resolve in flight, because others would probably fail, too."""
MAX_LOST: Final = 20
"""From so many losses on, a probe decides."""
MAX_CUT: Final = 5
"""After so many failed connections in a row, a probe decides."""
SLOW_SLOTS: Final = 20
"""One slot in so many is used if resolves keep failing although the probe passed."""

_EXAMPLE_LENGTH: Final = 160
_MAX_COUNTED: Final = 10**9


class Throttle(StrEnum):
    """How far resolves are throttled: not at all, one at a time, a probe first, or only a few slots."""

    FULL = "full"
    SINGLE = "single"
    PROBE = "probe"
    SLOW = "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The recent failures of one egress, over all tasks. Times are Unix times of the filesystem's clock.

    Attributes:
        lost: Transient failures minus successes since; at most `MAX_LOST`.
        cut: Failed connections since the last answer of any kind; at most `MAX_CUT`.
        reasons: Number of failures by reason.
        example: Text of the last failure.
        served_at: Start of the latest successful resolve that was written down, which happens after failures only.
        reached_at: When a requested probe last passed.
        cleared_at: The same, for probes after `MAX_LOST` losses.
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
        """Decode what another task, user or version wrote; counts are limited, and unknown reasons left out.

        Raises:
            ValueError: it is damaged.
        """
        found = untrusted.fields_of(cls, values)
        reasons = values.get("reasons", {}) if isinstance(values, dict) else {}
        if not isinstance(reasons, dict):
            raise ValueError(f"reasons: expected an object, found {type(reasons).__name__}")
        known = {str(r): untrusted.whole(reasons[r], 0, _MAX_COUNTED) for r in sorted(TRANSIENT_REASONS & set(reasons))}
        bounds = {name: min(found.get(name, 0), most) for name, most in (("lost", MAX_LOST), ("cut", MAX_CUT))}
        return cls(**{**found, **bounds, "reasons": known, "example": found.get("example", "")[:_EXAMPLE_LENGTH]})

    def lose(self, reason: str, detail: str, *, again: bool = False) -> Losses:
        """Count a transient failure; `again`: the same segment has failed before, which does not count at first."""
        cut = min(self.cut + 1, MAX_CUT) if reason in TRANSPORT else 0
        no_news = again and self.lost < DOUBTFUL and self.cleared_at <= self.served_at
        lost = self.lost if no_news else min(self.lost + 1, MAX_LOST)
        if (lost, cut) == (self.lost, self.cut):
            return self  # unchanged: nothing to write
        return replace(
            self,
            lost=lost,
            cut=cut,
            reasons={**self.reasons, str(reason): self.reasons.get(reason, 0) + 1},
            example=" ".join(detail.split())[:_EXAMPLE_LENGTH],
        )

    def serve(self, began: float) -> Losses:
        """Count a successful resolve that began at time `began`."""
        if not self.lost and not self.cut:
            return self
        lost = max(0, self.lost - 1)
        kept = replace(self, lost=lost, cut=0, served_at=max(self.served_at, began))
        return kept if lost else replace(kept, reasons={}, example="")

    def answer(self) -> Losses:
        """Count an answer about a video, which shows that there is a connection."""
        return replace(self, cut=0) if self.cut else self

    def passed(self, now: float) -> Losses:
        """Count a passed probe, which resets the losses unless it follows another one without success in between."""
        if self.lost < MAX_LOST:
            return replace(self, cut=0, reached_at=now)
        if self.cleared_at > self.served_at:
            return replace(self, cut=0, reached_at=now, cleared_at=now)
        return Losses(served_at=self.served_at, reached_at=now, cleared_at=now)

    def throttle(self, now: float, cleared_for: float) -> Throttle:
        """How far to throttle.

        Args:
            now: Time of the filesystem's clock.
            cleared_for: Seconds for which a probe that passed after `MAX_LOST` losses is valid.
        """
        if self.lost >= MAX_LOST and 0 <= now - self.cleared_at < cleared_for:
            return Throttle.SLOW
        if self.lost >= MAX_LOST or self.cut >= MAX_CUT:
            return Throttle.PROBE
        return Throttle.SINGLE if self.lost >= DOUBTFUL else Throttle.FULL

    @property
    def untroubled(self) -> bool:
        """True if resolves are not throttled at all."""
        return self.lost < DOUBTFUL and self.cut < MAX_CUT

    @property
    def summary(self) -> str:
        """The losses as text: `14 media_forbidden, 6 http_error; the last: ...`."""
        counts = sorted(self.reasons.items(), key=lambda item: -item[1])
        told = ", ".join(f"{count} {reason}" for reason, count in counts) or f"{self.lost} losses"
        return f"{told}; the last: {self.example}" if self.example else told
