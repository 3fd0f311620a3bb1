"""Which of the listed formats is taken: the real extractor on made-up player answers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yt_dlp
from yt_dlp.networking import Response
from yt_dlp.networking.exceptions import HTTPError

from audioset_batch.errors import EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.streams import ClientOptions, Resolved

YTID = "abcdefghijk"
MANIFEST = "https://manifest.googlevideo.com/api/manifest/hls_variant/id/x/file/index.m3u8"
MIMES = {
    17: 'video/3gpp; codecs="mp4v.20.3, mp4a.40.2"',
    18: 'video/mp4; codecs="avc1.42001E, mp4a.40.2"',
    134: 'video/mp4; codecs="avc1.4d401e"',
    139: 'audio/mp4; codecs="mp4a.40.5"',
    140: 'audio/mp4; codecs="mp4a.40.2"',
    248: 'video/webm; codecs="vp9"',
    249: 'audio/webm; codecs="opus"',
    251: 'audio/webm; codecs="opus"',
    258: 'audio/mp4; codecs="mp4a.40.2"',
    380: 'audio/mp4; codecs="ac-3"',
}
LOW = {139, 249}
MASTER = """#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:URI="https://manifest.googlevideo.com/itag/233/a.m3u8",TYPE=AUDIO,GROUP-ID="233",NAME="Default",DEFAULT=YES
#EXT-X-MEDIA:URI="https://manifest.googlevideo.com/itag/234/b.m3u8",TYPE=AUDIO,GROUP-ID="234",NAME="Default",DEFAULT=YES
#EXT-X-STREAM-INF:BANDWIDTH=300000,CODECS="avc1.4D400D,mp4a.40.5",RESOLUTION=426x240,FRAME-RATE=25,AUDIO="233"
https://manifest.googlevideo.com/itag/229/v.m3u8
"""
MUXED_MASTER = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=300000,CODECS="avc1.4D400D,mp4a.40.5",RESOLUTION=426x240,YT-EXT-AUDIO-CONTENT-ID="en-US.10"
https://manifest.googlevideo.com/itag/91/dub.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=290000,CODECS="avc1.4D400D,mp4a.40.5",RESOLUTION=426x240,YT-EXT-AUDIO-CONTENT-ID="ja.4"
https://manifest.googlevideo.com/itag/91/original.m3u8
"""


def entry(itag: int, *, url: bool = True, xtags: str = "", **more: object) -> dict[str, object]:
    """One of YouTube's formats."""
    mime = MIMES[itag]
    made: dict[str, object] = {"itag": itag, "mimeType": mime, "bitrate": 128_000, "contentLength": "1000000"}
    made |= {"approxDurationMs": "60000", "lastModified": "1"}
    if mime.startswith("video"):
        made |= {"width": 640, "height": 360, "fps": 25, "quality": "medium", "qualityLabel": "360p"}
    if mime.startswith("audio") or "mp4a" in mime:
        made |= {"audioQuality": f"AUDIO_QUALITY_{'LOW' if itag in LOW else 'MEDIUM'}", "audioChannels": 2}
        made["audioSampleRate"] = "48000"
    if mime.startswith("audio"):
        made["quality"] = "tiny"
    if url:
        tags = f"&xtags={xtags}" if xtags else ""
        made["url"] = f"https://rr1---sn-x.googlevideo.com/videoplayback?itag={itag}{tags}"
    return made | more


def track(identity: str, name: str, default: bool = False) -> dict[str, object]:
    return {"audioTrack": {"id": identity, "displayName": name, "audioIsDefault": default}}


ORIGINAL = track("ja.4", "Japanese original")
DUB = track("en-US.10", "English (US)", default=True)
DESCRIPTIVE = track("ja.2", "Japanese descriptive")


def answer(
    *adaptive: object, formats: tuple[object, ...] = (), manifest: bool = False, **more: object
) -> dict[str, Any]:
    """A player answer, with storyboards and a SABR address as YouTube sends them with every one."""
    data = {"expiresInSeconds": "21540", "formats": list(formats), "adaptiveFormats": list(adaptive)}
    data["serverAbrStreamingUrl"] = "https://rr1---sn-x.googlevideo.com/videoplayback?sabr=1"
    if manifest:
        data["hlsManifestUrl"] = MANIFEST
    spec = "https://i.ytimg.com/sb/x/storyboard3_L$L/$N.jpg?sqp=x|48#27#100#10#10#0#default#rs$A"
    return {
        "playabilityStatus": {"status": "OK", "playableInEmbed": True},
        "streamingData": data,
        "storyboards": {"playerStoryboardSpecRenderer": {"spec": spec}},
        "videoDetails": {"videoId": YTID, "title": "x", "lengthSeconds": "60", "channelId": "UC" + "x" * 22},
        **more,
    }


