"""Bytes and requests per clip, against a bound worked out from the packets that FFmpeg finds in the file.

The bound of one clip: 1.15 times the bytes from the last seek point at least one pre-roll before its start to its
end, plus everything in front of the first packet (header and index), plus 32 KiB; and four requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import pytest

from audioset_batch.config.schema import Video
from audioset_batch.media.cut_audio import cut_audio
from audioset_batch.media.cut_video import cut_video
from audioset_batch.media.readers.source import CachingSource, StreamHint
from tests.support.media_data import MemorySource, encode_audio_file

PREROLL = {251: 0.08, 140: 1024 / 44100, 18: 1024 / 44100}


@dataclass(frozen=True)
class Layout:
    """Seconds and bytes of each packet, in file order, and the seek points as (seconds, byte)."""

    packets: list[tuple[float, int, int]]
    seek_points: list[tuple[float, int]]
    size: int

    def bound(self, start: float, stop: float, preroll: float) -> int:
        begin = max((p for p in self.seek_points if p[0] <= max(start - preroll, 0)), default=self.seek_points[0])
        end = max(position + size for time, position, size in self.packets if time < stop)
        header = min(position for _, position, _ in self.packets)
        return int(1.15 * (end - begin[1])) + header + 32768


@lru_cache
def layout(path: Path, itag: int, kind: str = "audio") -> Layout:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        packets, keys = [], []
        for packet in container.demux(stream):
            if packet.pts is not None:
                time = float(packet.pts * stream.time_base)
                packets.append((time, packet.pos, packet.size))
                if packet.is_keyframe:
                    keys.append((time, packet.pos))
    data = path.read_bytes()
    if itag == 18:
        return Layout(packets, keys, len(data))
    heads = _positions(data, b"\x1f\x43\xb6\x75" if itag == 251 else b"moof")
    shift = 0 if itag == 251 else 4
    seek_points = []
    for head in heads:
        behind = [time for time, position, _ in packets if position > head]
        if behind:
            seek_points.append((behind[0], head - shift))
    return Layout(packets, seek_points, len(data))


def _positions(data: bytes, pattern: bytes) -> list[int]:
    found, at = [], data.find(pattern)
    while at >= 0:
        found.append(at)
        at = data.find(pattern, at + 1)
    return found


def hint_of(source: MemorySource, itag: int, seconds: float, told: bool) -> StreamHint:
    size = source.size
    return StreamHint(seconds if told else None, size if told else None, itag in (18, 140, 251), itag in (18, 134, 136))


def assert_within(source: MemorySource, bound: int, what: str) -> None:
    assert source.bytes_read <= bound, f"{source.bytes_read} bytes, bound {bound}, {what}"
    assert source.requests <= 4


def check(path: Path, itag: int, start: float, seconds: float, told: bool) -> int:
    """Cut ten seconds of audio, assert the bounds; requests."""
    source = MemorySource.of(path)
    cut_audio(source, round(start * 1000), round((start + 10) * 1000), hint=hint_of(source, itag, seconds, told))
    assert_within(source, layout(path, itag).bound(start, start + 10, PREROLL[itag]), f"{itag} at {start}")
    return source.requests


def check_video(path: Path, itag: int, start: float, seconds: float, told: bool, video: Video) -> int:
    """Cut video as one clip of `video.mode` is made, for `bestvideoaudio` its audio file as well; requests."""
    source = MemorySource.of(path)
    hint = hint_of(source, itag, seconds, told)
    times = round(start * 1000), round((start + 10) * 1000)
    cached = CachingSource(source)
    cut_video(cached, *times, video, hint=hint)
    if video.mode == "bestvideoaudio":
        cut_audio(cached, *times, hint=hint)
    assert_within(source, layout(path, itag, "video").bound(start, start + 10, 0.0), f"{itag} at {start}")
    return source.requests


MINUTE_STARTS = [0, 10, 20, 30, 40, 50, 0.3, 9.99, 10.05, 17.345, 20.1, 25, 33.333, 44.8]
FAST = {"preset": "ultrafast", "max_height": 32}


@pytest.mark.parametrize("told", [True, False], ids=["announced", "unknown"])
@pytest.mark.parametrize("itag", [251, 140, 18])
def test_one_minute(youtube: Callable[..., Path], itag: int, told: bool) -> None:
    path = youtube(itag, 60)
    found = [check(path, itag, start, 60, told) for start in MINUTE_STARTS]
    assert max(found) <= {251: 2, 18: 3, 140: 3}[itag]


@pytest.mark.parametrize("told", [True, False], ids=["announced", "unknown"])
@pytest.mark.parametrize(
    ("itag", "mode"),
    [(134, "bestvideo"), pytest.param(136, "bestvideo", marks=pytest.mark.slow), (18, "bestvideoaudio")],
)
def test_one_minute_of_video(youtube: Callable[..., Path], itag: int, mode: str, told: bool) -> None:
    path = youtube(itag, 60)
    video = Video(mode=mode, cut="copy")
    found = [check_video(path, itag, start, 60, told, video) for start in MINUTE_STARTS]
    assert max(found) <= (3 if itag == 18 else 2)


@pytest.mark.parametrize(("itag", "mode"), [(134, "bestvideo"), (18, "bestvideoaudio")])
def test_exact_cuts_fetch_no_more(youtube: Callable[..., Path], itag: int, mode: str) -> None:
    for start in (0, 17.345, 30):
        check_video(youtube(itag, 60), itag, start, 60, True, Video(mode=mode, **FAST))


def test_sound_from_the_keyframe_on_is_fetched_once(youtube: Callable[..., Path]) -> None:
    """`bestvideowithaudio` by copying: the audio file begins at the start, the sound in the video before it."""
    pictures, audio = MemorySource.of(youtube(134, 60)), MemorySource.of(youtube(140, 60))
    cached = CachingSource(audio)
    hint = hint_of(audio, 140, 60, True)
    clip = cut_video(
        pictures,
        13_000,
        23_000,
        Video(mode="bestvideowithaudio", cut="copy"),
        hint=hint_of(pictures, 134, 60, True),
        sound_source=cached,
        sound_hint=hint,
    )
    assert clip.start_seconds == 10 and clip.sound_seconds == 13
    cut_audio(cached, 13_000, 23_000, hint=hint)
    assert_within(audio, layout(youtube(140, 60), 140).bound(10, 23, PREROLL[140]), "sound")


def test_a_kept_source_forgets_what_is_too_much(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("audioset_batch.media.readers.source._MAX_CACHED_BYTES", 1500)
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10)
    source = MemorySource.of(path)
    cached = CachingSource(source)
    assert cached.size == 2560
    for start in (0, 600, 0, 1200):
        assert cached.read(start, start + 600) == path.read_bytes()[start : start + 600]
    assert source.requests == 3, "the third is at hand"
    assert cached.read(1800, 2400) == path.read_bytes()[1800:2400]
    assert cached.read(0, 600) == path.read_bytes()[:600]
    assert source.requests == 5, "and then forgotten"
    assert cached.read(2500, 2600) == path.read_bytes()[2500:]


@pytest.mark.parametrize("bit_rate", [48_000, 160_000])
@pytest.mark.parametrize("itag", [251, 140])
def test_other_bit_rates(youtube: Callable[..., Path], itag: int, bit_rate: int) -> None:
    path = youtube(itag, 60, bit_rate=bit_rate)
    for start in MINUTE_STARTS:
        check(path, itag, start, 60, True)


def test_bit_rates_that_jump(tmp_path: Path) -> None:
    options = {"cues_to_front": "1", "cluster_time_limit": "10010"}
    path = encode_audio_file(tmp_path / "bursts.webm", "libopus", 65.3, "webm", bursts=True, **options)
    for start in MINUTE_STARTS:
        check(path, 251, start, 65.3, True)


LONG = {600: (0, 30, 300, 455.5, 590), 7200: (0, 10, 600, 1790, 3600, 3600.05, 5000.123, 7100, 7190)}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", LONG)
@pytest.mark.parametrize("itag", [251, 140, 18])
def test_long_videos(youtube: Callable[..., Path], itag: int, seconds: int) -> None:
    for start in LONG[seconds]:
        check(youtube(itag, seconds), itag, start, seconds, True)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", LONG)
@pytest.mark.parametrize(("itag", "mode"), [(134, "bestvideo"), (136, "bestvideo"), (18, "bestvideoaudio")])
def test_video_of_long_videos(youtube: Callable[..., Path], itag: int, mode: str, seconds: int) -> None:
    for start in LONG[seconds]:
        check_video(youtube(itag, seconds), itag, start, seconds, True, Video(mode=mode, cut="copy"))
