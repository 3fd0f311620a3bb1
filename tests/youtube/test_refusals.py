"""From the answers of the clients, and what else is known, to a decision: never permanent without positive evidence."""

import json
from typing import Any

import pytest

from audioset_batch.errors import AudiosetBatchError, EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason
from audioset_batch.youtube.formats import Listed
from audioset_batch.youtube.player_answers import Exchange
from audioset_batch.youtube.refusals import Evidence, Failure, classify, short

YTID = "abcdefghijk"
PREFIX = f"ERROR: [youtube] {YTID}: "
GONE = "This video is unavailable"
NOTHING = "This video is not available"
SOUND = {"itag": 251, "mimeType": 'audio/webm; codecs="opus"'}
PICTURE = {"itag": 134, "mimeType": 'video/mp4; codecs="avc1.4d401e"', "height": 360}
URL = {"url": "https://example.org/"}


def refusal(client: str, *texts: str, status: str = "ERROR", screen: str = "old", **more: Any) -> Exchange:
    """An answer without streams, its words on either error screen."""
    title, text = texts[0], texts[1] if texts[1:] else ""
    if screen == "old":
        shown: Any = {
            "playerErrorMessageRenderer": {"reason": {"simpleText": title}, "subreason": {"runs": [{"text": text}]}}
        }
        playability = {"status": status, "reason": title, "errorScreen": shown, **more}
    else:
        model = {"title": {"content": title}, "description": {"content": text}}
        shown = {"playerInterstitialRenderer": {"content": {"interstitialViewModel": model}}}
        playability = {"status": status, "errorScreen": shown, **more}
    return exchange(client, {"playabilityStatus": playability})


def playable(client: str, *formats: dict[str, Any], ytid: str = YTID, **streaming: Any) -> Exchange:
    streams = {"adaptiveFormats": formats, **streaming}
    answer = {"playabilityStatus": {"status": "OK"}, "videoDetails": {"videoId": ytid}, "streamingData": streams}
    return exchange(client, answer)


def exchange(client: str, answer: Any) -> Exchange:
    return Exchange(client, 200, body=bytearray(json.dumps(answer).encode()))


def decide(*exchanges: Exchange, message: str = "No video formats found!", **more: Any) -> AudiosetBatchError:
    return classify(Evidence(Failure(PREFIX + message), ytid=YTID, exchanges=exchanges, **more))


def lacking(reason: Reason) -> SegmentUnavailable:
    return SegmentUnavailable(reason, "among the formats")


SORRY = (
    b"<!DOCTYPE html><html><head><style>.a{}</style><script>var captcha = 1;</script></head><body><b>Sorry</b>"
    b"<div>Our systems have detected <i>unusual</i> traffic from your computer network.</div></body></html>"
)


def is_transient(error: AudiosetBatchError, reason: Reason) -> bool:
    return isinstance(error, SegmentTransient) and error.reason == reason


def is_permanent(error: AudiosetBatchError, reason: Reason) -> bool:
    return isinstance(error, SegmentUnavailable) and error.reason == reason


@pytest.mark.parametrize("screen", ["old", "new"])
@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("Video unavailable", "This video has been removed by the uploader"), Reason.REMOVED),
        (("Video unavailable", "The uploader has not made this video available in your country"), Reason.GEO_BLOCKED),
        (("Private video", "Sign in if you’ve been granted access to this video"), Reason.PRIVATE),
    ],
)
def test_both_error_screens_are_read_whatever_yt_dlp_says(screen: str, texts: tuple[str, str], reason: Reason) -> None:
    error = decide(refusal("VISIONOS", *texts, screen=screen))
    assert is_permanent(error, reason)
    assert str(error) == f"{reason}: {texts[0]}. {texts[1]}"


def test_there_is_no_such_video_only_if_a_client_says_so_that_would_know() -> None:
    assert is_permanent(decide(refusal("WEB", GONE)), Reason.NONEXISTENT)
    assert is_permanent(decide(refusal("VISIONOS", NOTHING), refusal("ANDROID", GONE)), Reason.NONEXISTENT)
    assert is_transient(decide(refusal("VISIONOS", GONE)), Reason.UNRECOGNIZED)
    assert is_transient(decide(refusal("NEXT_YEARS_CLIENT", GONE)), Reason.UNRECOGNIZED), (
        "nobody knows what it is shown"
    )
    assert is_transient(decide(refusal("VISIONOS", GONE), refusal("WEB", NOTHING)), Reason.UNRECOGNIZED)


