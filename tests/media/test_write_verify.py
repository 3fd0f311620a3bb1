"""Conversion by sox, the four formats, and what verification finds."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from audioset_batch.config.schema import Audio
from audioset_batch.errors import SegmentTransient
from audioset_batch.media.convert import convert_audio
from audioset_batch.media.cut_audio import AudioClip, cut_audio
from audioset_batch.media.mux import SoundTrack, open_output
from audioset_batch.media.verify import inspect_audio, verify_audio
from audioset_batch.media.write import write_audio
from audioset_batch.reasons import Reason
from audioset_batch.standin.measure import locate_audio
from tests.support.media_data import MemorySource


def sine(seconds: float = 2.0, rate: int = 48000, channels: int = 2, peak: float = 0.5) -> AudioClip:
    time = np.arange(round(seconds * rate)) / rate
    mono = (peak * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    return AudioClip(np.stack([mono / 2**i for i in range(channels)], axis=1), rate, rate, "sine")


@pytest.fixture
def clip(youtube: Callable[..., Path]) -> AudioClip:
    return cut_audio(MemorySource.of(youtube(140)), 20_000, 30_000)


@pytest.mark.parametrize(
    ("config", "subtype", "tolerance"),
    [
        ({"format": "flac"}, "PCM_16", 2**-16),
        ({"format": "flac", "bit_depth": 24}, "PCM_24", 2**-24),
        ({"format": "wav"}, "PCM_16", 2**-16),
        ({"format": "wav", "bit_depth": 24}, "PCM_24", 2**-24),
        ({"format": "wav", "bit_depth": 32}, "PCM_32", 2**-31),
        ({"format": "ogg"}, "VORBIS", 0.2),
        ({"format": "mp3"}, "MPEG_LAYER_III", 0.2),
    ],
)
def test_formats(clip: AudioClip, tmp_path: Path, config: dict[str, object], subtype: str, tolerance: float) -> None:
    audio = Audio(**config)
    path = tmp_path / f"clip.{audio.format}"
    converted = convert_audio(clip, audio)
    write_audio(converted, path, audio)
    facts = verify_audio(path, converted, audio)
    assert (facts.sample_rate, facts.channels, facts.frames) == (48000, 2, 480_000)
    assert facts.duration_seconds == 10
    assert facts.bytes == path.stat().st_size
    assert soundfile.info(path).subtype == subtype
    samples, _ = soundfile.read(path, dtype="float64")
    error = np.abs(samples - np.clip(converted.samples, -1, 1))
    assert error.max() <= tolerance
    assert np.sqrt(np.mean(error**2)) < tolerance / 10 + 2**-17
    assert locate_audio(samples, 48000, near=20) == pytest.approx(20, abs=0.001)
    json.dumps(asdict(facts), allow_nan=False)
    assert facts == inspect_audio(path)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (48000, "keep"), (22050, 2), ("keep", 1), (96000, "keep")])
def test_conversion_keeps_time_and_length(clip: AudioClip, rate: int, channels: int) -> None:
    converted = convert_audio(clip, Audio(sample_rate=rate, channels=channels))
    new_rate = 44100 if rate == "keep" else rate
    assert converted.samples.shape == (10 * new_rate, 1 if channels == 1 else 2)
    assert converted.samples.dtype == np.float32
    assert (converted.sample_rate, converted.source_sample_rate) == (new_rate, 44100)
    assert locate_audio(converted.samples, new_rate, near=20) == pytest.approx(20, abs=0.0005)


def test_conversion_quality() -> None:
    """A sine comes out as that sine, to 100 dB; two channels are averaged; one is doubled."""
    down = convert_audio(sine(), Audio(sample_rate=16000, channels=1)).samples[:, 0]
    time = np.arange(len(down)) / 16000
    expected = 0.375 * np.sin(2 * np.pi * 1000 * time)
    middle = slice(4000, -4000)
    assert np.abs(down - expected)[middle].max() < 0.375e-5
    up = convert_audio(sine(channels=1), Audio(sample_rate=48000, channels=2)).samples
    assert np.array_equal(up[:, 0], up[:, 1])
    # Through sox samples have 32 bits.
    assert np.abs(up[:, 0] - sine(channels=1).samples[:, 0]).max() < 2**-24


@pytest.mark.parametrize("channels", [3, 6, 8])
def test_surround(tmp_path: Path, channels: int) -> None:
    """All formats and the sound of a video take it; mp3, which cannot, and the video have two channels of it."""
    surround = sine(channels=channels)
    for name in ("flac", "wav", "ogg", "mp3"):
        audio = Audio(format=name)
        converted = convert_audio(surround, audio)
        write_audio(converted, tmp_path / name, audio)
        assert verify_audio(tmp_path / name, converted, audio).channels == (2 if name == "mp3" else channels)
    with open_output(buffer := io.BytesIO()) as output:
        added = SoundTrack.add(output, surround)
        assert added is not None
        added.write(output)
    buffer.seek(0)
    with av.open(buffer) as made:
        assert made.streams.audio[0].codec_context.layout.nb_channels == 2
        assert np.abs(np.concatenate([f.to_ndarray() for f in made.decode(audio=0)], axis=1)).max() > 0.1


def test_nothing_is_converted_when_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started a process"))
    clip = sine()
    assert convert_audio(clip, Audio()) is clip
    assert convert_audio(clip, Audio(sample_rate="keep", channels=2)) is clip


def test_sox_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sox

    def fail(*_: object, **__: object) -> None:
        raise sox.core.SoxError("no")

    monkeypatch.setattr(sox.Transformer, "build_array", fail)
    with pytest.raises(SegmentTransient, match="sox failed") as caught:
        convert_audio(sine(), Audio(sample_rate=16000))
    assert caught.value.reason is Reason.INTERNAL


def test_levels(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    clip = sine(peak=0.5, channels=1)
    write_audio(clip, path, Audio())
    facts = verify_audio(path, clip, Audio())
    assert facts.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert facts.rms_dbfs == pytest.approx(-9.03, abs=0.01)
    assert not facts.silent


@pytest.mark.parametrize(("peak", "silent"), [(0.0, True), (0.0009, True), (0.0012, False)])
@pytest.mark.parametrize("audio_format", ["flac", "ogg"])
def test_silence_is_flagged(tmp_path: Path, peak: float, silent: bool, audio_format: str) -> None:
    audio = Audio(format=audio_format)
    path = tmp_path / "a"
    clip = sine(peak=peak)
    write_audio(clip, path, audio)
    facts = verify_audio(path, clip, audio)
    assert facts.silent is silent
    assert (facts.peak_dbfs is None) == (peak == 0)
    json.dumps(asdict(facts), allow_nan=False)


def test_overdriven_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    for config in ({"format": "flac"}, {"format": "wav", "bit_depth": 32}):
        audio = Audio(**config)
        clip = sine(peak=1.5)
        write_audio(clip, tmp_path / "a", audio)
        verify_audio(tmp_path / "a", clip, audio)
        samples, _ = soundfile.read(tmp_path / "a")
        assert np.abs(samples - np.clip(clip.samples, -1, 1)).max() < 2**-14


def test_damage_is_found(tmp_path: Path) -> None:
    clip, audio, path = sine(), Audio(), tmp_path / "a.flac"
    write_audio(clip, path, audio)
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[: len(whole) // 2], b"<html>" + whole):
        path.write_bytes(damaged)
        with pytest.raises(SegmentTransient) as caught:
            verify_audio(path, clip, audio)
        assert caught.value.reason is Reason.DECODE_ERROR
    path.write_bytes(whole)
    others = [(sine(seconds=1.9), "frames"), (sine(channels=1), "channels"), (sine(peak=0.4), "samples written")]
    for other, word in others:
        with pytest.raises(SegmentTransient, match=word):
            verify_audio(path, other, audio)


def test_a_long_clip_as_ogg(tmp_path: Path) -> None:
    """libsndfile's Vorbis encoder crashes on single writes of this size."""
    clip, audio = sine(seconds=200, channels=1), Audio(format="ogg")
    write_audio(clip, tmp_path / "a.ogg", audio)
    assert verify_audio(tmp_path / "a.ogg", clip, audio).frames == 200 * 48000


def test_formats_that_cannot_hold_it(tmp_path: Path) -> None:
    with pytest.raises(SegmentTransient, match="cannot encode 6 channels") as caught:
        write_audio(sine(channels=6), tmp_path / "a.mp3", Audio(format="mp3"))
    assert caught.value.reason is Reason.INTERNAL


def test_a_full_disk_is_an_oserror() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_audio(sine(), Path("/dev/full"), Audio())
