"""What the stand-in's player answers have of YouTube's, and what yt-dlp makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yt_dlp

from audioset_batch.standin import AudioTrack, Block, Catalog, Lock, Outcome, Standin, TrackKind, Video, dubbed
from audioset_batch.standin.answers import SIGNED, storyboards
from audioset_batch.standin.measure import locate_audio
from audioset_batch.standin.synth import SourceSpec, synthesise
from tests.support.marks import read_track

YTID = "likeYouTube"
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def youtube(media_cache: Path) -> Iterator[Standin]:
    """Two egresses and one video, which each test replaces."""
    with Standin(Catalog.of(Video(YTID, 20)), media_cache, egresses=("one", "two")) as standin:
        yield standin


@pytest.fixture
def ask(youtube: Standin) -> Ask:
    """The player answer of a client to a video that is put there first."""
    return lambda video, client="VISIONOS": player(youtube, video, client)


def player(youtube: Standin, video: Video, client: str) -> dict[str, Any]:
    youtube.put_video(video)
    with yt_dlp.YoutubeDL({"quiet": True, **youtube.access().ytdlp_options}) as ydl:
        body = json.dumps({"videoId": YTID, "context": {"client": {"clientName": client}}}).encode()
        request = yt_dlp.networking.Request("https://www.youtube.com/youtubei/v1/player", data=body)
        found: dict[str, Any] = json.loads(ydl.urlopen(request).read())
    return found


def resolve(youtube: Standin, video: Video, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """yt-dlp's info without its choice of format, and all that it said."""
    youtube.put_video(video)
    said: list[str] = []

    class Log:
        def debug(self, message: str) -> None:
            said.append(message)

        warning = error = debug

    params = {"quiet": True, "verbose": True, "logger": Log(), "js_runtimes": {}, **youtube.access().ytdlp_options}
    url = f"https://www.youtube.com/watch?v={video.ytid}"
    info = yt_dlp.YoutubeDL(params | options).extract_info(url, download=False, ie_key="Youtube", process=False)
    return info, said


def direct(info: dict[str, Any]) -> dict[str, Any]:
    return {one["format_id"]: one for one in info["formats"] if one.get("protocol") not in ("mhtml", "m3u8_native")}


def entries(answer: dict[str, Any]) -> dict[int, dict[str, Any]]:
    data = answer["streamingData"]
    return {entry["itag"]: entry for entry in [*data["formats"], *data["adaptiveFormats"]]}


def fetch(youtube: Standin, url: str, first: int = 0, last: int = 99) -> int:
    """The status of an answer to a request for a range."""
    with yt_dlp.YoutubeDL({"quiet": True, **youtube.access().ytdlp_options}) as ydl:
        try:
            return ydl.urlopen(yt_dlp.networking.Request(url, headers={"Range": f"bytes={first}-{last}"})).status
        except yt_dlp.networking.exceptions.HTTPError as error:
            return error.status


