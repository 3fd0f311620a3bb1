"""Recorded player answers, sent again by the stand-in: no good video may be lost for good, and no block recorded.

    AUDIOSET_RECORDINGS=/path/to/recordings .venv/bin/pytest tests/standin/test_recordings.py

Each file is one answer: `client`, `playabilityStatus`, `formats` and `adaptiveFormats` whose `has` lists what each
carried (`url`, `signatureCipher`, `n`, `xtags=...`), `answer_has`, `streamingData_has` and `videoDetails`. Two files
that follow each other (an odd and an even number) with the same length are two clients' answers of one video.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.errors import EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason
from audioset_batch.standin import Catalog, Standin, Video
from audioset_batch.standin.answers import SIGNED, storyboards
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.streams import ClientOptions, Resolved

YTID = "recordedVid"
VARIABLE = "AUDIOSET_RECORDINGS"
BLOCK = re.compile(r"not a bot|try again later|unusual traffic|captcha|^please sign in", re.IGNORECASE)
GONE = re.compile(r"removed|deleted|does not exist|isn't available anymore|unavailable", re.IGNORECASE)
ABOUT_THE_VIDEO = {
    Reason.REMOVED, Reason.ACCOUNT_TERMINATED, Reason.COPYRIGHT, Reason.GEO_BLOCKED, Reason.PRIVATE,
    Reason.LOGIN_REQUIRED, Reason.LIVE,
}  # fmt: skip

Recording = Mapping[str, Any]


def recordings() -> list[Path]:
    folder = os.environ.get(VARIABLE, "")
    return sorted(Path(folder).glob("*.json")) if folder else []


def pairs() -> list[tuple[Path, Path]]:
    """Two clients' answers of one video."""
    found = []
    numbered = {int(path.name.split("-")[0]): path for path in recordings() if path.name.split("-")[0].isdecimal()}
    for number, first in numbered.items():
        second = numbered.get(number + 1)
        if number % 2 and second is not None:
            one, other = (json.loads(path.read_text()) for path in (first, second))
            seconds = [recording["videoDetails"].get("lengthSeconds") for recording in (one, other)]
            if one["client"] != other["client"] and seconds[0] == seconds[1]:
                found.append((first, second))
    return found


def given(found: list[Any]) -> list[Any]:
    """What tests are parametrized with; one that is skipped where there is nothing."""
    if found:
        return [pytest.param(one, id=getattr(one, "name", None) or one[0].name) for one in found]
    reason = f"NO RECORDINGS, NOT TESTED: {VARIABLE} names no folder with recorded player answers (*.json)"
    return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]


def entry_of(recorded: Recording) -> dict[str, Any]:
    entry = {key: value for key, value in recorded.items() if key not in ("has", "index")}
    has = recorded["has"]
    tags = next((one.removeprefix("xtags=") for one in has if one.startswith("xtags=")), "")
    if "signatureCipher" in has:
        entry["signatureCipher"] = (
            f"s={'S' * 100}&sp=sig&url=https%3A%2F%2Frr1---sn-standin.googlevideo.com%2Fvideoplayback"
        )
    elif "url" in has:
        entry |= {"url": SIGNED, "xtags": tags}
        if "n" in has:
            entry["url"] = "https://rr1---sn-standin.googlevideo.com/videoplayback?n=challenge"
    return entry | (recorded.get("index") or {})


def answer_of(recording: Recording) -> dict[str, Any]:
    """A player answer like the recorded one, with addresses on the stand-in."""
    answer: dict[str, Any] = {"responseContext": {}, "playabilityStatus": recording["playabilityStatus"]}
    if "videoDetails" in recording["answer_has"]:
        answer["videoDetails"] = {"videoId": YTID, "title": "A recording", **recording["videoDetails"]}
    if "storyboards" in recording["answer_has"]:
        live = bool(recording["videoDetails"].get("isLive"))
        answer["storyboards"] = storyboards(YTID, live=live)
    if "streamingData" in recording["answer_has"]:
        data: dict[str, Any] = {name: "0" for name in recording["streamingData_has"] if name == "expiresInSeconds"}
        for name in {"hlsManifestUrl", "serverAbrStreamingUrl"} & set(recording["streamingData_has"]):
            data[name] = SIGNED
        for name in ("formats", "adaptiveFormats"):
            data[name] = [entry_of(one) for one in recording[name]]
        answer["streamingData"] = data
    return answer


def has_original(recording: Recording) -> bool:
    """Whether there is a track called original, which then must have an address."""
    return any(
        "original" in (one.get("audioTrack") or {}).get("displayName", "") for one in recording["adaptiveFormats"]
    )


def sound_with_address(recording: Recording) -> bool:
    """Whether its formats have one with sound that can be fetched by this program as it is."""
    for one in [*recording["formats"], *recording["adaptiveFormats"]]:
        usable = "url" in one["has"] and "n" not in one["has"] and "targetDurationSec" not in one
        track = (one.get("audioTrack") or {}).get("displayName", "")
        if usable and "audioSampleRate" in one and ("original" in track or not has_original(recording)):
            return True
    return False


