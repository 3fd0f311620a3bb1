"""Broken, lying and endless streams end in a reason, with few bytes and little memory."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audioset_batch.config.schema import Video
from audioset_batch.errors import EgressBlocked, SegmentError, SegmentTransient
from audioset_batch.media.cut_audio import cut_audio
from audioset_batch.media.cut_video import cut_video
from audioset_batch.media.readers.source import RangeReader, StreamHint
from audioset_batch.reasons import Reason
from tests.support.media_data import MemorySource

CAP = 2_000_000
ITAGS = (251, 140, 18)


def reason_of(source: MemorySource, start_ms: int = 20_000, **hint: object) -> Reason:
    source.max_bytes = CAP
    with pytest.raises(SegmentTransient) as caught:
        cut_audio(source, start_ms, start_ms + 10_000, hint=StreamHint(**hint))
    assert source.bytes_read <= CAP
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.TRUNCATED),
        (b"\0", Reason.DECODE_ERROR),
        (b"<!DOCTYPE html><title>Sorry</title>" * 100, Reason.DECODE_ERROR),
        (b"\n\n  <html>", Reason.DECODE_ERROR),
        (b"#EXTM3U\nfile:///etc/passwd\n", Reason.DECODE_ERROR),
        (b"OggS" + bytes(1000), Reason.DECODE_ERROR),
        (bytes(100_000), Reason.DECODE_ERROR),
        (b"\x1aE\xdf\xa3", Reason.DECODE_ERROR),
        (b"\x1aE\xdf\xa3" + b"\xff" * 5000, Reason.DECODE_ERROR),
        (b"\0\0\0\x18ftypdash" + bytes(5000), Reason.DECODE_ERROR),
    ],
)
def test_what_is_no_media(data: bytes, reason: Reason) -> None:
    assert reason_of(MemorySource(data, len(data))) is reason
    assert reason_of(MemorySource(data, None)) is reason


@pytest.mark.parametrize("itag", ITAGS)
def test_a_stream_cut_off_is_truncated(youtube: Callable[..., Path], itag: int) -> None:
    whole = youtube(itag).read_bytes()
    for share in (0.44, 0.1, 0.001):
        data = whole[: int(len(whole) * share)]
        for size in (len(whole), len(data), None):
            reason = reason_of(MemorySource(data, size))
            assert reason in (Reason.TRUNCATED, Reason.DECODE_ERROR)
            if size == len(whole):
                assert reason is Reason.TRUNCATED


@pytest.mark.parametrize("itag", ITAGS)
def test_a_clip_is_never_silently_short(youtube: Callable[..., Path], itag: int) -> None:
    """Cut off at any byte the stream gives the whole clip or an error, whatever size the server claims."""
    whole = youtube(itag, 25).read_bytes()
    expected = 5 * (48000 if itag == 251 else 44100)
    found = []
    for length in (*range(2000, len(whole), 9001), len(whole)):
        for size in (len(whole), None):
            try:
                found.append(len(cut_audio(MemorySource(whole[:length], size), 10_000, 15_000).samples))
            except SegmentTransient:
                found.append(0)
    assert set(found) == {0, expected}
    assert found[:2] == [0, 0] and found[-2:] == [expected, expected]


def test_a_server_that_ignores_ranges(youtube: Callable[..., Path]) -> None:
    class IgnoresRanges(MemorySource):
        def read(self, start: int, stop: int) -> bytes:
            return super().read(0, len(self.data))

    data = youtube(251).read_bytes()
    with pytest.raises(SegmentTransient) as caught:
        cut_audio(IgnoresRanges(data, len(data)), 20_000, 30_000)
    assert caught.value.reason is Reason.HTTP_ERROR


@pytest.mark.parametrize("prefix", [b"\0\0\0\x18ftypdash" + bytes(12), b"\x1aE\xdf\xa3\x84\x42\x86\x81\x01"])
@pytest.mark.parametrize("size", [None, 1 << 40])
def test_an_endless_stream_stops_at_the_cap(prefix: bytes, size: int | None) -> None:
    class Endless(MemorySource):
        def read(self, start: int, stop: int) -> bytes:
            self.ranges.append((start, stop))
            return (prefix[start:] + bytes(stop - start))[: stop - start]

        @property
        def bytes_read(self) -> int:
            return sum(stop - start for start, stop in self.ranges)

    assert reason_of(Endless(b"", size)) is Reason.DECODE_ERROR


def box(kind: bytes, payload: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I4s", len(payload) + 8 if size is None else size, kind) + payload


GIGA = struct.pack(">I", 0xFFFFFFF0)


@pytest.mark.parametrize("kind", [b"stsz", b"stts", b"ctts", b"stsc", b"stco", b"stss", b"elst", b"mdhd"])
def test_tables_that_claim_gigabytes(youtube: Callable[..., Path], kind: bytes) -> None:
    data = bytearray(youtube(18, 25).read_bytes())
    at = -1
    while (at := data.find(kind, at + 1)) >= 0:
        data[at + 8 : at + 12] = GIGA
        if kind == b"stsz":
            data[at + 12 : at + 16] = GIGA
    tracemalloc.start()
    source = MemorySource(bytes(data), len(data), max_bytes=CAP)
    with contextlib.suppress(SegmentError):
        cut_audio(source, 10_000, 20_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000_000
    assert 0 < source.bytes_read <= CAP


@pytest.mark.parametrize("claimed", [1 << 31, 0xFFFFFFFF, 7])
def test_a_moov_that_claims_gigabytes(claimed: int) -> None:
    data = box(b"ftyp", b"dash" + bytes(8)) + box(b"moov", bytes(4000), claimed)
    assert reason_of(MemorySource(data, None)) in (Reason.DECODE_ERROR, Reason.TRUNCATED)
    assert reason_of(MemorySource(data, 1 << 33)) in (Reason.DECODE_ERROR, Reason.TRUNCATED)


def test_the_cap_holds(youtube: Callable[..., Path]) -> None:
    source = MemorySource.of(youtube(251))
    source.max_bytes = 50_000
    with pytest.raises(SegmentTransient, match="cap of 50000 bytes") as caught:
        cut_audio(source, 20_000, 30_000)
    assert caught.value.reason is Reason.DECODE_ERROR
    assert source.bytes_read <= 50_000


@pytest.mark.parametrize("error", [EgressBlocked("429"), SegmentTransient(Reason.TIMEOUT, "slow")])
@pytest.mark.parametrize("layout", ["no cues", "no sidx", "opus in mp4"])
def test_errors_of_the_source_come_through(other_layouts: dict[str, Path], layout: str, error: Exception) -> None:
    """Also through FFmpeg, which reads by callbacks."""

    class Fails(MemorySource):
        def read(self, start: int, stop: int) -> bytes:
            if len(self.ranges) >= 2:
                raise error
            return super().read(start, stop)

    data = other_layouts[layout].read_bytes()
    with pytest.raises(type(error)) as caught:
        cut_audio(Fails(data, len(data)), 14_000, 24_000)
    assert caught.value is error


def damage(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with one piece overwritten, left out, repeated, or cut off, mostly in its index."""
    reach = draw(st.sampled_from([100, 800, 3000, 30_000, len(data)]))
    at = draw(st.integers(0, min(reach, len(data)) - 1))
    length = draw(st.integers(1, 300))
    how = draw(st.sampled_from(["random", "huge", "zero", "delete", "repeat", "cut"]))
    if how == "cut":
        return data[:at]
    if how == "delete":
        return data[:at] + data[at + length :]
    if how == "repeat":
        return data[:at] + data[at : at + length] + data[at:]
    piece = {"huge": b"\xff" * 8, "zero": bytes(8)}.get(how) or draw(st.binary(min_size=1, max_size=32))
    return data[:at] + piece + data[at + len(piece) :]