class Network:
    """Answers yt-dlp's requests in its place, and keeps their addresses."""

    def __init__(self) -> None:
        self.player: dict[str, Any] = {}
        self.master: str | int = MASTER
        self.asked: list[str] = []

    def __call__(self, _ydl: object, request: Any) -> Response:
        self.asked.append(request.url)
        if "/youtubei/v1/player" in request.url:
            body: bytes = json.dumps(self.player).encode()
        elif request.url == MANIFEST and isinstance(self.master, str):
            body = self.master.encode()
        else:
            status = self.master if request.url == MANIFEST and isinstance(self.master, int) else 404
            raise HTTPError(Response(io.BytesIO(), request.url, {}, status=status))
        return Response(io.BytesIO(body), request.url, {"Content-Type": "application/json"})

    @property
    def manifests(self) -> int:
        return self.asked.count(MANIFEST)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    made = Network()
    monkeypatch.setattr(yt_dlp.YoutubeDL, "urlopen", lambda ydl, request: made(ydl, request))
    yield made


Resolve = Callable[..., Resolved]


@pytest.fixture
def resolve(network: Network) -> Resolve:
    def ask(player: dict[str, Any], *args: str, **options: Any) -> Resolved:
        network.player = player
        # A runtime would make yt-dlp ask other clients, which this network answers alike.
        skip = ("webpage", "configs", "initial_data")
        settings = ClientOptions(args=("--no-cache-dir", "--no-js-runtimes", *args), player_skip=skip, **options)
        return YtDlpClient(settings).resolve(YTID)

    return ask


def taken(resolved: Resolved) -> tuple[str, str, str]:
    assert resolved.audio is not None
    return resolved.audio.format_id, resolved.audio.language, resolved.audio.track


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        ([entry(251, **DUB), entry(140, **DUB), entry(251, **ORIGINAL)], ("251", "ja", "original")),
        ([entry(140, **ORIGINAL), entry(251, **DUB), entry(140, **DUB)], ("140", "ja", "original")),
        ([entry(139, **ORIGINAL), entry(251, **DUB)], ("139", "ja", "original")),
        ([entry(140, audioChannels=1, **ORIGINAL), entry(258, audioChannels=6, **DUB)], ("140", "ja", "original")),
        ([entry(251, isDrc=True, **ORIGINAL), entry(251, **DUB)], ("251-drc", "ja", "original")),
        ([entry(249, **ORIGINAL), entry(251, isDrc=True, **ORIGINAL)], ("249", "ja", "original")),
        ([entry(251, **DESCRIPTIVE), entry(249, **ORIGINAL)], ("249", "ja", "original")),
        ([entry(251, **DESCRIPTIVE), entry(249, **track("ja.3", "Japanese"))], ("249", "ja", "dubbed")),
        ([entry(251, **DUB), entry(251, **track("de.3", "German"))], ("251", "en-US", "dubbed")),
        ([entry(251, **DESCRIPTIVE)], ("251", "ja", "descriptive")),
        ([entry(140, **track("fr.6", "French")), entry(251, **DUB | ORIGINAL)], ("251", "ja", "original")),
        ([entry(251, xtags="acont=dubbed-auto"), entry(249, xtags="acont%3Doriginal")], ("249", "", "original")),
        ([entry(251, xtags="acont%3Ddubbed%3Alang%3Dfr")], ("251", "fr", "dubbed")),
        ([entry(140), entry(251), entry(249)], ("251", "", "")),
    ],
)  # fmt: skip
def test_the_original_comes_before_quality_channels_and_codec(
    resolve: Resolve, offered: list[object], expected: tuple[str, str, str]
) -> None:
    for order in (offered, offered[::-1]):
        assert taken(resolve(answer(*order))) == expected
        assert taken(resolve(answer(*order), any_track=True)) == expected


