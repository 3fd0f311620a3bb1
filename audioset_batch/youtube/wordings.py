"""What YouTube's refusals mean: the one table from wording to meaning.

Text is compared in lower case and with ASCII apostrophes; the first matching rule decides. "Sign in" alone decides
nothing: private, age and bot check all start with it. Nor does "Video unavailable", the title of many other messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from audioset_batch.reasons import Reason


@dataclass(frozen=True, slots=True)
class Blocked:
    """The message is about the client's address; `kind` names the sort of ban."""

    kind: str


Meaning = Blocked | Reason
"""A ban; a permanent reason, which is a fact about the video; or a transient reason."""

_RULES: Final[tuple[tuple[str, Meaning], ...]] = (
    # About the address, not the video.
    (r"(not|aren't) a (ro)?bot|unusual traffic|captcha|^please sign in(\. use --cookies.*)?\.?$", Blocked("bot check")),
    (r"content (isn't|is not) available[,.]? (please )?try again later|rate.?limited", Blocked("rate limit")),
    (r"too many requests|http error 429", Blocked("HTTP 429")),
    (r"\bvpn\b.*(detected|turn off)|proxy[^.]*detected", Blocked("VPN or proxy detected")),
    (r"\bip( address)? (is|has been|was)\b[^.]*\bblocked", Blocked("blocked address")),
    # Gone with its account.
    (r"(?<!your )\b(account|channel)s?\b[^.]*\b(terminated|suspended|closed|deleted|removed)",
     Reason.ACCOUNT_TERMINATED),
    (r"(terminated|suspended|closed|deleted) (their|the|this) ([\w']+ )?(account|channel)", Reason.ACCOUNT_TERMINATED),
    # Removed, for various causes; before the country, which the advice that follows may mention.
    (r"(video|content)\b[^.]*\b(been|was) (removed|deleted|taken down)(?! (from|on|in) (this|your)\b)(?!.*copyright)",
     Reason.REMOVED),
    (r"(trademark|privacy|legal|counterfeit) (claim|complaint|request|order)", Reason.REMOVED),
    # Blocked in this country.
    (r"(\bnot\b|cannot|n't|blocked|unavailable|restricted|removed)[^.]*\b(in|from|on|for) (your|this)( current)? "
     r"(country|region|location|territory)", Reason.GEO_BLOCKED),
    (r"geo.?restrict", Reason.GEO_BLOCKED),
    (r"copyright", Reason.COPYRIGHT),
    (r"private video|video is (now )?(set to )?private|made this video private", Reason.PRIVATE),
    # Age-restricted.
    (r"(confirm|verify) your age|age.?(restrict|verif|limit)|inappropriate for some|over 18|viewer discretion",
     Reason.LOGIN_REQUIRED),
    # About the client that asked.
    (r"(\bnot|n't|no longer|cannot)\b[^.]*\b(on|in|with|by) (this|your) ([\w-]+ )?(app|application|device|version"
     r"|browser|platform|client)\b|\bthis version of|latest version of|other websites|drm protected",
     Reason.NO_USABLE_FORMAT),
    # Members only, or to be purchased.
    (r"members?.only|channel's members|members of this channel|join this channel|only available to|premium"
     r"|requires? (a )?(payment|purchase|subscription)|\bpurchase\b|\brent(al)?\b|\bbuy\b", Reason.LOGIN_REQUIRED),
    # Live, upcoming, or just ended.
    (r"live ?(event|stream)|premier(e|es|ing)\b|\bis upcoming\b|(event|stream) (is|has) (offline|ended)", Reason.LIVE),
    # Temporary.
    (r"error occurred|something went wrong|technical difficult|try again|error code|needs to be reloaded",
     Reason.HTTP_ERROR),
    # There is no such video.
    (r"\bvideo\b[^.]*\b(does(n't| not) exist|no longer (available|exists?)|(isn't|is not) available anymore)",
     Reason.NONEXISTENT),
    (r"^(video unavailable\. )?this video is unavailable\.?$", Reason.NONEXISTENT),
)  # fmt: skip

_NAMES: Final = re.compile(
    r"(?<=content from ).*(?=,? (?:one or more of )?whom? (?:has|have)\b)|(?<=claim by ).*|(?<=members on level).*"
)
"""Names that others choose freely, of rights holders and membership levels: no part of YouTube's wording."""

_COMPILED: Final = tuple((re.compile(pattern), meaning) for pattern, meaning in _RULES)


def plain(text: str) -> str:
    """Normalize a text for comparison: one line, lower case, ASCII apostrophes."""
    return " ".join(text.replace("’", "'").replace("‘", "'").replace("\u02bc", "'").lower().split())


def meaning_of(text: str) -> Meaning | None:
    """The meaning of a refusal; None if its wording is unknown or vague, such as "This video is not available"."""
    words = _NAMES.sub("...", plain(text))
    return next((meaning for pattern, meaning in _COMPILED if pattern.search(words)), None)


def from_settings(text: str, wordings: Mapping[str, Reason]) -> tuple[str, Reason] | None:
    """The first pattern of `youtube.wordings` that the text contains, and its reason; None if there is none."""
    words = plain(text)
    return next(((pattern, reason) for pattern, reason in wordings.items() if plain(pattern) in words), None)
