"""Wording by wording: what YouTube and yt-dlp say, and what we make of it."""

import pytest

from audioset_batch.adapters.youtube_errors import Evidence, classify, short
from audioset_batch.errors import EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason

PREFIX = "ERROR: [youtube] abcdefghijk: "

UNAVAILABLE = [
    ("Video unavailable. This video has been removed by the uploader", Reason.REMOVED),
    ("This video has been removed for violating YouTube's Community Guidelines", Reason.REMOVED),
    (
        "Video unavailable. This video is no longer available because the YouTube account associated with "
        "this video has been terminated.",
        Reason.ACCOUNT_TERMINATED,
    ),
    (
        "This video is no longer available because the uploader has closed their YouTube account.",
        Reason.ACCOUNT_TERMINATED,
    ),
    ("Video unavailable. This video is unavailable", Reason.NONEXISTENT),
    ("Video unavailable", Reason.NONEXISTENT),
    ("This video does not exist.", Reason.NONEXISTENT),
    ("This video is not available", Reason.NONEXISTENT),
    ("Video unavailable. This video is not available", Reason.NONEXISTENT),
    ("Private video. Sign in if you've been granted access to this video", Reason.PRIVATE),
    ("Private video. Sign in if you’ve been granted access to this video", Reason.PRIVATE),
    (
        "Video unavailable. This video is no longer available due to a copyright claim by Some Label",
        Reason.COPYRIGHT,
    ),
    (
        "Video unavailable. This video contains content from SME, who has blocked it on copyright grounds",
        Reason.COPYRIGHT,
    ),
    (
        "Video unavailable. This video contains content from SME, who has blocked it in your country on "
        "copyright grounds",
        Reason.GEO_BLOCKED,
    ),
    ("The uploader has not made this video available in your country", Reason.GEO_BLOCKED),
    ("Sign in to confirm your age. This video may be inappropriate for some users.", Reason.LOGIN_REQUIRED),
    (
        "Join this channel to get access to members-only content like this video, and other exclusive perks.",
        Reason.LOGIN_REQUIRED,
    ),
    ("This video requires payment to watch", Reason.LOGIN_REQUIRED),
    ("This live event will begin in 3 days.", Reason.LIVE),
    ("Premieres in 5 hours", Reason.LIVE),
]

BLOCKED = [
    "Sign in to confirm you're not a bot. Use --cookies-from-browser or --cookies for the authentication.",
    "Sign in to confirm you’re not a bot. This helps protect our community.",
    "Video unavailable. This content isn't available, try again later. Your account has been rate-limited by "
    "YouTube for up to an hour.",
    "This content isn’t available, try again later.",
    "Unable to download API page: HTTP Error 429: Too Many Requests (caused by <HTTPError 429>)",
]

TRANSIENT = [
    (Evidence("Unable to download API page: The read operation timed out", transport=True), Reason.TIMEOUT),
    (Evidence("Unable to download webpage: Connection reset by peer", transport=True), Reason.NETWORK),
    (
        Evidence("Unable to download API page: ('Cannot connect to proxy.', ...)", transport=True),
        Reason.NETWORK,
    ),
    (
        Evidence("Unable to download API page: HTTP Error 503: Service Unavailable", http_status=503),
        Reason.HTTP_ERROR,
    ),
    (Evidence("No video formats found!"), Reason.HTTP_ERROR),
    (
        Evidence("Failed to extract any player response", ("Unable to download API page: timed out",)),
        Reason.TIMEOUT,
    ),
    (
        Evidence("Failed to extract any player response", ("Unable to download API page: Connection refused",)),
        Reason.NETWORK,
    ),
    (Evidence("Sign in"), Reason.HTTP_ERROR),
    (Evidence("Something nobody has seen before"), Reason.INTERNAL),
]


@pytest.mark.parametrize(("wording", "reason"), UNAVAILABLE)
def test_permanent(wording: str, reason: Reason) -> None:
    error = classify(Evidence(PREFIX + wording))
    assert isinstance(error, SegmentUnavailable), error
    assert error.reason == reason


@pytest.mark.parametrize("wording", BLOCKED)
def test_blocked_egress(wording: str) -> None:
    assert isinstance(classify(Evidence(PREFIX + wording)), EgressBlocked)


@pytest.mark.parametrize("message", ["No video formats found!", "Failed to extract any player response"])
def test_a_429_that_yt_dlp_only_warns_about(message: str) -> None:
    warnings = ("[youtube] abcdefghijk: Unable to download API page: HTTP Error 429: Too Many Requests",)
    assert isinstance(classify(Evidence(PREFIX + message, warnings)), EgressBlocked)


def test_status_of_the_cause_counts_without_any_wording() -> None:
    assert isinstance(classify(Evidence("Unable to download webpage", http_status=429)), EgressBlocked)


def test_a_429_in_the_warnings_does_not_hide_what_is_known_of_the_video() -> None:
    evidence = Evidence(PREFIX + "Private video", ("Unable to download API page: HTTP Error 429",))
    error = classify(evidence)
    assert isinstance(error, SegmentUnavailable)
    assert error.reason == Reason.PRIVATE


@pytest.mark.parametrize(("evidence", "reason"), TRANSIENT)
def test_transient(evidence: Evidence, reason: Reason) -> None:
    error = classify(evidence)
    assert isinstance(error, SegmentTransient), error
    assert error.reason == reason


def test_geo_restriction_by_type() -> None:
    error = classify(Evidence("any words", geo_restricted=True))
    assert isinstance(error, SegmentUnavailable)
    assert error.reason == Reason.GEO_BLOCKED


def test_detail_is_one_short_line_without_advice() -> None:
    text = short(PREFIX + "Private video.\n Sign in. Use --cookies-from-browser or --cookies. " + "x" * 500)
    assert text == "Private video. Sign in"
    assert len(short("y" * 500)) == 300


def test_what_is_vague_is_completed_by_the_warning_before_it() -> None:
    unknown = (
        "[youtube] Unable to download API page: Failed to resolve 'www.youtube.com' (caused by TransportError('x'))"
    )
    message = f"{PREFIX}Failed to extract any player response; please report this issue on https://example.org/"
    error = classify(Evidence(message, warnings=[unknown, f"{PREFIX}No video formats found!"]))
    assert isinstance(error, SegmentTransient)
    assert error.reason == Reason.NETWORK
    assert error.detail == (
        "Failed to extract any player response: Unable to download API page: Failed to resolve 'www.youtube.com'"
    )
