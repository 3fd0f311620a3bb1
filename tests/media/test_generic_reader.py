"""FFmpeg's reader, forced on every container, and what only it can read: equal to a decode from the beginning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from audioset_batch.config.schema import Video
from audioset_batch.errors import SegmentTransient
from audioset_batch.media.cut_audio import AudioClip, cut_audio
from audioset_batch.media.cut_video import cut_video
from audioset_batch.media.readers import opening
from audioset_batch.media.readers.demux import UnexpectedLayout
from audioset_batch.reasons import Reason
from audioset_batch.standin.measure import locate_audio
from audioset_batch.standin.timecode import picture
from tests.support.marks import read_frame_number
from tests.support.media_data import MemorySource, decode_all, encode_audio_file, steps16

STARTS = (0, 20, 24, 1_000, 9_999, 14_321)


@pytest.fixture
def generic_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_reader: object) -> None:
        raise UnexpectedLayout("as the test says")

    monkeypatch.setattr(opening, "open_mp4", unknown)
    monkeypatch.setattr(opening, "open_webm", unknown)


def assert_equals_whole(path: Path, start_ms: int, most: float = 0) -> AudioClip:
    """The cut and a decode from the beginning differ by at most `most` steps of 16 bits."""
    whole, rate = decode_all(path)
    clip = cut_audio(MemorySource.of(path), start_ms, start_ms + 5000)
    first, last = round(start_ms * rate / 1000), round((start_ms + 5000) * rate / 1000)
    assert len(clip.samples) == last - first
    assert np.abs(steps16(clip.samples) - steps16(whole[first:last])).max() <= most, start_ms
    return clip


@pytest.mark.parametrize("itag", [251, 140, 18])
def test_layouts_of_youtube(generic_only: None, youtube: Callable[..., Path], itag: int) -> None:
    for start_ms in STARTS:
        assert_equals_whole(youtube(itag, 25.3), start_ms)


@pytest.mark.parametrize("layout", ["no cues", "cues at the end", "no sidx", "moov at the end", "opus in mp4"])
def test_other_layouts(generic_only: None, other_layouts: dict[str, Path], layout: str) -> None:
    for start_ms in STARTS:
        assert_equals_whole(other_layouts[layout], start_ms)


@pytest.mark.parametrize("frag_duration", ["3000000", "9900000"])
def test_an_index_for_each_fragment(tmp_path: Path, frag_duration: str) -> None:
    options = {"movflags": "dash", "frag_duration": frag_duration}
    path = encode_audio_file(tmp_path / "chained.m4a", "aac", 25.3, "mp4", **options)
    assert path.read_bytes().count(b"sidx") > 2
    for start_ms in (0, 2_000, 12_000, 20_000):
        clip = assert_equals_whole(path, start_ms)
    assert locate_audio(clip.samples, clip.sample_rate) == pytest.approx(20, abs=0.03)


@pytest.mark.parametrize(
    ("name", "codec", "container", "most"),
    [
        ("a.mp4", "ac3", "mp4", 100),  # its decoder adds noise, which goes on from what came before
        ("b.mp4", "eac3", "mp4", 100),
        ("c.mp4", "libmp3lame", "mp4", 1),
    ],
)
def test_other_codecs(tmp_path: Path, name: str, codec: str, container: str, most: float) -> None:
    path = encode_audio_file(tmp_path / name, codec, 16.3, container)
    for start_ms in (0, 1_000, 10_000):
        clip = assert_equals_whole(path, start_ms, most)
    assert locate_audio(clip.samples, clip.sample_rate) == pytest.approx(10, abs=0.03)


@pytest.mark.parametrize("faststart", ["faststart", "frag_keyframe+empty_moov"])
def test_pictures_of_old_files(tmp_path: Path, faststart: str) -> None:
    """MPEG-4 part 2, as in itags 17 and 36."""
    path = tmp_path / "old.3gp"
    with av.open(str(path), "w", format="3gp", options={"movflags": faststart}) as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        stream.codec_context.gop_size = 25
        for number in range(200):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, 176, 144), format="yuv420p")))
        output.mux(stream.encode(None))
    clip = cut_video(MemorySource.of(path), 3_000, 5_000, Video(mode="bestvideo", frame_rate="keep"))
    assert clip.frames == 50
    written = tmp_path / "clip.mp4"
    written.write_bytes(clip.data)
    with av.open(str(written)) as made:
        assert read_frame_number(next(made.decode(video=0))) == 75


LATE = {
    "webm": ("libopus", "webm", {"cues_to_front": "1", "cluster_time_limit": "10010"}),
    "webm without cues": ("libopus", "webm", {"live": "1"}),
    "progressive": ("aac", "mp4", {"movflags": "faststart"}),
    "fragments": ("aac", "mp4", {"movflags": "dash+delay_moov+global_sidx", "frag_duration": "5000000"}),
    "fragments without index": ("aac", "mp4", {"movflags": "frag_keyframe+delay_moov", "frag_duration": "5000000"}),
}


@pytest.mark.parametrize("forced", [False, True], ids=["own reader", "FFmpeg's"])
@pytest.mark.parametrize("layout", LATE)
def test_sound_that_begins_late(tmp_path: Path, layout: str, forced: bool, request: pytest.FixtureRequest) -> None:
    if forced:
        request.getfixturevalue("generic_only")
    codec, container, options = LATE[layout]
    path = encode_audio_file(tmp_path / f"late.{container}", codec, 15.3, container, begin=6, **options)
    source = MemorySource.of(path)
    _, rate = decode_all(path)
    for start_ms in (0, 1_000):
        before = cut_audio(source, start_ms, start_ms + 4_000)
        assert len(before.samples) == 4 * before.sample_rate and not before.samples.any()
    partly = cut_audio(source, 4_000, 9_000)
    assert len(partly.samples) == 5 * rate
    begin = int(np.flatnonzero(np.abs(partly.samples[:, 0]) > 0.01)[0])
    assert begin == pytest.approx(2 * rate, abs=0.03 * rate)
    later = cut_audio(source, 11_000, 16_000)
    assert locate_audio(later.samples, rate) == pytest.approx(5, abs=0.03)
    # The same samples wherever the cut begins.
    assert np.array_equal(cut_audio(source, 8_500, 9_000).samples, partly.samples[round(4.5 * rate) :])


def test_what_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = encode_audio_file(tmp_path / "known.mp4", "ac3", 3, "mp4")
    data = path.read_bytes().replace(b"ac-3", b"ac-4")
    with pytest.raises(SegmentTransient) as caught:
        cut_audio(MemorySource(data, len(data)), 0, 2_000)
    assert caught.value.reason is Reason.DECODE_ERROR
    assert "no track that can be decoded" in caught.value.detail
