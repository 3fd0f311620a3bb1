"""Encode a clip and write it in one go, so that the shared filesystem sees one sequential write per file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.config.schema import Audio
from audioset_batch.errors import SegmentTransient
from audioset_batch.media.cut_audio import AudioClip
from audioset_batch.reasons import Reason

_BLOCK_FRAMES: Final = 1 << 16
"""libsndfile's Vorbis encoder overflows its stack on blocks of millions of frames."""


def encode_audio(clip: AudioClip, audio: Audio) -> bytes:
    """Encode the clip as a file of `audio.format`, in memory.

    Raises:
        SegmentTransient: `internal` if libsndfile cannot encode it (rate or channels that the format lacks).
    """
    import soundfile

    kinds = {"flac": ("FLAC", f"PCM_{audio.bit_depth}"), "wav": ("WAV", f"PCM_{audio.bit_depth}")}
    kinds |= {"ogg": ("OGG", "VORBIS"), "mp3": ("MP3", "MPEG_LAYER_III")}
    file_format, subtype = kinds[audio.format]
    samples = quantise(clip.samples, audio)
    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(
            buffer, "w", clip.sample_rate, samples.shape[1], subtype=subtype, format=file_format
        ) as file:
            for start in range(0, len(samples), _BLOCK_FRAMES):
                file.write(samples[start : start + _BLOCK_FRAMES])
    except (soundfile.LibsndfileError, ValueError) as error:
        raise SegmentTransient(
            Reason.INTERNAL,
            f"cannot encode {samples.shape[1]} channels at {clip.sample_rate} Hz as {audio.format}: {error}",
        ) from error
    return buffer.getvalue()


def write_audio(clip: AudioClip, path: Path, audio: Audio) -> None:
    """Encode `clip` and write it to `path`.

    Raises:
        SegmentTransient: see `encode_audio`.
        OSError: the file cannot be written. Not translated, because only the caller knows what the path means.
    """
    data = encode_audio(clip, audio)
    with path.open("wb") as file:
        file.write(data)


def quantise(samples: npt.NDArray[np.float32], audio: Audio) -> npt.NDArray[Any]:
    """Convert samples to the type that libsndfile writes; shape (frames, channels).

    int16 or int32 (24 bits in the upper bytes) for flac and wav: full scale 1.0 is 2**(bits - 1), rounded to the
    nearest and clipped, as in FFmpeg; float32 for ogg and mp3.
    """
    if audio.format not in ("flac", "wav"):
        return np.clip(samples, -1.0, 1.0)
    if audio.bit_depth == 16:
        scaled = samples * np.float32(32768)
        np.rint(scaled, out=scaled)
        return np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)
    full = 1 << (audio.bit_depth - 1)
    wide = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1).astype(np.int64)
    return (wide << (32 - audio.bit_depth)).astype(np.int32)
