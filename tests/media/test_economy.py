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
from mediadata import encode_audio_file

from audioset_batch.adapters.media.audio import cut_audio
from audioset_batch.adapters.media.source import FileSource, StreamHint
from audioset_batch.adapters.media.video import cut_video
from audioset_batch.config.schema import Video

PREROLL = {251: 0.08, 140: 1024 / 44100, 18: 1024 / 44100, 134: 0.0}


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
def layout(path: Path, itag: int) -> Layout:
    with av.open(str(path)) as container:
        kind = "video" if itag == 134 else "audio"
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


def check(path: Path, itag: int, start: float, seconds: float, told: bool) -> tuple[int, float]:
    """Cut ten seconds, assert the bounds; requests, and bytes as a share of the bound."""
    source = FileSource(path)
    hint = StreamHint(seconds if told else None, source.size if told else None, itag != 134, itag in (18, 134))
    start_ms, end_ms = round(start * 1000), round((start + 10) * 1000)
    if itag == 134:
        video = Video(mode="bestvideo", cut="copy")
        cut_video(source, start_ms, end_ms, video, hint=hint)
    else:
        cut_audio(source, start_ms, end_ms, hint=hint)
    bound = layout(path, itag).bound(start, start + 10, PREROLL[itag])
    assert source.bytes_read <= bound, f"{source.bytes_read} bytes, bound {bound}, {itag} at {start}"
    assert source.requests <= 4
    return source.requests, source.bytes_read / bound


MINUTE_STARTS = [0, 10, 20, 30, 40, 50, 0.3, 9.99, 10.05, 17.345, 20.1, 25, 33.333, 44.8]


@pytest.mark.parametrize("told", [True, False], ids=["announced", "unknown"])
@pytest.mark.parametrize("itag", [251, 140, 18, 134])
def test_one_minute(youtube: Callable[..., Path], itag: int, told: bool) -> None:
    path = youtube(itag, 60)
    found = [check(path, itag, start, 60, told) for start in MINUTE_STARTS]
    limit = {251: 2, 134: 2, 18: 3, 140: 3}[itag]
    assert max(requests for requests, _ in found) <= limit


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


@pytest.mark.slow
@pytest.mark.parametrize("itag", [251, 140, 18, 134])
def test_two_hours(youtube: Callable[..., Path], itag: int) -> None:
    path = youtube(itag, 7200)
    for start in (0, 10, 600, 1790, 3600, 3600.05, 5000.123, 7100, 7190):
        check(path, itag, start, 7200, True)


@pytest.mark.slow
def test_ten_minutes(youtube: Callable[..., Path]) -> None:
    for itag in (251, 140, 18, 134):
        for start in (0, 30, 300, 455.5, 590):
            check(youtube(itag, 600), itag, start, 600, True)
