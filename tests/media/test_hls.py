"""Clips out of HLS playlists: when they are, to the millisecond, and which segments were fetched."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from audioset_batch.config.schema import Video
from audioset_batch.errors import EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.media.cut_audio import cut_audio
from audioset_batch.media.cut_video import cut_video
from audioset_batch.media.readers.hls import SegmentedSource, parse_playlist
from audioset_batch.reasons import Reason
from audioset_batch.standin.measure import locate_audio
from tests.support.marks import read_frame_number
from tests.support.media_data import encode_audio_file

BASE = "https://manifest.googlevideo.com/file/"
SECONDS = 65.3
EXACT = 0.0005
ONE_FRAME = 0.03
"""An AAC frame at 44.1 kHz and a little: nothing in these streams tells of the encoder's priming."""


class Folder:
    """A folder as the web: fetches files of it, and notes what."""

    def __init__(self, folder: Path, playlist: str = "list.m3u8") -> None:
        self.folder = folder
        self.playlist = playlist
        self.fetched: list[tuple[str, tuple[int, int] | None]] = []
        self.failing: dict[str, Exception] = {}

    def __call__(self, url: str, span: tuple[int, int] | None) -> bytes:
        name = url.removeprefix(BASE)
        self.fetched.append((name, span))
        if name in self.failing:
            raise self.failing[name]
        data = (self.folder / name).read_bytes()
        return data if span is None else data[slice(*span)]

    def source(self) -> SegmentedSource:
        self.fetched.clear()
        return SegmentedSource(self, BASE + self.playlist, "format 91")

    @property
    def segments(self) -> list[int]:
        """Numbers of the segments that were fetched whole."""
        whole = [name for name, span in self.fetched if span is None and name != self.playlist]
        return sorted(int(number[1]) for name in whole if (number := re.search(r"(\d+)\.\w+$", name)))


def segment_file(source: Path, folder: Path, kinds: str, **options: str) -> Folder:
    """The streams of a file as HLS, copied."""
    folder.mkdir()
    options = {"hls_time": "5", "hls_playlist_type": "vod", "hls_segment_filename": f"{folder}/s%03d.ts"} | options
    with av.open(str(source)) as read, av.open(f"{folder}/list.m3u8", "w", format="hls", options=options) as write:
        streams = [stream for stream in read.streams if stream.type in kinds]
        made: dict[int, Any] = {stream.index: write.add_stream_from_template(stream) for stream in streams}
        for packet in read.demux(streams):
            if packet.dts is not None:
                packet.stream = made[packet.stream.index]
                write.mux(packet)
    return Folder(folder)


