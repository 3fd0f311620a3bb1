"""One try at a segment against the stand-in: whose sound it is, when, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from audioset_batch.config import Config
from audioset_batch.errors import SegmentTransient, SegmentUnavailable
from audioset_batch.model import Clip, Segment
from audioset_batch.reasons import Reason
from audioset_batch.standin import AudioTrack, Catalog, Fault, Lock, Standin, TrackKind, Trouble, Video, Where, dubbed
from audioset_batch.standin.measure import locate_audio
from audioset_batch.worker import make_clip as stage
from audioset_batch.worker.child import client_for
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.streams import RequestContext, Traffic
from tests.support.marks import read_frame_number, read_track

ORIGINAL, *DUBS = dubbed("ja", "en-US", "de")
SECONDS = 33.0
VIDEOS = {
    "plain": {"muxed": True},
    "dub first": {"tracks": (*DUBS, ORIGINAL)},
    "poor original": {"tracks": (*DUBS, AudioTrack("ja", itags=(139,))), "itags": (139, 140, 251)},
    "DRC alone": {"tracks": (*DUBS, AudioTrack("ja", drc=True))},
    "described": {"tracks": (AudioTrack("ja", TrackKind.DESCRIPTIVE), ORIGINAL)},
    "no address": {"tracks": (*DUBS, AudioTrack("ja", address=False)), "itags": (140, 251), "hls": False},
    "HLS alone": {"sabr": ("*",)},
    "HLS of tracks": {"sabr": ("*",), "tracks": (*DUBS, ORIGINAL), "itags": (140,)},
    "itag 17": {"itags": (17,), "muxed": True},
    "itag 18": {"itags": (18,), "muxed": True},
    "itag 36": {"itags": (36,), "muxed": True},
    "5.1 AAC": {"itags": (258,)},
    "AC-3": {"itags": (380, 251)},
    "E-AC-3": {"itags": (328,)},
    "ad": {"ad_seconds": 1.5},
    "long ad": {"ad_seconds": 600},
    "one DRM": {"locks": {251: Lock.DRM}},
}
YTIDS = {name: f"bytes__{index:04d}" for index, name in enumerate(VIDEOS)}


@pytest.fixture(scope="module")
def standin(media_cache: Path) -> Iterator[Standin]:
    videos = (Video(YTIDS[name], SECONDS, **more) for name, more in VIDEOS.items())  # type: ignore[arg-type]
    with Standin(Catalog.of(*videos), media_cache) as youtube:
        youtube.prepare()  # a resolve that waits too long for it is asked again, which would count
        yield youtube


@dataclass
class Made:
    """A clip, and what making it took."""

    clip: Clip
    traffic: Traffic
    waited: list[float] = field(default_factory=list)

    @property
    def where(self) -> tuple[str, str, str]:
        columns = self.clip.columns
        return columns["format_id"], columns["audio_language"], columns["audio_track"]

    def sound(self) -> tuple[np.ndarray, int]:
        samples, rate = soundfile.read(str(self.clip.audio), always_2d=True)
        return samples, rate


Make = Callable[..., Made]


@pytest.fixture
def youtube(standin: Standin) -> Iterator[Standin]:
    standin.clear_log()
    yield standin
    standin.clear_faults()


@pytest.fixture
def make(youtube: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("SSL_CERT_FILE", str(youtube.access().ca_file))
    clients: dict[str, YtDlpClient] = {}

    def ask(name: str, start: float = 10, length: float = 4, **settings: Any) -> Made:
        config = Config.model_validate(
            {
                "egress": [{"proxy": youtube.access().proxy}],
                "youtube": {"args": ["--no-cache-dir", "--no-js-runtimes"]},
                "audio": {"sample_rate": "keep"},
                **settings,
            }
        )
        client = clients.setdefault(repr(settings), client_for(config, 0))
        client.traffic.take()
        waited: list[float] = []
        segment = Segment("eval_segments", YTIDS[name], round(start * 1000), round((start + length) * 1000), ())
        stem = tmp_path / f"clip{len(list(tmp_path.iterdir()))}"
        made = stage.make_clip(
            segment, client, config, stem, RequestContext(time.monotonic() + 60, on_wait=waited.append)
        )
        return Made(made, client.traffic.take(), waited)

    return ask


def requests(youtube: Standin) -> dict[str, int]:
    total = youtube.counters()["all"]
    return {name: total[name] for name in ("player", "manifests", "segments", "media")}


@pytest.mark.parametrize("name", ["dub first", "poor original", "DRC alone", "described"])
def test_the_original_is_heard(make: Make, name: str) -> None:
    made = make(name)
    samples, rate = made.sound()
    tracks: Any = VIDEOS[name]["tracks"]
    assert made.where[1:] == ("ja", "original")
    assert read_track(samples, rate) == [track.kind for track in tracks].index(TrackKind.ORIGINAL)
    assert locate_audio(samples, rate) == pytest.approx(10, abs=0.03)
    assert made.traffic.requests == (4 if name == "poor original" else 3), (
        "one for the resolve, the others for the media"
    )


def test_no_dub_without_being_asked_for(make: Make) -> None:
    with pytest.raises(SegmentTransient) as caught:
        make("no address")
    assert caught.value.reason is Reason.NO_USABLE_FORMAT
    made = make("no address", audio={"track": "any", "sample_rate": "keep"})
    assert made.where[2] == "dubbed" and read_track(*made.sound()) in (0, 1)


@pytest.mark.parametrize("trouble", [Trouble.FORBIDDEN, Trouble.GARBAGE, Trouble.NO_SOUND], ids=str)
def test_the_next_format_without_another_resolve(make: Make, youtube: Standin, trouble: Trouble) -> None:
    youtube.add_fault(Fault(trouble, itag=251))
    made = make("plain")
    assert made.where[0] == "140"
    assert locate_audio(*made.sound()) == pytest.approx(10, abs=0.0005)
    assert requests(youtube)["player"] == 1
    youtube.add_fault(Fault(trouble, itag=140))
    if trouble is not Trouble.NO_SOUND:  # which is about files that should hold sound alone
        assert make("plain").where[0] == "18"


def test_of_all_that_are_refused_each_is_named(make: Make, youtube: Standin) -> None:
    youtube.add_fault(Fault(Trouble.FORBIDDEN))
    with pytest.raises(SegmentTransient) as caught:
        make("plain")
    assert caught.value.reason is Reason.MEDIA_FORBIDDEN
    assert caught.value.detail == "format 251: HTTP 403; format 140: HTTP 403; format 18: HTTP 403"
    assert requests(youtube) == {"player": 1, "manifests": 0, "segments": 0, "media": 3}


def test_other_faults_try_no_other_format(make: Make, youtube: Standin) -> None:
    youtube.add_fault(Fault(Trouble.SERVER_ERROR))
    with pytest.raises(SegmentTransient):
        make("plain")
    assert requests(youtube)["media"] == 1


@pytest.mark.parametrize("mode", ["bestvideo", "bestvideowithaudio"])
def test_the_next_pictures(make: Make, youtube: Standin, mode: str) -> None:
    for itag in (134, 251):
        youtube.add_fault(Fault(Trouble.FORBIDDEN, itag=itag))
    made = make("plain", length=2, video={"mode": mode, "preset": "ultrafast", "max_height": 360})
    assert made.where[0] == "140+18"
    assert requests(youtube)["player"] == 1
    assert made.clip.video is not None
    with av.open(str(made.clip.video)) as container:
        assert len(container.streams.audio) == (mode == "bestvideowithaudio")
        assert abs(read_frame_number(next(container.decode(video=0))) / 25 - 10) <= 1 / 25


def test_both_in_one_file(make: Make, youtube: Standin) -> None:
    made = make("itag 18", length=2, video={"mode": "bestvideoaudio", "preset": "ultrafast"})
    assert made.where[0] == "18" and made.clip.video is not None
    assert requests(youtube)["player"] == 1


@pytest.mark.parametrize(
    ("name", "itag", "channels"),
    [
        ("itag 17", "17", 1),
        ("itag 18", "18", 2),
        ("itag 36", "36", 1),
        ("5.1 AAC", "258", 6),
        ("AC-3", "380", 6),
        ("E-AC-3", "328", 6),
        ("one DRM", "140", 2),
    ],
)
def test_formats_alone(make: Make, name: str, itag: str, channels: int) -> None:
    made = make(name)
    samples, rate = made.sound()
    assert (made.where[0], samples.shape[1]) == (itag, channels)
    assert len(samples) == 4 * rate
    assert locate_audio(samples, rate) == pytest.approx(10, abs=0.06)


def test_pictures_of_an_old_format(make: Make) -> None:
    made = make("itag 36", length=2, video={"mode": "bestvideoaudio", "preset": "ultrafast"})
    assert made.clip.video is not None
    with av.open(str(made.clip.video)) as container:
        assert abs(read_frame_number(next(container.decode(video=0))) / 25 - 10) <= 1 / 25


def test_an_ad_is_waited_for(make: Make, youtube: Standin) -> None:
    made = make("ad")
    assert len(made.waited) == 1 and 0 < made.waited[0] < 4
    assert requests(youtube)["player"] == 1 and made.traffic.media_requests == 2
    with pytest.raises(SegmentTransient, match="ads for") as caught:
        make("long ad")
    assert caught.value.reason is Reason.TIMEOUT
    assert make("plain").waited == []


def test_no_manifest_where_there_are_files(make: Make, youtube: Standin) -> None:
    for trouble in (Trouble.SILENT, Trouble.TOO_MANY):
        youtube.clear_faults()
        youtube.add_fault(Fault(trouble, Where.MANIFEST))
        assert make("plain").traffic.requests == 3
    assert requests(youtube)["manifests"] == 0


@pytest.mark.parametrize("start", [0, 10, 17.345])
def test_hls_where_there_is_no_file(make: Make, youtube: Standin, start: float) -> None:
    made = make("HLS alone", start)
    samples, rate = made.sound()
    assert len(samples) == 4 * rate
    # The encoder's priming, which MPEG-TS does not tell, is heard as sound.
    assert -0.05 < locate_audio(samples, rate) - start <= 0.0005
    spent = requests(youtube)
    assert (spent["player"], spent["manifests"], spent["media"]) == (1, 2, 0)
    assert spent["segments"] <= 4


def test_the_original_in_hls(make: Make) -> None:
    made = make("HLS of tracks")
    assert made.where[1:] == ("ja", "original")
    assert read_track(*made.sound()) == 2


@pytest.mark.parametrize("mode", ["bestvideo", "bestvideoaudio", "bestvideowithaudio"])
def test_pictures_in_hls(make: Make, mode: str) -> None:
    made = make("HLS alone", 11, 2, video={"mode": mode, "preset": "ultrafast", "max_height": 360})
    assert made.clip.video is not None
    with av.open(str(made.clip.video)) as container:
        assert abs(read_frame_number(next(container.decode(video=0))) / 25 - 11) <= 1 / 25
    assert abs(locate_audio(*made.sound()) - 11) < 0.05


def test_a_segment_past_the_end_of_a_playlist(make: Make) -> None:
    with pytest.raises(SegmentUnavailable) as caught:
        make("HLS alone", 40)
    assert caught.value.reason is Reason.SEGMENT_PAST_END


@pytest.mark.parametrize(
    ("trouble", "where", "reason"),
    [
        (Trouble.FORBIDDEN, Where.SEGMENT, Reason.MEDIA_FORBIDDEN),
        (Trouble.GARBAGE, Where.SEGMENT, Reason.DECODE_ERROR),
        (Trouble.TRUNCATE, Where.SEGMENT, Reason.TRUNCATED),
        (Trouble.FORBIDDEN, Where.MANIFEST, None),
    ],
    ids=str,
)
def test_faults_of_hls_are_transient(
    make: Make, youtube: Standin, trouble: Trouble, where: Where, reason: Reason | None
) -> None:
    youtube.add_fault(Fault(trouble, where))
    with pytest.raises(SegmentTransient) as caught:
        make("HLS alone")
    assert reason in (None, caught.value.reason)