def test_a_client_that_lists_streams_outweighs_one_that_refuses() -> None:
    error = decide(refusal("VISIONOS", "Video unavailable", "This video has been removed"), playable("WEB", SOUND))
    assert is_transient(error, Reason.NO_USABLE_FORMAT)
    assert "1 without an address (SABR)" in str(error)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (SOUND, "without an address"),
        (SOUND | {"signatureCipher": "s=x"}, "ciphered"),
        (SOUND | URL | {"drmFamilies": ["WIDEVINE"]}, "DRM"),
        (SOUND | URL, "left out by yt-dlp"),
    ],
)
def test_sound_that_cannot_be_fetched_is_not_missing(entry: dict[str, Any], why: str) -> None:
    for lack in (None, lacking(Reason.NO_AUDIO)):
        error = decide(playable("VISIONOS", PICTURE | URL, entry), offered={"134"}, lack=lack)
        assert is_transient(error, Reason.NO_USABLE_FORMAT)
        assert why in str(error)


def test_what_broke_yt_dlp_is_the_cause_where_it_has_told_none() -> None:
    error = decide(playable("VISIONOS", SOUND | URL), message="yt-dlp: TypeError: unhashable")
    assert is_transient(error, Reason.NO_USABLE_FORMAT) and "TypeError: unhashable" in str(error)


def test_no_audio_takes_pictures_that_can_be_fetched_and_no_sound_in_any_list() -> None:
    lack = lacking(Reason.NO_AUDIO)
    silent = playable("VISIONOS", PICTURE | URL)
    assert is_permanent(decide(silent, offered={"134"}, lack=lack), Reason.NO_AUDIO)
    assert is_permanent(decide(silent, playable("ANDROID", PICTURE), offered={"134"}, lack=lack), Reason.NO_AUDIO)
    assert is_transient(decide(silent, playable("ANDROID", SOUND), offered={"134"}, lack=lack), Reason.NO_USABLE_FORMAT)
    assert is_transient(decide(silent, offered=(), lack=lack), Reason.NO_USABLE_FORMAT)
    failed = Exchange("ANDROID", 503, "HTTP Error 503: Service Unavailable")
    assert is_transient(decide(silent, failed, offered={"134"}, lack=lack), Reason.HTTP_ERROR)


@pytest.mark.parametrize(
    ("mime", "more", "silent"),
    [
        ('video/mp4; codecs="avc1.42001E"', {}, True),
        ('video/mp4; codecs="avc1.42001E, mp4a.40.2"', {}, False),
        ('video/mp4; codecs="avc1.42001E"', {"audioQuality": "AUDIO_QUALITY_LOW"}, False),
        ("video/mp4", {}, False),
    ],
)
def test_an_old_file_of_a_silent_video_is_silent_too(mime: str, more: dict[str, Any], silent: bool) -> None:
    old = {"itag": 18, "mimeType": mime, **URL, **more}
    answer = playable("VISIONOS", PICTURE | URL, formats=[old])
    error = decide(answer, offered={"134", "18"}, lack=lacking(Reason.NO_AUDIO))
    assert is_permanent(error, Reason.NO_AUDIO) if silent else is_transient(error, Reason.NO_USABLE_FORMAT)
    assert Listed.of([json.loads(answer.body)]).sound is not silent, "where formats are chosen, the same holds"


def test_no_video_takes_a_list_without_pictures_up_to_the_height_that_is_allowed() -> None:
    lack = lacking(Reason.NO_VIDEO)
    assert is_permanent(decide(playable("VISIONOS", SOUND | URL), offered={"251"}, lack=lack), Reason.NO_VIDEO)
    both = playable("VISIONOS", SOUND | URL, PICTURE)
    assert is_transient(decide(both, offered={"251"}, lack=lack), Reason.NO_USABLE_FORMAT)
    assert is_permanent(decide(both, offered={"251"}, lack=lack, max_height=144), Reason.NO_VIDEO)


def test_the_users_own_format() -> None:
    own = {"lack": lacking(Reason.NO_AUDIO), "user_format": True}
    offer = playable("VISIONOS", SOUND | URL)
    assert is_permanent(decide(offer, offered={"251"}, **own), Reason.FORMAT_UNAVAILABLE)
    assert is_transient(decide(offer, playable("WEB", PICTURE), offered={"251"}, **own), Reason.NO_USABLE_FORMAT)
    other = SOUND | {"audioTrack": {"id": "de.3"}}
    tracks = playable("VISIONOS", SOUND | URL | {"audioTrack": {"id": "en.4"}}, other)
    assert is_transient(decide(tracks, offered={"251"}, **own), Reason.NO_USABLE_FORMAT), "left out under the same itag"
    tracks = playable("VISIONOS", SOUND | URL | {"audioTrack": {"id": "en.4"}}, other | URL)
    assert is_permanent(decide(tracks, offered={"251"}, **own), Reason.FORMAT_UNAVAILABLE)