@pytest.mark.parametrize("itag", [251, 140, 18, 134])
def test_damaged_files_end_in_a_reason(youtube: Callable[..., Path], itag: int) -> None:
    whole = youtube(itag, 25).read_bytes()

    @st.composite
    def sources(draw: st.DrawFn) -> MemorySource:
        data = damage(draw, whole)
        return MemorySource(data, draw(st.sampled_from([len(data), len(whole), None, 1 << 40])), max_bytes=CAP)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sources(), st.integers(0, 24_000))
    def check(source: MemorySource, start_ms: int) -> None:
        ended["all"] += 1
        try:
            if itag == 134:
                video = Video(mode="bestvideo", preset="ultrafast", max_height=32)
                clip = cut_video(source, start_ms, start_ms + 500, video)
                assert 0 < clip.frames <= 16
            else:
                cut = cut_audio(source, start_ms, start_ms + 3000)
                assert 0 < len(cut.samples) <= 3 * 384_000
            ended["with a clip"] += 1
        except SegmentError as error:
            assert error.reason in Reason
        assert source.bytes_read <= CAP

    ended: Counter[str] = Counter()
    check()
    assert 0 < ended["with a clip"] < ended["all"], "some damage is in what a clip needs, some is not"


def test_the_reader_asks_for_nothing_twice() -> None:
    data = bytes(range(256)) * 40

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 11_000), st.integers(0, 3000)), max_size=12))
    def check(ranges: list[tuple[int, int]]) -> None:
        source = MemorySource(data, len(data))
        reader = RangeReader(source)
        for start, length in ranges:
            assert reader.read_range(start, start + length) == data[start : start + length]
            assert reader.has(start, min(start + length, len(data)))
        assert source.bytes_read <= len(data)

    check()
