"""Wording by wording: what YouTube says, and what we make of it."""

import pytest

from audioset_batch.reasons import TRANSIENT_REASONS, Reason
from audioset_batch.youtube.wordings import Blocked, from_settings, meaning_of

R = Reason
BLOCKED = "blocked"
UNSETTLED = "unsettled"

MEANINGS = [
    # Gone.
    ("Video unavailable. This video has been removed by the uploader", R.REMOVED),
    ("This video has been removed for violating YouTube's policy on spam. Learn more in your country.", R.REMOVED),
    ("This video has been removed because its content violated YouTube's Terms of Service.", R.REMOVED),
    ("Video unavailable. This video has been deleted", R.REMOVED),
    ("Video unavailable. This video is no longer available due to a trademark claim by a third party", R.REMOVED),
    ("This video is no longer available due to a privacy claim by a third party", R.REMOVED),
    (
        "Video unavailable. This video is no longer available because the YouTube account associated with this video "
        "has been terminated.",
        R.ACCOUNT_TERMINATED,
    ),
    ("This video is no longer available because the uploader has closed their account.", R.ACCOUNT_TERMINATED),
    ("This account has been suspended.", R.ACCOUNT_TERMINATED),
    ("This channel was removed because it violated our Community Guidelines.", R.ACCOUNT_TERMINATED),
    ("This video is no longer available due to a copyright claim by Some Label", R.COPYRIGHT),
    ("Video unavailable. This video has been removed due to a copyright claim", R.COPYRIGHT),
    ("This video contains content from SME, who has blocked it on copyright grounds", R.COPYRIGHT),
    ("Video unavailable. This video is unavailable", R.NONEXISTENT),
    ("This video is unavailable.", R.NONEXISTENT),
    ("This video does not exist.", R.NONEXISTENT),
    ("This video isn’t available anymore", R.NONEXISTENT),
    # Not for everybody.
    ("Private video. Sign in if you’ve been granted access to this video", R.PRIVATE),
    ("This video is private", R.PRIVATE),
    ("This video contains content from SME, who has blocked it in your country on copyright grounds", R.GEO_BLOCKED),
    ("The uploader has not made this video available in your country", R.GEO_BLOCKED),
    ("This content is not available on this country domain due to a court order.", R.GEO_BLOCKED),
    ("Content isn't available in your country or region", R.GEO_BLOCKED),
    ("Sign in to confirm your age. This video may be inappropriate for some users.", R.LOGIN_REQUIRED),
    ("The uploader has restricted this video to people over 18.", R.LOGIN_REQUIRED),
    ("The following content may contain self-harm topics. Viewer discretion is advised.", R.LOGIN_REQUIRED),
    ("This video is available to this channel's members on level: Gold", R.LOGIN_REQUIRED),
    ("Join this channel to get access to members-only content", R.LOGIN_REQUIRED),
    ("The video is only available to Music Premium members", R.LOGIN_REQUIRED),
    ("This video requires payment to watch.", R.LOGIN_REQUIRED),
    ("Rent or buy to watch", R.LOGIN_REQUIRED),
    # No video yet, or no longer.
    ("This live event will begin in 3 days.", R.LIVE),
    ("Premieres in 5 hours", R.LIVE),
    ("This live stream recording is not available", R.LIVE),
    # About the address.
    ("Sign in to confirm you’re not a bot. Use --cookies for the authentication", BLOCKED),
    ("Please sign in", BLOCKED),
    ("This content isn’t available, try again later.", BLOCKED),
    ("Video unavailable. YouTube is requiring a captcha challenge before playback", BLOCKED),
    ("Our systems have detected unusual traffic from your computer network", BLOCKED),
    ("Video unavailable. VPN/Proxy Detected. Turn off your VPN/Proxy or check your settings", BLOCKED),
    ("All player responses are invalid. Your IP is likely being blocked by Youtube", BLOCKED),
    ("Unable to download API page: HTTP Error 429: Too Many Requests", BLOCKED),
    # The moment, or the client.
    ("An error occurred. Please try again later.", R.HTTP_ERROR),
    ("The page needs to be reloaded.", R.HTTP_ERROR),
    ("This video is unavailable. Error code: 152 - 18", R.HTTP_ERROR),
    ("This video is not available on this device.", R.NO_USABLE_FORMAT),
    (
        "The following content is not available on this app.. Watch on the latest version of YouTube.",
        R.NO_USABLE_FORMAT,
    ),
    ("Video unavailable. Playback on other websites has been disabled by the video owner", R.NO_USABLE_FORMAT),
    ("The requested video is DRM protected", R.NO_USABLE_FORMAT),
    ("This live stream isn't available on your device", R.NO_USABLE_FORMAT),
    ("YouTube is no longer supported in this application or device", R.NO_USABLE_FORMAT),
    ("This version of YouTube is no longer available. Update the app.", R.NO_USABLE_FORMAT),
    ("This video is no longer available in your version", R.NO_USABLE_FORMAT),
    ("Members-only videos can't be played in this app", R.NO_USABLE_FORMAT),
    ("This video is not available on this device. Sign in to confirm your age", R.LOGIN_REQUIRED),
    ("This video has been removed from this app", UNSETTLED),
    ("This video has been removed in your country", R.GEO_BLOCKED),
    # Names that others have chosen.
    (
        "This video is available to this channel's members on level: Captcha. VPN detected (or any higher level).",
        R.LOGIN_REQUIRED,
    ),
    ("This video contains content from Rate Limited, who has blocked it on copyright grounds", R.COPYRIGHT),
    (
        "This video contains content from Closed Account and X, one or more of whom have blocked it in your country",
        R.GEO_BLOCKED,
    ),
    ("This video is no longer available due to a copyright claim by Not A Robot Inc.", R.COPYRIGHT),
    # What says nothing.
    ("This page is no longer available", UNSETTLED),
    ("Video unavailable", UNSETTLED),
    ("This video is not available", UNSETTLED),
    ("Video unavailable. This content isn’t available.", UNSETTLED),
    ("Video unavailable. This video is unavailable with Restricted Mode enabled.", UNSETTLED),
    ("Video unavailable. This video took a holiday", UNSETTLED),
    ("Sign in", UNSETTLED),
    ("Your account has been suspended", UNSETTLED),
]


@pytest.mark.parametrize(("words", "expected"), MEANINGS)
def test_what_words_mean(words: str, expected: Reason | str) -> None:
    meaning = meaning_of(words)
    found = BLOCKED if isinstance(meaning, Blocked) else UNSETTLED if meaning is None else meaning
    assert found == expected
    assert meaning_of(words.upper()) == meaning, "case decides nothing"


@pytest.mark.parametrize("second", [words for words, meaning in MEANINGS if meaning == UNSETTLED])
def test_a_title_before_words_that_settle_nothing_settles_nothing(second: str) -> None:
    assert meaning_of(f"Video unavailable. {second}") in (None, *TRANSIENT_REASONS)


def test_wordings_of_the_settings_are_plain_text_in_any_case() -> None:
    wordings = {"it's gone fishing (": R.REMOVED, "fishing": R.PRIVATE}
    assert from_settings("Video unavailable. It’s gone FISHING ( until May", wordings) == (
        "it's gone fishing (",
        R.REMOVED,
    )
    assert from_settings("Gone fishing", wordings) == ("fishing", R.PRIVATE)
    assert from_settings("Gone", wordings) is None