@pytest.mark.parametrize(
    "banned",
    [
        [refusal("WEB", "Sign in to confirm you’re not a bot", status="LOGIN_REQUIRED")],
        [refusal("TVHTML5", "Please sign in", status="LOGIN_REQUIRED")],
        [refusal("WEB", "Video unavailable", "VPN/Proxy Detected")],
        [playable("VISIONOS", SOUND | URL, ytid="another_one")],
        [exchange("WEB", {"playabilityStatus": {"status": "ERROR", "errorScreen": {"playerCaptchaViewModel": {}}}})],
        [Exchange("VISIONOS", 429, "HTTP Error 429: Too Many Requests")],
        [refusal("WEB", GONE), Exchange("TVHTML5", 429, "HTTP Error 429: Too Many Requests")],
        [Exchange("VISIONOS", 200, body=bytearray(SORRY))],
        [refusal("WEB", NOTHING), Exchange("VISIONOS", 200, body=bytearray(SORRY))],
    ],
    ids=["bot check", "sign in", "vpn", "another video", "captcha", "429", "429 of one", "page", "page for one"],
)
def test_bans(banned: list[Exchange]) -> None:
    everything = dict.fromkeys(("video", "sign in", "http"), Reason.REMOVED)
    assert isinstance(decide(*banned, wordings=everything), EgressBlocked), "the settings override no ban"


def test_a_ban_of_one_client_hides_no_fact_that_another_tells() -> None:
    assert is_permanent(decide(refusal("VISIONOS", "Private video"), Exchange("WEB", 429, "429")), Reason.PRIVATE)


@pytest.mark.parametrize("message", ["No video formats found!", "Failed to extract any player response"])
def test_a_429_of_a_manifest_pauses_nothing(message: str) -> None:
    warnings = ("[youtube] Failed to download m3u8 information: HTTP Error 429: Too Many Requests",)
    assert isinstance(decide(playable("VISIONOS", SOUND), message=message, warnings=warnings), SegmentTransient)
    assert isinstance(decide(message=message, warnings=warnings), SegmentTransient)


def test_a_page_is_judged_by_its_words_not_by_its_scripts() -> None:
    page = b"<html><script>if (captcha) solve()</script><style>/* captcha */</style><p>Welcome to the hotel</p>"
    assert is_transient(decide(Exchange("WEB", 200, body=bytearray(page))), Reason.HTTP_ERROR)
    watch = Exchange("WEB", 200, body=bytearray(SORRY), page=True)
    decided = decide(refusal("VISIONOS", NOTHING), watch)
    assert isinstance(decided, SegmentTransient), "an ordinary page may have any words"


def test_structure_tells_what_words_do_not() -> None:
    assert is_permanent(decide(refusal("WEB", "?", status="AGE_CHECK_REQUIRED")), Reason.LOGIN_REQUIRED)
    assert is_permanent(decide(refusal("WEB", "?", desktopLegacyAgeGateReason=1)), Reason.LOGIN_REQUIRED)
    trailer = {"errorScreen": {"playerLegacyDesktopYpcTrailerRenderer": {"trailerVideoId": "x"}}}
    assert is_permanent(decide(refusal("WEB", "?", **trailer)), Reason.LOGIN_REQUIRED)


def test_a_live_event_says_when_it_is_to_begin() -> None:
    slate = {"liveStreamOfflineSlateRenderer": {"scheduledStartTime": "1796040000"}}
    ability = {"liveStreamability": {"liveStreamabilityRenderer": {"offlineSlate": slate}}}
    error = decide(refusal("VISIONOS", "Offline", status="LIVE_STREAM_OFFLINE", **ability))
    assert is_permanent(error, Reason.LIVE)
    assert str(error) == "live: Offline; scheduled for 2026-11-30T12:00:00Z"


