"""The words of the manifest's `status` and `reason` columns. Other people's scripts read them."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What is known about a segment."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    PENDING = "pending"


class Reason(StrEnum):
    """Why a segment is not ok: first the permanent reasons, then the transient ones."""

    REMOVED = "removed"
    ACCOUNT_TERMINATED = "account_terminated"
    COPYRIGHT = "copyright"
    GEO_BLOCKED = "geo_blocked"
    PRIVATE = "private"
    LOGIN_REQUIRED = "login_required"
    NONEXISTENT = "nonexistent"
    NO_AUDIO = "no_audio"
    NO_VIDEO = "no_video"
    SEGMENT_PAST_END = "segment_past_end"
    LIVE = "live"
    FORMAT_UNAVAILABLE = "format_unavailable"

    NETWORK = "network"
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    MEDIA_FORBIDDEN = "media_forbidden"
    DECODE_ERROR = "decode_error"
    NO_USABLE_FORMAT = "no_usable_format"
    UNRECOGNIZED = "unrecognized"
    INTERNAL = "internal"

    @property
    def permanent(self) -> bool:
        """True if trying again from the same egress cannot help."""
        return self not in TRANSIENT_REASONS


TRANSIENT_REASONS = frozenset(
    {
        Reason.NETWORK,
        Reason.HTTP_ERROR,
        Reason.TIMEOUT,
        Reason.TRUNCATED,
        Reason.MEDIA_FORBIDDEN,
        Reason.DECODE_ERROR,
        Reason.NO_USABLE_FORMAT,
        Reason.UNRECOGNIZED,
        Reason.INTERNAL,
    }
)
"""A segment that ends with one of these is `failed` and tried again by later runs."""

REFUSALS = (
    Reason.REMOVED,
    Reason.ACCOUNT_TERMINATED,
    Reason.COPYRIGHT,
    Reason.GEO_BLOCKED,
    Reason.PRIVATE,
    Reason.LOGIN_REQUIRED,
    Reason.NONEXISTENT,
    Reason.LIVE,
    Reason.HTTP_ERROR,
    Reason.NO_USABLE_FORMAT,
)
"""What the words of a refusal can mean."""

ONCE_A_RUN = frozenset({Reason.NO_USABLE_FORMAT, Reason.UNRECOGNIZED})
"""Transient reasons that another try seconds later does not change: no retries within a run."""