@pytest.mark.parametrize(
    "original",
    [entry(251, url=False, **ORIGINAL), entry(251, drmFamilies=["WIDEVINE"], **ORIGINAL)],
    ids=["no address", "DRM"],
)
def test_no_dub_stands_in_for_an_original_without_address(resolve: Resolve, original: object) -> None:
    offered = answer(original, entry(251, **DUB), entry(140, **DUB))
    with pytest.raises(SegmentTransient) as caught:
        resolve(offered)
    assert caught.value.reason is Reason.NO_USABLE_FORMAT
    assert "en-US" in caught.value.detail and "audio.track: any" in caught.value.detail
    with pytest.raises(SegmentTransient):
        resolve(offered, "-f", "140")
    assert taken(resolve(offered, any_track=True)) == ("251", "en-US", "dubbed")
    assert taken(resolve(offered, "-f", "140", any_track=True)) == ("140", "en-US", "dubbed")


def test_a_file_without_a_named_track_comes_before_a_dub(resolve: Resolve) -> None:
    """Itag 18 is the video as it was uploaded; YouTube names no track for it."""
    offered = answer(entry(251, url=False, **ORIGINAL), entry(251, **DUB), formats=(entry(18),))
    assert taken(resolve(offered)) == taken(resolve(offered, any_track=True)) == ("18", "", "")


@pytest.mark.parametrize("itag", [17, 18])
def test_one_old_file_alone_is_enough(resolve: Resolve, itag: int) -> None:
    silent = [entry(134, url=False), entry(251, url=False)]
    for mode in ("none", "bestvideo", "bestvideoaudio", "bestvideowithaudio"):
        resolved = resolve(answer(*silent, formats=(entry(itag),)), video_mode=mode)
        assert taken(resolved)[0] == str(itag)
        assert resolved.video is None if mode == "none" else resolved.video.format_id == str(itag)


def test_pictures_do_not_change_the_sound(resolve: Resolve) -> None:
    offered = answer(entry(134), entry(248), entry(251, **DUB), entry(140, **ORIGINAL))
    for mode in ("bestvideo", "bestvideowithaudio"):
        resolved = resolve(offered, video_mode=mode)
        assert taken(resolved) == ("140", "ja", "original")
        assert resolved.video is not None and resolved.video.format_id in ("134", "248")
        assert [stream.format_id for stream in resolved.more_video] in (["134"], ["248"])
    both = answer(formats=(entry(18, **DUB), entry(17, **ORIGINAL)))
    assert taken(resolve(both, video_mode="bestvideoaudio")) == ("17", "ja", "original")


def test_what_is_read_next_is_the_same_track_in_another_format(resolve: Resolve) -> None:
    offered = [entry(itag, **ORIGINAL) for itag in (139, 140, 249, 251)] + [entry(258, **DUB), entry(251, **DUB)]
    resolved = resolve(answer(*offered))
    assert [stream.format_id for stream in resolved.more_audio] == ["140", "249"]
    assert {stream.track for stream in resolved.more_audio} == {"original"}
    assert resolve(answer(entry(251), formats=(entry(18),))).more_audio[0].format_id == "18"
    assert resolve(answer(*offered), "-f", "140").more_audio == ()


@pytest.mark.parametrize(
    ("offered", "args", "reason"),
    [
        (answer(), (), Reason.NO_USABLE_FORMAT),
        (answer(entry(134), entry(251, url=False)), (), Reason.NO_USABLE_FORMAT),
        (answer(entry(134, url=False)), (), Reason.NO_USABLE_FORMAT),
        (answer(entry(134)), (), Reason.NO_AUDIO),
        (answer(entry(251)), ("-f", "140"), Reason.FORMAT_UNAVAILABLE),
        (answer(entry(251), entry(134)), ("-f", "134"), Reason.FORMAT_UNAVAILABLE),
        (answer(entry(251)), ("-f", "sb0"), Reason.FORMAT_UNAVAILABLE),
    ],
)
def test_why_there_is_nothing(resolve: Resolve, offered: dict[str, Any], args: tuple[str, ...], reason: Reason) -> None:
    with pytest.raises((SegmentTransient, SegmentUnavailable)) as caught:
        resolve(offered, *args)
    assert caught.value.reason is reason
    assert isinstance(caught.value, SegmentUnavailable) is reason.permanent