def test_unknown_words_are_the_detail_and_the_settings_may_know_them() -> None:
    words = refusal("VISIONOS", "Video unavailable", "It took\n a holiday")
    error = decide(words)
    assert is_transient(error, Reason.UNRECOGNIZED)
    assert isinstance(error, SegmentTransient) and error.detail == "Video unavailable. It took a holiday"
    known = decide(words, wordings={"TOOK A HOLIDAY": Reason.REMOVED})
    assert isinstance(known, SegmentUnavailable) and known.reason == Reason.REMOVED
    assert not known.proven and "youtube.wordings" in known.detail
    assert is_permanent(decide(refusal("WEB", GONE), wordings={"video": Reason.PRIVATE}), Reason.NONEXISTENT)


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        (Exchange("WEB", None, "The read operation timed out"), Reason.TIMEOUT),
        (Exchange("WEB", None, "Connection reset by peer"), Reason.NETWORK),
        (Exchange("WEB", 503, "HTTP Error 503: Service Unavailable"), Reason.HTTP_ERROR),
        (Exchange("WEB", 200, body=bytearray(b"<html>")), Reason.HTTP_ERROR),
        # Whole JSON, but the connection broke before the end that was announced: yt-dlp takes it for nothing, too.
        (Exchange("WEB", 200, "9 bytes read, 9 more expected", playable("WEB", SOUND | URL).body), Reason.NETWORK),
    ],
)
def test_what_settles_nothing_waits_for_the_client_that_could_not_be_asked(failed: Exchange, reason: Reason) -> None:
    assert is_transient(decide(refusal("VISIONOS", NOTHING), failed), reason)
    again = refusal("WEB", GONE)
    assert is_permanent(decide(failed, again), Reason.NONEXISTENT), "asked again, it has answered"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"playabilityStatus": 1}', b'{"playabilityStatus": {"status": []}}', b"[" * 100_000],
)
def test_what_is_no_answer_is_none(body: bytes) -> None:
    assert Exchange("WEB", 200, body=bytearray(body)).answer() is None


def test_the_answer_within_a_page() -> None:
    inside = json.dumps({"playabilityStatus": {"status": "ERROR", "reason": GONE}})
    page = f"<html><script>var ytInitialPlayerResponse = {inside};var x"
    answer = Exchange("WEB", 200, body=bytearray(page.encode()), page=True).answer()
    assert answer is not None and answer.text == GONE


# Without any answer, yt-dlp's words are all there is.


@pytest.mark.parametrize(
    ("failure", "warnings", "reason"),
    [
        (Failure("Unable to download API page: The read operation timed out", transport=True), (), Reason.TIMEOUT),
        (Failure("Unable to download webpage: Connection reset by peer", transport=True), (), Reason.NETWORK),
        (Failure("Unable to download API page: HTTP Error 503: x", http_status=503), (), Reason.HTTP_ERROR),
        (Failure("No video formats found!"), (), Reason.HTTP_ERROR),
        (Failure("Failed to extract any player response"), ("Unable to download API page: timed out",), Reason.TIMEOUT),
        (Failure("Failed to extract any player response"), ("Connection refused",), Reason.NETWORK),
        (Failure("Something nobody has seen before"), (), Reason.UNRECOGNIZED),
        (Failure(GONE), (), Reason.UNRECOGNIZED),
    ],
)
def test_transient_without_answers(failure: Failure, warnings: tuple[str, ...], reason: Reason) -> None:
    assert is_transient(classify(Evidence(failure, warnings)), reason)


def test_permanent_and_blocked_without_answers() -> None:
    assert is_permanent(classify(Evidence(Failure(PREFIX + "Private video"))), Reason.PRIVATE)
    assert is_permanent(classify(Evidence(Failure("any words", geo_restricted=True))), Reason.GEO_BLOCKED)
    assert isinstance(classify(Evidence(Failure("Unable to download webpage", http_status=429))), EgressBlocked)
    warnings = ("[youtube] Unable to download API page: HTTP Error 429: Too Many Requests",)
    assert isinstance(classify(Evidence(Failure("Failed to extract any player response"), warnings)), EgressBlocked)


def test_detail_is_one_short_line_without_advice() -> None:
    text = short(PREFIX + "Private video.\n Sign in. Use --cookies-from-browser or --cookies. " + "x" * 500)
    assert text == "Private video. Sign in"
    assert len(short("y" * 500)) == 300


def test_what_is_vague_is_completed_by_the_warning_before_it() -> None:
    unknown = (
        "[youtube] Unable to download API page: Failed to resolve 'www.youtube.com' (caused by TransportError('x'))"
    )
    message = f"{PREFIX}Failed to extract any player response; please report this issue on https://example.org/"
    error = classify(Evidence(Failure(message), warnings=[unknown, f"{PREFIX}No video formats found!"]))
    assert is_transient(error, Reason.NETWORK)
    assert str(error) == (
        "network: Failed to extract any player response: "
        "Unable to download API page: Failed to resolve 'www.youtube.com'"
    )
