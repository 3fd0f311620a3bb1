"""The synthesised files: layout as YouTube's, and content at the time that it tells."""

from __future__ import annotations

import io
import multiprocessing
from pathlib import Path

import av
import numpy as np
import pytest

from audioset_batch.standin.measure import NotLocatable, locate_audio
from audioset_batch.standin.synth import SourceSpec, synthesise
from tests.support.marks import read_frame_number

SECONDS = 42


def boxes(data: bytes) -> list[tuple[str, bytes]]:
    found, position = [], 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        found.append((data[position + 4 : position + 8].decode(), data[position + 8 : position + size]))
        position += size
    return found


def sidx_durations(payload: bytes) -> list[float]:
    """Of the references of a version 0 or 1 `sidx`, by ISO/IEC 14496-12, 8.16.3."""
    timescale = int.from_bytes(payload[8:12], "big")
    at = 20 if payload[0] == 0 else 28
    count = int.from_bytes(payload[at + 2 : at + 4], "big")
    entries = [payload[at + 4 + 12 * index :][:12] for index in range(count)]
    return [int.from_bytes(entry[4:8], "big") / timescale for entry in entries]


def decode(path: Path) -> tuple[np.ndarray, int, float]:
    """All audio as (frames, channels), its rate, and the time of its first sample."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        pieces = [
            frame.to_ndarray() if frame.format.is_planar else frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T
            for frame in frames
        ]
        return np.concatenate(pieces, axis=1).T, stream.rate, frames[0].time


def test_webm_has_its_cues_in_front_every_ten_seconds(media_cache: Path) -> None:
    path = synthesise(media_cache, SourceSpec(251, SECONDS))
    data = path.read_bytes()
    assert data.index(bytes.fromhex("1c53bb6b")) < data.index(bytes.fromhex("1f43b675"))
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        cues = [entry.timestamp for entry in stream.index_entries if entry.timestamp > 0]
        assert (stream.codec_context.name, stream.rate) == ("opus", 48_000)
    assert cues == [10_001, 20_001, 30_001, 40_001]


def test_aac_is_fragmented_with_one_sidx_in_front(media_cache: Path) -> None:
    found = boxes(synthesise(media_cache, SourceSpec(140, SECONDS)).read_bytes())
    assert [name for name, _ in found[:5]] == ["ftyp", "moov", "sidx", "moof", "mdat"]
    assert [name for name, _ in found].count("sidx") == 1
    durations = sidx_durations(found[2][1])
    assert len(durations) == [name for name, _ in found].count("moof") == 5
    assert durations[:4] == pytest.approx([10, 10, 10, 10], abs=0.05)


@pytest.mark.parametrize("edit_list", [True, False])
def test_edit_list_can_be_left_out(media_cache: Path, edit_list: bool) -> None:
    moov = dict(boxes(synthesise(media_cache, SourceSpec(140, SECONDS, edit_list=edit_list)).read_bytes()))["moov"]
    assert (b"elst" in moov) == edit_list


def test_progressive_mp4_has_moov_in_front(media_cache: Path) -> None:
    names = [name for name, _ in boxes(synthesise(media_cache, SourceSpec(18, SECONDS)).read_bytes())]
    assert names.index("moov") < names.index("mdat")
    assert "moof" not in names


def test_video_alone_has_a_sidx_and_a_keyframe_every_five_seconds(media_cache: Path) -> None:
    path = synthesise(media_cache, SourceSpec(134, SECONDS))
    found = boxes(path.read_bytes())
    assert [name for name, _ in found[:4]] == ["ftyp", "moov", "sidx", "moof"]
    assert sidx_durations(found[2][1])[:8] == pytest.approx([5.0] * 8, abs=0.001)
    with av.open(str(path)) as container:
        assert not container.streams.audio
        keyframes = [float(packet.pts * packet.time_base) for packet in container.demux() if packet.is_keyframe]
    assert keyframes == [5.0 * index for index in range(9)]


@pytest.mark.parametrize("itag", [251, 140, 18])
def test_audio_tells_its_time(media_cache: Path, itag: int) -> None:
    samples, rate, first = decode(synthesise(media_cache, SourceSpec(itag, SECONDS)))
    assert first == 0
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.025)
    for start in (0.0, 0.4999, 7.123, 30.0, 41.0):
        for length in (1, 10):
            begin = round(start * rate)
            piece = samples[begin : begin + length * rate]
            if len(piece) >= rate:
                assert locate_audio(piece, rate) == pytest.approx(begin / rate, abs=2e-5)


def test_without_edit_list_the_priming_is_heard(media_cache: Path) -> None:
    samples, rate, first = decode(synthesise(media_cache, SourceSpec(140, SECONDS, edit_list=False)))
    assert first == 0
    assert locate_audio(samples[5 * rate : 8 * rate], rate) == pytest.approx(5 - 1024 / rate, abs=2e-5)


def test_right_channel_is_half_as_loud_and_mono_is_one(media_cache: Path) -> None:
    samples, _, _ = decode(synthesise(media_cache, SourceSpec(251, SECONDS)))
    left, right = np.sqrt(np.mean(np.square(samples[48_000:]), axis=0))
    assert right / left == pytest.approx(0.5, abs=0.02)
    mono, rate, _ = decode(synthesise(media_cache, SourceSpec(251, SECONDS, channels=1)))
    assert mono.shape[1] == 1
    assert locate_audio(mono[rate : 3 * rate], rate) == pytest.approx(1.0, abs=2e-5)


def test_silence_is_silent_for_any_length(media_cache: Path) -> None:
    samples, rate, _ = decode(synthesise(media_cache, SourceSpec(251, 95, silent=True)))
    assert len(samples) / rate == pytest.approx(95, abs=0.025)
    assert np.abs(samples).max() < 1e-4
    with pytest.raises(NotLocatable):
        locate_audio(samples[: 2 * rate], rate)


@pytest.mark.parametrize("itag", [134, 18])
def test_video_counts_its_frames(media_cache: Path, itag: int) -> None:
    with av.open(str(synthesise(media_cache, SourceSpec(itag, 62)))) as container:
        stream = container.streams.video[0]
        for count, frame in enumerate(container.decode(stream)):
            assert read_frame_number(frame, near=count) == round(frame.time * 25) == count
    # An end inside a group of pictures takes the last picture with it.
    assert 62 * 25 - 2 <= count + 1 <= 62 * 25


def test_frame_number_survives_scaling_and_encoding(media_cache: Path) -> None:
    buffer = io.BytesIO()
    with (
        av.open(str(synthesise(media_cache, SourceSpec(134, 30)))) as source,
        av.open(buffer, "w", format="mp4") as output,
    ):
        target = output.add_stream("libx264", rate=25, options={"crf": "36", "preset": "ultrafast"})
        target.width, target.height, target.pix_fmt = 128, 72, "yuv420p"
        for frame in source.decode(video=0):
            if frame.time > 4:
                break
            output.mux(target.encode(frame.reformat(width=128, height=72)))
        output.mux(target.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        numbers = [read_frame_number(frame) for frame in container.decode(video=0)]
    assert numbers == list(range(101))


@pytest.mark.slow
def test_two_hours_are_quick_and_the_content_goes_on(media_cache: Path) -> None:
    for itag in (251, 140):
        path = synthesise(media_cache, SourceSpec(itag, 7200, channels=1, bit_rate=32_000))
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            for start in (1020, 5003, 7150):
                container.seek(int(start / stream.time_base), stream=stream)
                frames = [next(container.decode(stream)) for _ in range(400)]
                samples = np.concatenate([frame.to_ndarray().reshape(1, -1)[0] for frame in frames[10:]])
                time = frames[10].time
                assert abs(time - start) < 12
                # Past a cue WebM's rounded milliseconds are all that PyAV's timestamps tell.
                assert locate_audio(samples, stream.rate, near=time) == pytest.approx(time, abs=0.001)


def _make(cache: Path) -> None:
    synthesise(cache, SourceSpec(251, 33, bit_rate=24_000))


def test_several_processes_may_make_the_same_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=_make, args=(tmp_path,)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 2
    samples, rate, _ = decode(next(tmp_path.glob("*.webm")))
    assert locate_audio(samples[rate:], rate) == pytest.approx(1.0, abs=2e-5)


def test_spec_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="itag 22"):
        SourceSpec(22, 10)
    with pytest.raises(ValueError, match="seconds"):
        SourceSpec(251, 0)
