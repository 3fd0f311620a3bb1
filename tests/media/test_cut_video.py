"""Where a video clip was cut, told by the numbers that its pictures show and by its sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from audioset_batch.config.schema import Video
from audioset_batch.errors import SegmentTransient, SegmentUnavailable
from audioset_batch.media.cut_audio import cut_audio
from audioset_batch.media.cut_video import VideoClip, cut_video, write_video
from audioset_batch.media.readers.source import StreamHint
from audioset_batch.media.verify_video import VideoFacts, inspect_video, verify_video
from audioset_batch.reasons import Reason
from audioset_batch.standin.measure import locate_audio
from tests.support.marks import read_frame_number
from tests.support.media_data import MemorySource, encode_vp9

FRAME = 1 / 25
HINT = StreamHint(has_audio=False, has_video=True)


@pytest.fixture
def make(youtube: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[VideoClip, Path, VideoFacts]]:
    def make_clip(start_ms: int, length_ms: int = 3000, **config: object) -> tuple[VideoClip, Path, VideoFacts]:
        video = Video(preset="ultrafast", **config)
        both = video.mode == "bestvideoaudio"
        sound = MemorySource.of(youtube(140)) if video.mode == "bestvideowithaudio" else None
        source = MemorySource.of(youtube(18 if both else 134))
        clip = cut_video(source, start_ms, start_ms + length_ms, video, hint=HINT, sound_source=sound)
        assert len(source.ranges) <= 4
        path = tmp_path / "clip.mp4"
        write_video(clip, path)
        return clip, path, verify_video(path, clip)

    return make_clip


def shown(path: Path) -> list[tuple[float, float]]:
    """(seconds in the file, seconds in the source) of every picture."""
    with av.open(str(path)) as container:
        return [(float(frame.time), read_frame_number(frame) * FRAME) for frame in container.decode(video=0)]


def sound_start(path: Path) -> float:
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return locate_audio(np.concatenate(parts, axis=1).T, container.streams.audio[0].rate)


@pytest.mark.parametrize("start_ms", [0, 7, 10_000, 12_345, 20_039, 20_041, 44_999])
@pytest.mark.parametrize("frame_rate", [30, "keep", 12.5])
def test_exact(make: Callable[..., tuple[VideoClip, Path, VideoFacts]], start_ms: int, frame_rate: object) -> None:
    clip, path, facts = make(start_ms, mode="bestvideo", frame_rate=frame_rate)
    assert clip.start_seconds == start_ms / 1000
    assert facts.sound_seconds is None
    pictures = shown(path)
    assert pictures[0][0] == 0
    for time, source_time in pictures:
        # On show at that time: not begun later than it (WebM rounds to 1 ms), nor ended.
        assert -0.0021 <= start_ms / 1000 + time - source_time <= FRAME + 0.0021
    if frame_rate == "keep":
        assert all(abs(start_ms / 1000 + time - source) < 0.0021 for time, source in pictures[1:])
        assert len(pictures) in (75, 76)
    else:
        assert len(pictures) == pytest.approx(3 * float(str(frame_rate)), abs=1)
    assert facts.duration_seconds == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("start_ms", "keyframe"), [(0, 0), (9_999, 5), (10_000, 10), (12_345, 10), (33_333, 30)])
@pytest.mark.parametrize("mode", ["bestvideo", "bestvideowithaudio", "bestvideoaudio"])
def test_copy(make: Callable[..., tuple[VideoClip, Path, VideoFacts]], mode: str, start_ms: int, keyframe: int) -> None:
    clip, path, facts = make(start_ms, mode=mode, cut="copy")
    assert clip.start_seconds == facts.video_start_seconds == keyframe
    pictures = shown(path)
    assert all(source == pytest.approx(keyframe + time, abs=0.001) for time, source in pictures)
    assert pictures[-1][1] == pytest.approx(start_ms / 1000 + 3, abs=3 * FRAME)
    if mode != "bestvideo":
        assert sound_start(path) == pytest.approx(keyframe, abs=0.001)


@pytest.mark.parametrize("start_ms", [0, 10_000, 33_333])
@pytest.mark.parametrize("mode", ["bestvideowithaudio", "bestvideoaudio"])
def test_sound_in_sync(make: Callable[..., tuple[VideoClip, Path, VideoFacts]], mode: str, start_ms: int) -> None:
    _, path, facts = make(start_ms, mode=mode)
    assert sound_start(path) == pytest.approx(start_ms / 1000, abs=0.001)
    assert 3 <= (facts.sound_seconds or 0) < 3.05


def test_sound_at_hand_is_not_fetched_again(youtube: Callable[..., Path]) -> None:
    sound = cut_audio(MemorySource.of(youtube(251)), 10_000, 13_000)
    clip = cut_video(
        MemorySource.of(youtube(134)),
        10_000,
        13_000,
        Video(mode="bestvideowithaudio", preset="ultrafast"),
        hint=HINT,
        sound=sound,
    )
    assert clip.sound_seconds == 3


@pytest.mark.parametrize("cut", ["exact", "copy"])
def test_index_in_front(make: Callable[..., tuple[VideoClip, Path, VideoFacts]], cut: str) -> None:
    """So that readers of streams and tars take the file as it comes."""
    _, path, _ = make(10_000, mode="bestvideowithaudio", cut=cut)
    data = path.read_bytes()
    kinds, at = [], 0
    while at < len(data):
        kinds.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    assert at == len(data)
    assert kinds.index(b"moov") < kinds.index(b"mdat")


def test_height_is_limited(make: Callable[..., tuple[VideoClip, Path, VideoFacts]]) -> None:
    _, _, facts = make(1000, 1000, mode="bestvideo", max_height=101)
    assert (facts.width, facts.height) == (180, 100)


def test_a_video_that_ends_early(make: Callable[..., tuple[VideoClip, Path, VideoFacts]]) -> None:
    for cut in ("exact", "copy"):
        clip, path, facts = make(64_000, 10_000, mode="bestvideowithaudio", cut=cut)
        assert clip.start_seconds + facts.duration_seconds == pytest.approx(65.3, abs=0.1)
        # The pictures count to 60 s and begin again.
        assert 60 + shown(path)[-1][1] == pytest.approx(65.26, abs=2 * FRAME)


@pytest.mark.parametrize("cut", ["exact", "copy"])
def test_past_the_end(make: Callable[..., tuple[VideoClip, Path, VideoFacts]], cut: str) -> None:
    for start_ms in (65_360, 90_000):
        with pytest.raises(SegmentUnavailable) as caught:
            make(start_ms, 10_000, mode="bestvideo", cut=cut)
        assert caught.value.reason is Reason.SEGMENT_PAST_END


def test_an_audio_stream_has_no_video(youtube: Callable[..., Path]) -> None:
    with pytest.raises(SegmentUnavailable) as caught:
        cut_video(MemorySource.of(youtube(140)), 0, 1000, Video(mode="bestvideo"))
    assert caught.value.reason is Reason.NO_VIDEO


def test_damage_is_found(make: Callable[..., tuple[VideoClip, Path, VideoFacts]], tmp_path: Path) -> None:
    clip, path, _ = make(1000, 1000, mode="bestvideowithaudio")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"x" * 1000):
        path.write_bytes(damaged)
        with pytest.raises(SegmentTransient) as caught:
            verify_video(path, clip)
        assert caught.value.reason is Reason.DECODE_ERROR
    other, _, _ = make(1000, 2000, mode="bestvideowithaudio")
    path.write_bytes(whole)
    with pytest.raises(SegmentTransient, match="expected"):
        verify_video(path, other)
    assert inspect_video(path).frames == 30


@pytest.mark.parametrize("cues", ["1", "0"], ids=["cues in front", "cues at the end"])
def test_vp9_in_webm(tmp_path: Path, cues: str) -> None:
    """What YouTube often has as its best video."""
    source = encode_vp9(tmp_path / "v.webm", 13, cues_to_front=cues)
    path = tmp_path / "clip.mp4"
    for cut, start_ms in (("exact", 0), ("exact", 5_040), ("copy", 5_040), ("exact", 11_000)):
        reads = MemorySource.of(source)
        video = Video(mode="bestvideo", cut=cut, frame_rate="keep", preset="ultrafast")
        clip = cut_video(reads, start_ms, start_ms + 3000, video, hint=HINT)
        write_video(clip, path)
        facts = verify_video(path, clip)
        assert clip.start_seconds == start_ms / 1000, "only H.264 is copied"
        pictures = shown(path)
        assert all(number == pytest.approx(clip.start_seconds + time, abs=0.0021) for time, number in pictures)
        assert facts.frames == (50 if start_ms == 11_000 else 75)
        assert len(reads.ranges) <= 3