@pytest.fixture(scope="module")
def hls(youtube: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    root = tmp_path_factory.mktemp("hls")
    fmp4 = {"hls_segment_type": "fmp4", "hls_segment_filename": f"{root}/fmp4/s%03d.m4s"}
    both, sound = youtube(18, SECONDS), youtube(140, SECONDS)
    return {
        "MPEG-TS with pictures": segment_file(both, root / "ts", "audio video"),
        "MPEG-TS": segment_file(sound, root / "sound", "audio"),
        "fragmented MP4": segment_file(sound, root / "fmp4", "audio", **fmp4),
        "AAC frames": packed(root / "packed"),
        "AAC frames without times": packed(root / "untimed", timed=False),
    }


@pytest.fixture(scope="module")
def youtube(media_cache: Path) -> Callable[..., Path]:
    from audioset_batch.standin.synth import SourceSpec, synthesise

    return lambda itag, seconds: synthesise(media_cache, SourceSpec(itag, seconds))


def packed(folder: Path, timed: bool = True) -> Folder:
    """AAC frames alone, cut into segments of about five seconds with a time stamp in front of each."""
    folder.mkdir()
    whole = encode_audio_file(folder / "whole.aac", "aac", SECONDS, "adts").read_bytes()
    frames, at = [], 0
    while at < len(whole):
        size = int.from_bytes(whole[at + 3 : at + 6], "big") >> 5 & 0x1FFF
        frames.append(whole[at : at + size])
        at += size
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:6"]
    for number in range(0, len(frames), 215):
        name = f"s{number // 215:03d}.aac"
        time = 900_000 + round(Fraction(number * 1024 * 90_000, 44_100))
        content = b"com.apple.streaming.transportStreamTimestamp\0" + time.to_bytes(8, "big")
        frame = b"PRIV" + len(content).to_bytes(4, "big") + b"\0\0" + content
        tag = b"ID3\4\0\0\0\0\0" + bytes([len(frame)]) + frame
        part = frames[number : number + 215]
        (folder / name).write_bytes((tag if timed else b"") + b"".join(part))
        lines += [f"#EXTINF:{len(part) * 1024 / 44_100:.{3 if timed else 6}f},", name]
    (folder / "list.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    return Folder(folder)


TOLERANCES = {
    "MPEG-TS with pictures": EXACT,
    "MPEG-TS": ONE_FRAME,
    "fragmented MP4": ONE_FRAME,  # FFmpeg writes no edit list here
    "AAC frames": ONE_FRAME,
    "AAC frames without times": ONE_FRAME,
}


@pytest.mark.parametrize("start", [0, 10, 17.345, 30, 50, 55])
@pytest.mark.parametrize("kind", TOLERANCES)
def test_when_the_sound_is(hls: dict[str, Folder], kind: str, start: float) -> None:
    folder = hls[kind]
    clip = cut_audio(folder.source(), round(start * 1000), round(start * 1000) + 10_000)
    assert len(clip.samples) == 441_000
    assert locate_audio(clip.samples, clip.sample_rate) == pytest.approx(start, abs=TOLERANCES[kind])
    needed = range(int(max(start - 0.1, 0) // 5), int((start + 10) // 5) + 1)
    assert set(folder.segments) <= {needed[0] - 1, *needed, needed[-1] + 1}
    assert len(folder.segments) <= len(needed) + 1
    assert len(folder.segments) == len(set(folder.segments))
    assert len(folder.fetched) <= len(folder.segments) + 2, "the playlist, and what tells the zero"


def test_pictures_and_sound_of_one_playlist(hls: dict[str, Folder], tmp_path: Path) -> None:
    folder = hls["MPEG-TS with pictures"]
    for cut in ("exact", "copy"):
        source = folder.source()
        video = Video(mode="bestvideoaudio", cut=cut, frame_rate="keep", preset="ultrafast", max_height=64)
        clip = cut_video(source, 12_000, 14_000, video)
        sound = cut_audio(source, 12_000, 14_000)
        assert len(folder.fetched) == len(set(folder.fetched)), "nothing twice"
        assert (clip.frames, clip.start_seconds, clip.sound_seconds) == (50, 12.0, 2.0)
        assert locate_audio(sound.samples, sound.sample_rate) == pytest.approx(12, abs=EXACT)
        path = tmp_path / "clip.mp4"
        path.write_bytes(clip.data)
        with av.open(str(path)) as made:
            assert read_frame_number(next(made.decode(video=0))) == 300


def test_ends(hls: dict[str, Folder]) -> None:
    for folder in hls.values():
        clip = cut_audio(folder.source(), 60_000, 70_000)
        assert clip.duration_seconds == pytest.approx(5.3, abs=0.05)
        with pytest.raises(SegmentUnavailable) as caught:
            cut_audio(folder.source(), 70_000, 80_000)
        assert caught.value.reason is Reason.SEGMENT_PAST_END


def test_lists_that_are_a_little_wrong_cost_a_segment_more(hls: dict[str, Folder]) -> None:
    """Durations are rounded, or those of the pictures: the times in the segments decide."""
    folder = hls["MPEG-TS with pictures"]
    path = folder.folder / "list.m3u8"
    right = path.read_text()
    for wrong in ("5.100000", "4.900000"):
        try:
            path.write_text(re.sub(r"EXTINF:5\.\d+", f"EXTINF:{wrong}", right))
            clip = cut_audio(folder.source(), 30_000, 40_000)
        finally:
            path.write_text(right)
        assert locate_audio(clip.samples, clip.sample_rate) == pytest.approx(30, abs=EXACT)
        assert len(clip.samples) == 441_000


@pytest.mark.parametrize("error", [EgressBlocked("429"), SegmentTransient(Reason.MEDIA_FORBIDDEN, "403")])
def test_errors_come_through(hls: dict[str, Folder], error: Exception) -> None:
    folder = hls["MPEG-TS"]
    for name in ("list.m3u8", "s000.ts", "s004.ts"):
        folder.failing = {name: error}
        try:
            with pytest.raises(type(error)) as caught:
                cut_audio(folder.source(), 20_000, 30_000)
        finally:
            folder.failing = {}
        assert caught.value is error


def playlist(*lines: str, end: bool = True) -> str:
    return "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:5", *lines, *(["#EXT-X-ENDLIST"] if end else [])])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.DECODE_ERROR),
        ("<html>", Reason.DECODE_ERROR),
        (playlist(), Reason.DECODE_ERROR),
        (playlist("s.ts"), Reason.DECODE_ERROR),
        (playlist("#EXTINF:abc,", "s.ts"), Reason.DECODE_ERROR),
        (playlist("#EXTINF:1/0,", "s.ts"), Reason.DECODE_ERROR),
        (playlist("#EXTINF:-5,", "s.ts"), Reason.DECODE_ERROR),
        (playlist("#EXTINF:1e999999999,", "s.ts"), Reason.DECODE_ERROR),
        (playlist("#EXTINF:5,", "file:///etc/passwd"), Reason.DECODE_ERROR),
        (playlist('#EXT-X-MAP:URI="file:///etc/passwd"', "#EXTINF:5,", "s.ts"), Reason.DECODE_ERROR),
        (playlist("#EXT-X-MAP:X=1", "#EXTINF:5,", "s.ts"), Reason.DECODE_ERROR),
        (playlist("#EXT-X-BYTERANGE:x@y", "#EXTINF:5,", "s.ts"), Reason.DECODE_ERROR),
        (playlist("#EXTINF:5,", "s.ts", end=False), Reason.NO_USABLE_FORMAT),
        (playlist('#EXT-X-KEY:METHOD=AES-128,URI="k"', "#EXTINF:5,", "s.ts"), Reason.NO_USABLE_FORMAT),
        (playlist("#EXTINF:5,", "s.ts", "#EXT-X-DISCONTINUITY", "#EXTINF:5,", "t.ts"), Reason.NO_USABLE_FORMAT),
    ],
)
def test_playlists_that_are_none(text: str, reason: Reason) -> None:
    with pytest.raises(SegmentTransient) as caught:
        parse_playlist(text, BASE + "list.m3u8", "format 91")
    assert caught.value.reason is reason and caught.value.detail.startswith("format 91: ")


