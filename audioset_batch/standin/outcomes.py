"""What YouTube's player says of a video that cannot be watched, and of an address that it has blocked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from audioset_batch.standin.catalog import Outcome
from audioset_batch.standin.faults import Block


@dataclass(frozen=True, slots=True)
class Saying:
    """One `playabilityStatus`.

    Attributes:
        status: YouTube's own word.
        reason: First sentence.
        subreason: Second sentence, shown smaller; may be empty.
        age_gate: Sets the marker by which clients recognise an age gate.
    """

    status: str
    reason: str
    subreason: str = ""
    age_gate: bool = False

    def as_json(self, *, interstitial: bool = False) -> dict[str, Any]:
        """The `playabilityStatus` object of a player response.

        Args:
            interstitial: In the shape of August 2026 on: an interstitial has the sentences, and nothing else does.
        """
        answer: dict[str, Any] = {"status": self.status}
        if interstitial:
            view = {"title": {"content": self.reason}}
            if self.subreason:
                view["description"] = {"content": self.subreason}
            answer["errorScreen"] = {"playerInterstitialRenderer": {"content": {"interstitialViewModel": view}}}
        else:
            message = {"reason": {"simpleText": self.reason}}
            if self.subreason:
                message["subreason"] = {"simpleText": self.subreason}
            answer["reason"] = self.reason
            answer["errorScreen"] = {"playerErrorMessageRenderer": message}
        if self.age_gate:
            answer["desktopLegacyAgeGateReason"] = 1
        return answer


_UNAVAILABLE: Final = "Video unavailable"

SAYINGS: Final[dict[Outcome, Saying]] = {
    Outcome.REMOVED: Saying("ERROR", _UNAVAILABLE, "This video has been removed by the uploader"),
    Outcome.ACCOUNT_TERMINATED: Saying(
        "ERROR",
        _UNAVAILABLE,
        "This video is no longer available because the YouTube account associated with this video has been terminated.",
    ),
    Outcome.NONEXISTENT: Saying("ERROR", _UNAVAILABLE, "This video is unavailable"),
    Outcome.DOES_NOT_EXIST: Saying("ERROR", "This video does not exist."),
    Outcome.NOT_AVAILABLE: Saying("ERROR", "This video is not available"),
    Outcome.PRIVATE: Saying("LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access to this video"),
    Outcome.COPYRIGHT_CLAIM: Saying(
        "ERROR", _UNAVAILABLE, "This video is no longer available due to a copyright claim by Example Music Ltd."
    ),
    Outcome.COPYRIGHT_BLOCK: Saying(
        "UNPLAYABLE",
        _UNAVAILABLE,
        "This video contains content from Example Records, who has blocked it on copyright grounds",
    ),
    Outcome.GEO_BLOCKED: Saying(
        "UNPLAYABLE", _UNAVAILABLE, "The uploader has not made this video available in your country"
    ),
    Outcome.AGE: Saying(
        "LOGIN_REQUIRED",
        "Sign in to confirm your age",
        "This video may be inappropriate for some users.",
        age_gate=True,
    ),
    Outcome.MEMBERS: Saying(
        "UNPLAYABLE",
        "Join this channel to get access to members-only content like this video, and other exclusive perks.",
    ),
    Outcome.PURCHASE: Saying("UNPLAYABLE", "This video requires payment to watch"),
    Outcome.UPCOMING: Saying("LIVE_STREAM_OFFLINE", "This live event will begin in 3 hours."),
}

KIDS: Final = Saying("UNPLAYABLE", "This video is not available")
"""Of a video made for kids, to a client that has none of these."""

BLOCK_SAYINGS: Final[dict[Block, Saying]] = {
    # The apostrophe is typographic, as YouTube's.
    Block.BOT_CHECK: Saying(
        "LOGIN_REQUIRED",
        "Sign in to confirm you’re not a bot",
        "This helps protect our community. Learn more",
    ),
    Block.RATE_LIMIT: Saying("UNPLAYABLE", "This content isn't available, try again later."),
    Block.SOFT_BAN: SAYINGS[Outcome.NOT_AVAILABLE],
}