def test_a_choice_of_pictures_and_sound_gives_the_sound(resolve: Resolve) -> None:
    offered = answer(entry(134), entry(251), entry(140))
    assert taken(resolve(offered, "-f", "bestvideo+bestaudio[ext=m4a]/best"))[0] == "140"


def test_no_manifest_is_fetched_where_a_file_is_there(resolve: Resolve, network: Network) -> None:
    for status in (429, MASTER):
        network.master, network.asked = status, []
        assert taken(resolve(answer(entry(251), manifest=True)))[0] == "251"
        assert taken(resolve(answer(formats=(entry(18),), manifest=True)))[0] == "18"
        assert taken(resolve(answer(entry(251), manifest=True), "--extractor-args", "youtube:skip=webpage"))[0] == "251"
        assert len(network.asked) == 3


def test_pictures_alone_are_asked_about_once_more(resolve: Resolve, network: Network) -> None:
    """Another client, of which no picture can be fetched, so that its manifest tells whether there is sound."""
    offered = answer(entry(134), manifest=True)
    assert taken(resolve(offered))[0] == "234"
    network.master = "#EXTM3U\n"
    with pytest.raises(SegmentUnavailable) as caught:
        resolve(offered)
    assert caught.value.reason is Reason.NO_AUDIO


def test_a_manifest_stands_in_where_no_file_can_be_had(resolve: Resolve, network: Network) -> None:
    offered = answer(entry(251, url=False), entry(134, url=False), manifest=True)
    resolved = resolve(offered)
    assert len(network.asked) == 2, "the player and the manifest"
    assert resolved.audio is not None and resolved.audio.segmented and resolved.audio.has_audio
    assert resolved.audio.format_id == "234" and not resolved.audio.has_video
    assert [stream.format_id for stream in resolved.more_audio] == ["233"]
    assert taken(resolve(offered, "-f", "233"))[0] == "233"
    with pytest.raises(SegmentTransient) as caught:
        resolve(offered, "--extractor-args", "youtube:skip=hls")
    assert caught.value.reason is Reason.NO_USABLE_FORMAT
    network.master = 429
    with pytest.raises(EgressBlocked):
        resolve(offered)


def test_the_original_of_a_manifest_comes_before_a_dub_with_a_file(resolve: Resolve, network: Network) -> None:
    network.master = MUXED_MASTER
    offered = answer(entry(251, url=False, **ORIGINAL), entry(251, **DUB), manifest=True)
    for options in ({}, {"any_track": True}):
        resolved = resolve(offered, **options)
        if options:  # a dub is enough here, so that no manifest is asked for
            assert taken(resolved) == ("251", "en-US", "dubbed")
        else:
            assert taken(resolved) == ("91", "ja", "original")
            assert resolved.audio is not None and resolved.audio.url.endswith("original.m3u8")


def test_the_time_from_which_on_the_bytes_are_given(resolve: Resolve) -> None:
    renderer = {"skipOffsetMilliseconds": 5000, "playerVars": "length_seconds=15"}
    layout = {"renderingContent": {"instreamVideoAdRenderer": renderer}}
    slot = {
        "adSlotMetadata": {"triggerEvent": "SLOT_TRIGGER_EVENT_BEFORE_CONTENT"},
        "fulfillmentContent": {"fulfilledLayout": {"playerBytesAdLayoutRenderer": layout}},
    }
    plain = resolve(answer(entry(251))).audio
    late = resolve(answer(entry(251), adSlots=[{"adSlotRenderer": slot}])).audio
    assert plain is not None and late is not None and plain.available_at and late.available_at
    assert 4 <= late.available_at - plain.available_at <= 7


def test_sound_and_pictures_in_one_stream_come_from_a_manifest_where_no_file_has_both(
    resolve: Resolve, network: Network
) -> None:
    network.master = MUXED_MASTER
    offered = answer(entry(134), entry(251), manifest=True)
    assert resolve(offered, video_mode="bestvideoaudio").video.format_id == "91"  # type: ignore[union-attr]
    with pytest.raises(SegmentTransient) as caught:
        resolve(answer(entry(134), entry(251)), video_mode="bestvideoaudio")
    assert caught.value.reason is Reason.NO_USABLE_FORMAT
    with pytest.raises(SegmentUnavailable) as missing:
        resolve(answer(entry(134)), video_mode="bestvideoaudio")
    assert missing.value.reason is Reason.NO_AUDIO