def test_ranges_and_keys_of_none() -> None:
    lines = (
        "#EXT-X-KEY:METHOD=NONE",
        '#EXT-X-MAP:URI="i.mp4",BYTERANGE="10@0"',
        "#EXTINF:5.5,",
        "#EXT-X-BYTERANGE:7@10",
    )
    found = parse_playlist(playlist(*lines, "a", "#EXTINF:4,", "#EXT-X-BYTERANGE:3", "a"), BASE + "l", "x")
    assert found.init == (BASE + "i.mp4", (0, 10))
    assert [part.span for part in found.parts] == [(10, 17), (17, 20)]
    assert (found.parts[1].start, found.end) == (Fraction("5.5"), Fraction("9.5"))


def test_segments_that_are_no_media(tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text(playlist("#EXTINF:5,", "a.ts", "#EXTINF:5,", "b.ts"))
    for data in (b"", b"<html>", b"\x47" + bytes(1000), b"ID3" + bytes(500), b"\xff\xf1" + bytes(500)):
        for name in ("a.ts", "b.ts"):
            (tmp_path / name).write_bytes(data)
        with pytest.raises(SegmentTransient) as caught:
            cut_audio(Folder(tmp_path).source(), 0, 10_000)
        assert caught.value.reason is Reason.DECODE_ERROR