def sound(path: Path) -> tuple[np.ndarray, int, str, str]:
    """A file's samples from time 0 on as (frames, channels), its rate, codec and the codec of its pictures."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        priming = max(0, -round(frames[0].time * stream.rate))
        pictures = container.streams.video[0].codec_context.name if container.streams.video else ""
        channels = stream.codec_context.layout.nb_channels
        planes = [f.to_ndarray() if f.format.is_planar else f.to_ndarray().reshape(-1, channels).T for f in frames]
        return np.concatenate(planes, axis=1).T[priming:], stream.rate, stream.codec_context.name, pictures


def test_each_client_is_sent_what_youtube_sends_it(ask: Ask) -> None:
    video = Video(YTID, 20, itags=(18, 140, 251), hls=True, muxed=False)
    visionos, android, web, tv = (ask(video, client) for client in ("VISIONOS", "ANDROID", "WEB", "TVHTML5"))
    assert visionos["streamingData"]["formats"] == []
    assert all("url" in entry for entry in entries(visionos).values())
    assert "hlsManifestUrl" in visionos["streamingData"]
    assert {itag for itag, entry in entries(android).items() if "url" in entry} == {18}
    assert not any("url" in entry for entry in entries(web).values())
    assert set(entries(web)) == set(entries(tv)) == {18, 140, 251}
    assert all("url" in entry for entry in entries(tv).values())
    for answer in (visionos, android, web, tv):
        assert "serverAbrStreamingUrl" in answer["streamingData"]
        assert answer["storyboards"] == storyboards(YTID)
        assert ("hlsManifestUrl" in answer["streamingData"]) == (answer is visionos)


@pytest.mark.parametrize("outcome", [Outcome.REMOVED, Outcome.GEO_BLOCKED, Outcome.AGE])
def test_both_shapes_of_error_screens_say_the_same(youtube: Standin, ask: Ask, outcome: Outcome) -> None:
    told = []
    for interstitial in (False, True):
        video = Video(YTID, outcome=outcome, interstitial=interstitial)
        status = ask(video)["playabilityStatus"]
        assert ("reason" in status) == (not interstitial)
        assert ("playerInterstitialRenderer" in status["errorScreen"]) == interstitial
        with pytest.raises(yt_dlp.utils.DownloadError) as caught:
            resolve(youtube, video)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_kids_videos_are_not_available_to_some_clients(youtube: Standin, ask: Ask) -> None:
    video = Video(YTID, 20, itags=(251,), kids=True)
    for client in ("VISIONOS", "ANDROID_VR"):
        status = ask(video, client)["playabilityStatus"]
        assert (status["status"], status["reason"]) == ("UNPLAYABLE", "This video is not available")
    assert "url" in entries(ask(video, "WEB_EMBEDDED_PLAYER"))[251]
    with pytest.raises(yt_dlp.utils.DownloadError, match="This video is not available"):
        resolve(youtube, video)
    info, _ = resolve(youtube, video, extractor_args={"youtube": {"player_client": ["tv"]}})
    assert set(direct(info)) == {"251"}


def test_tracks_as_youtube_names_them_each_with_a_sound_of_its_own(youtube: Standin, media_cache: Path) -> None:
    tracks = (
        *dubbed("ja", "en-US"),
        AudioTrack("de", TrackKind.DUBBED_AUTO, default=True),
        AudioTrack("ja", TrackKind.DESCRIPTIVE),
        AudioTrack("ja", drc=True),
        AudioTrack("fr", TrackKind.DUBBED, address=False),
    )
    video = Video(YTID, 20, itags=(251,), tracks=tracks)
    info, said = resolve(youtube, video)
    listed = [one for one in info["formats"] if "protocol" not in one]
    found = {(one["language"], one["language_preference"], "drc" in one["format_id"]): one for one in listed}
    expected = [("ja", 10, False), ("en-US", -1, False), ("de", 5, False), ("ja-desc", -10, False), ("ja", 10, True)]
    assert list(found) == expected
    assert any("missing a URL" in line for line in said)
    kinds = [f"acont%3D{kind}" for kind in ("original", "dubbed", "dubbed-auto", "descriptive", "original%3Adrc%3D1")]
    for mark, (key, kind) in enumerate(zip(expected, kinds, strict=True)):
        assert f"xtags={kind}%3Alang%3D{key[0].partition('-desc')[0]}" in found[key]["url"]
        path = media_cache / f"fetched-{mark}.webm"
        ydl = yt_dlp.YoutubeDL({"quiet": True, **youtube.access().ytdlp_options})
        path.write_bytes(ydl.urlopen(found[key]["url"]).read())
        assert path.stat().st_size == found[key]["filesize"]
        samples, rate, _, _ = sound(path)
        assert read_track(samples[5 * rate : 15 * rate], rate) == mark
        assert locate_audio(samples[5 * rate : 15 * rate], rate, near=5) == pytest.approx(5, abs=0.001)


def test_a_track_that_there_is_not_is_refused(youtube: Standin, ask: Ask) -> None:
    url = entries(ask(Video(YTID, 20, itags=(251,), tracks=dubbed("en", "de"))))[251]["url"]
    assert fetch(youtube, url) == 206
    assert fetch(youtube, url.replace("lang%3Dde", "lang%3Dfr")) == 403


@pytest.mark.parametrize("itag", [17, 36, 139, 249, 258, 328, 380])
def test_old_and_surround_formats_tell_their_time(media_cache: Path, itag: int) -> None:
    spec = SourceSpec(itag, 12)
    samples, rate, codec, pictures = sound(synthesise(media_cache, spec))
    wanted = spec.audio
    assert wanted is not None
    assert (codec.removeprefix("lib"), rate) == (wanted.codec.removeprefix("lib"), wanted.rate)
    assert samples.shape[1] == {17: 1, 36: 1, 139: 2, 249: 2}.get(itag, 6)
    assert pictures == ("mpeg4" if itag in (17, 36) else "")
    piece = samples[3 * rate : 9 * rate, 0]
    assert locate_audio(piece, rate, near=3) == pytest.approx(3, abs=0.001)
    assert read_track(piece, rate) == 0


def test_media_wait_for_the_end_of_an_ad(youtube: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    info, _ = resolve(youtube, Video(YTID, 20, itags=(251,), ad_seconds=30))
    chosen = direct(info)["251"]
    assert 29 <= chosen["available_at"] - time.time() <= 31
    assert fetch(youtube, chosen["url"]) == 403
    monkeypatch.setattr("audioset_batch.standin.site.time.time", lambda: chosen["available_at"])
    assert fetch(youtube, chosen["url"]) == 206


LOCKED = {
    Lock.SABR: "missing a URL",
    Lock.CIPHER: "",
    Lock.N: "n challenge solving failed",
    Lock.DRM: "DRM protected",
    Lock.OTF: "",
}


@pytest.mark.parametrize("lock", LOCKED)
def test_locked_formats_are_left_out_by_ytdlp(youtube: Standin, lock: Lock) -> None:
    info, said = resolve(youtube, Video(YTID, 20, itags=(140, 251), locks={251: lock}))
    usable = {name for name, one in direct(info).items() if not one.get("has_drm")}
    assert usable == {"140"}
    assert any(LOCKED[lock] in line for line in said)


def test_a_token_opens_what_wants_one(youtube: Standin) -> None:
    info, _ = resolve(youtube, Video(YTID, 20, itags=(251,), locks={251: Lock.TOKEN}))
    url = direct(info)["251"]["url"]
    assert (fetch(youtube, url), fetch(youtube, f"{url}&pot=AAAA")) == (403, 206)


@pytest.mark.parametrize("sabr", [("VISIONOS",), ("*",)])
def test_sabr_alone_leaves_the_storyboards(youtube: Standin, ask: Ask, sabr: tuple[str, ...]) -> None:
    video = Video(YTID, 20, sabr=sabr, hls=False)
    info, said = resolve(youtube, video)
    assert {one["format_id"] for one in info["formats"]} == {"sb0", "sb1"}
    assert any("missing a URL" in line for line in said)
    assert any("url" in entry for entry in entries(ask(video, "ANDROID")).values()) == (sabr == ("VISIONOS",))


def test_a_film_to_be_paid_for_shows_its_trailer(youtube: Standin) -> None:
    info, _ = resolve(youtube, Video(YTID, outcome=Outcome.PURCHASE, trailer="trailer0001"))
    assert (info["_type"], info["url"]) == ("url", "trailer0001")


def test_a_multi_camera_event_is_a_playlist(youtube: Standin) -> None:
    video = Video(YTID, 20, itags=(251,), feeds=(YTID, "otherCamera"))
    info, _ = resolve(youtube, video)
    assert info["_type"] == "playlist"
    assert [entry["title"][-10:] for entry in info["entries"]] == ["(Camera 1)", "(Camera 2)"]
    info, _ = resolve(youtube, video, noplaylist=True)
    assert set(direct(info)) == {"251"}


def test_another_videos_answer_to_a_blocked_address(youtube: Standin) -> None:
    youtube.block(Block.OTHER_VIDEO)
    try:
        with pytest.raises(yt_dlp.utils.DownloadError, match="likely being blocked"):
            resolve(youtube, Video(YTID, 20, itags=(251,)))
    finally:
        youtube.unblock()


def test_a_raw_answer_for_a_client_with_signed_addresses(youtube: Standin, ask: Ask) -> None:
    raw = {
        "playabilityStatus": {"status": "OK"},
        "streamingData": {
            "adaptiveFormats": [{"itag": 251, "mimeType": 'audio/webm; codecs="opus"', "url": SIGNED}],
            "hlsManifestUrl": SIGNED,
        },
        "videoDetails": {"videoId": YTID, "lengthSeconds": "20"},
    }
    video = Video(YTID, 20, itags=(251,), answers={"VISIONOS": raw, "*": {"playabilityStatus": {"status": "ERROR"}}})
    answer = ask(video)
    assert fetch(youtube, answer["streamingData"]["adaptiveFormats"][0]["url"]) == 206
    assert answer["streamingData"]["hlsManifestUrl"].startswith("https://manifest.googlevideo.com/api/manifest/")
    assert answer | {"streamingData": raw["streamingData"]} == raw
    assert ask(video, "WEB") == {"playabilityStatus": {"status": "ERROR"}}


def test_all_that_a_video_can_be_is_saved_and_loaded(tmp_path: Path) -> None:
    tracks = (*dubbed("en", "de"), AudioTrack("en", drc=True, itags=(140,), content=7, address=False))
    video = Video(
        YTID, tracks=tracks, kids=True, interstitial=True, storyboards=False, hls=True, muxed=False, sabr=("WEB",),
        locks={251: Lock.N}, ad_seconds=2.5, trailer="trailer0001", feeds=("a", "b"), answers={"*": {"x": [1]}},
    )  # fmt: skip
    Catalog.of(video).save(tmp_path / "catalog.json")
    assert Catalog.load(tmp_path / "catalog.json").get(YTID) == video
