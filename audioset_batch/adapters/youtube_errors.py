"""What YouTube's and yt-dlp's words mean: the one table from wording to decision.

Pure text in, error out; `adapters.ytdlp` collects the evidence. "Sign in" alone decides nothing, and a 429
on the player API reaches the exception only as "No video formats found!", so warnings count as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audioset_batch.errors import AudiosetBatchError, EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason

# Order matters: the first match decides. Apostrophes are ASCII and everything is lower case by then.
_UNAVAILABLE: Final[tuple[tuple[str, Reason], ...]] = (
    (r"blocked it in your country|not made this video available in your country", Reason.GEO_BLOCKED),
    (r"not available (in|from) your (country|location)|geo.?restrict", Reason.GEO_BLOCKED),
    (r"copyright", Reason.COPYRIGHT),
    (r"account associated with this video|closed their youtube account", Reason.ACCOUNT_TERMINATED),
    (r"(account|channel) (has been|was) (terminated|removed)", Reason.ACCOUNT_TERMINATED),
    (r"private video|video is private", Reason.PRIVATE),
    (r"confirm your age|inappropriate for some users|age.restricted", Reason.LOGIN_REQUIRED),
    (
        r"members-only|join this channel|requires payment|music premium|purchase|rent(al)? ",
        Reason.LOGIN_REQUIRED,
    ),
    (r"live event|premieres? (in|will)|is upcoming|live stream (recording )?is (not|offline)", Reason.LIVE),
    (r"has been removed|removed by the (uploader|user)|removed for violating", Reason.REMOVED),
    (r"(is|are) drm protected", Reason.NO_AUDIO),
    (r"video is (not available|unavailable)|does not exist|no longer available", Reason.NONEXISTENT),
    (r"video unavailable|incomplete youtube id|truncated", Reason.NONEXISTENT),
)

_BLOCKED: Final[tuple[tuple[str, str], ...]] = (
    (r"confirm you're not a bot", "bot check"),
    (r"isn't available, try again later|rate.?limited by youtube", "rate limit"),
    (r"http error 429|too many requests", "HTTP 429"),
    (r"unusual traffic|captcha", "bot check"),
)

# These say only that something else went wrong before: look at the warnings first.
_VAGUE: Final = re.compile(r"no video formats found|failed to extract any player response|unable to extract")

_TIMEOUT: Final = re.compile(r"timed? ?out")
_HTTP_STATUS: Final = re.compile(r"http error (\d{3})")
_NETWORK: Final = re.compile(
    r"unable to download|connection|reset by peer|refused|unreachable|resolve host|name or service|ssl|proxy"
    r"|incomplete ?read|bytes read|remote end closed|network"
)
_DETAIL_LENGTH: Final = 300
_SIGN_IN: Final = re.compile(r"sign in|log ?in|account cookies")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a resolve that went wrong.

    Attributes:
        message: Text of the exception.
        warnings: What yt-dlp warned about during this resolve.
        http_status: Status of the HTTP error behind the exception, if there is one.
        transport: True if the cause is a connection that failed.
        geo_restricted: True if yt-dlp itself said so by the type of its error.
    """

    message: str
    warnings: Sequence[str] = ()
    http_status: int | None = None
    transport: bool = False
    geo_restricted: bool = False


def _plain(text: str) -> str:
    return text.replace("’", "'").replace("‘", "'").lower()


def _first(rules: Sequence[tuple[str, str | Reason]], text: str) -> str | Reason | None:
    return next((value for pattern, value in rules if re.search(pattern, text)), None)


def short(message: str) -> str:
    """A yt-dlp message as it goes to the `detail` column: one line, no advice, at most 300 characters."""
    text = " ".join(message.split()).removeprefix("ERROR: ")
    text = re.sub(r"^\[youtube[^\]]*\] (\S{11}: )?", "", text)
    text = re.split(r"; please report this issue| \(caused by |\. Use --cookies|;? ?see {1,2}https?:", text)[0]
    return text[:_DETAIL_LENGTH]


def is_vague(message: str) -> bool:
    """Whether a message says only that something went wrong before it."""
    return _VAGUE.search(_plain(message)) is not None


def too_many_requests(warnings: Sequence[str]) -> bool:
    """Whether a 429 is among the warnings; a resolve may have succeeded in spite of it, through another client."""
    return re.search(r"http error 429|too many requests", _plain("\n".join(warnings))) is not None


def classify(evidence: Evidence) -> AudiosetBatchError:
    """The error that a failed resolve amounts to."""
    message = _plain(evidence.message)
    warnings = _plain("\n".join(evidence.warnings))
    detail = short(evidence.message)
    blocked = _first(_BLOCKED, message)
    if blocked is None and evidence.http_status == 429:
        blocked = "HTTP 429"
    if blocked is not None:
        return EgressBlocked(f"{blocked}: {detail}")
    vague = is_vague(message)
    if not vague:
        if evidence.geo_restricted:
            return SegmentUnavailable(Reason.GEO_BLOCKED, detail)
        if not evidence.transport and evidence.http_status is None:
            reason = _first(_UNAVAILABLE, message)
            if isinstance(reason, Reason):
                return SegmentUnavailable(reason, detail)
    blocked = _first(_BLOCKED, warnings)
    if blocked is not None and (vague or evidence.transport):
        return EgressBlocked(f"{blocked}: {detail} (from yt-dlp's warnings)")
    if vague:  # the last warning that is not vague itself is why
        causes = [short(warning) for warning in evidence.warnings if not is_vague(warning)]
        detail = f"{detail}: {causes[-1]}"[:_DETAIL_LENGTH] if causes else detail
    return SegmentTransient(*_transient(message, warnings if vague else "", evidence, detail))


def _transient(message: str, warnings: str, evidence: Evidence, detail: str) -> tuple[Reason, str]:
    text = f"{message}\n{warnings}"
    if _TIMEOUT.search(text):
        return Reason.TIMEOUT, detail
    status = _HTTP_STATUS.search(text)
    if evidence.http_status is not None or status is not None:
        return Reason.HTTP_ERROR, detail
    if evidence.transport or _NETWORK.search(text):
        return Reason.NETWORK, detail
    if is_vague(message) or _SIGN_IN.search(message):
        return Reason.HTTP_ERROR, detail
    return Reason.INTERNAL, detail