@pytest.fixture(scope="module")
def youtube(media_cache: Path) -> Iterator[Standin]:
    with Standin(Catalog.of(Video(YTID, 20)), media_cache) as standin:
        yield standin


def resolve(youtube: Standin, answers: Mapping[str, Recording], *args: str) -> Resolved | Exception:
    """What becomes of a video for which each client is sent this."""
    youtube.put_video(Video(YTID, 20, answers={name: answer_of(one) for name, one in answers.items()}))
    options = ClientOptions(
        args=("--no-cache-dir", "--no-check-certificates", *args),
        player_skip=("webpage", "configs", "initial_data"),
        proxy=youtube.access().proxy,
    )
    try:
        return YtDlpClient(options).resolve(YTID)
    except (EgressBlocked, SegmentTransient, SegmentUnavailable) as error:
        return error


def judge(recording: Recording, got: Resolved | Exception) -> None:
    """What may become of a video that every client answers so."""
    said = json.dumps(recording["playabilityStatus"])
    status = recording["playabilityStatus"]["status"]
    if BLOCK.search(said):
        assert isinstance(got, EgressBlocked), got
    elif status == "OK" and recording["videoDetails"].get("isLive"):
        assert isinstance(got, SegmentUnavailable) and got.reason is Reason.LIVE, got
    elif status == "OK" and sound_with_address(recording):
        assert isinstance(got, Resolved) and got.audio is not None and got.audio.has_audio, got
        assert got.audio.track in ("", "original")
    elif status == "OK":
        assert isinstance(got, Resolved | SegmentTransient), got
    elif isinstance(got, SegmentUnavailable):
        assert got.reason in ABOUT_THE_VIDEO or GONE.search(said), got
    else:
        assert isinstance(got, SegmentTransient), got


@pytest.mark.parametrize("path", given(recordings()))
def test_a_recorded_answer_of_every_client(youtube: Standin, path: Path) -> None:
    recording = json.loads(path.read_text(encoding="utf-8"))
    judge(recording, resolve(youtube, {"*": recording}))


@pytest.mark.parametrize("path", given(recordings()))
def test_a_recorded_answer_of_the_client_that_is_asked(youtube: Standin, path: Path) -> None:
    recording = json.loads(path.read_text(encoding="utf-8"))
    name = recording["client"]
    if name.lower() not in ("android", "visionos", "web", "ios", "mweb", "tv", "web_embedded"):
        pytest.skip(f"yt-dlp calls client {name} otherwise")
    args = ("--extractor-args", f"youtube:player_client={name.lower()}")
    judge(recording, resolve(youtube, {name: recording, "*": SABR}, *args))


@pytest.mark.parametrize("both", given(pairs()))
def test_two_clients_recorded_answers_of_one_video(youtube: Standin, both: tuple[Path, Path]) -> None:
    answers = [json.loads(path.read_text(encoding="utf-8")) for path in both]
    got = resolve(youtube, {"*": SABR} | {answer["client"]: answer for answer in answers})
    first = next((answer for answer in answers if answer["client"] == "VISIONOS"), answers[0])
    judge(first, got)


def made_up(status: dict[str, Any], *formats: dict[str, Any], client: str = "VISIONOS") -> dict[str, Any]:
    """A recording as files have them."""
    return {
        "client": client, "playabilityStatus": status, "formats": [], "adaptiveFormats": list(formats),
        "streamingData_has": ["serverAbrStreamingUrl"], "answer_has": ["storyboards", "streamingData", "videoDetails"],
        "videoDetails": {"lengthSeconds": "20", "isLiveContent": False},
    }  # fmt: skip


OPUS = {
    "itag": 251, "mimeType": 'audio/webm; codecs="opus"', "bitrate": 120_000, "contentLength": "300000",
    "approxDurationMs": "20000", "quality": "tiny", "audioQuality": "AUDIO_QUALITY_MEDIUM", "audioSampleRate": "48000",
    "audioChannels": 2, "has": [], "index": False,
}  # fmt: skip
SABR = made_up({"status": "OK"}, OPUS, client="WEB")


@pytest.mark.parametrize(
    "recording",
    [
        made_up({"status": "OK"}, {**OPUS, "has": ["url"]}),
        SABR,
        made_up({"status": "OK"}, {**OPUS, "has": ["signatureCipher"]}),
        made_up({"status": "OK"}, {**OPUS, "has": ["url", "n"]}),
        made_up({"status": "UNPLAYABLE", "reason": "This video is not available"}),
        made_up({"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm you’re not a bot"}),
        made_up({"status": "LOGIN_REQUIRED", "reason": "This video is private"}),
    ],
    ids=["plays", "sabr", "cipher", "n", "not available", "bot check", "private"],
)
def test_made_up_answers_of_the_same_shape(youtube: Standin, recording: Recording) -> None:
    judge(recording, resolve(youtube, {"*": recording}))
