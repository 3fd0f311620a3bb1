"""Audio of any file that libsndfile or FFmpeg reads, as VGGish wants it: mono, 16 kHz, float64 in [-1, 1]."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import InputRefused
from audioset_batch.learn.vggish.frontend import SAMPLE_RATE, FloatArray

RESAMPLER: Final = "soxr VHQ"
"""What output metadata says about the resampler."""

_DEMUXERS: Final = {
    ".m4a": "mov",
    ".m4b": "mov",
    ".webm": "matroska",
    ".weba": "matroska",
    ".mka": "matroska",
    ".aac": "aac",
    ".wma": "asf",
    ".amr": "amr",
}
"""Files that FFmpeg reads. The demuxer is named because FFmpeg's own probing also knows playlists, which open other
files and addresses."""

EXTENSIONS: Final = (
    *(".flac", ".wav", ".wave", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64"),
    *_DEMUXERS,
)
"""Files of a folder that are taken for audio."""


def to_mono_16k(samples: NDArray[Any], sample_rate: int) -> FloatArray:
    """Mean over the channels first, then resampled, as upstream does.

    Args:
        samples: Shape (n,) or (n, channels), in [-1, 1].
        sample_rate: Hz.
    """
    mono = np.asarray(samples, dtype=np.float64)
    if mono.ndim == 2:
        mono = mono[:, 0] if mono.shape[1] == 1 else mono.mean(axis=1)
    if sample_rate == SAMPLE_RATE:
        return np.ascontiguousarray(mono)
    import soxr

    resampled: FloatArray = soxr.resample(np.ascontiguousarray(mono), sample_rate, SAMPLE_RATE, quality="VHQ")
    return resampled


def decode(source: Path | bytes, name: str) -> tuple[FloatArray, float]:
    """Samples at 16 kHz and the duration of the file in seconds.

    Args:
        source: A file, or the bytes of one.
        name: What an error calls it.

    Raises:
        InputRefused: The file is missing, damaged or of a format that cannot be read.
    """
    demuxer = _DEMUXERS.get(source.suffix.lower()) if isinstance(source, Path) else None
    if isinstance(source, Path) and demuxer:
        samples, sample_rate = _read_with_ffmpeg(source, demuxer, name)
    else:
        samples, sample_rate = _read_with_libsndfile(source, name)
    if not np.isfinite(samples).all():
        raise InputRefused(f"{name}: the samples contain NaN or infinity")
    return to_mono_16k(samples, sample_rate), samples.shape[0] / sample_rate


def _read_with_libsndfile(source: Path | bytes, name: str) -> tuple[FloatArray, int]:
    import soundfile

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        # 16-bit samples come out divided by 32768, exactly as upstream divides them.
        samples, sample_rate = soundfile.read(file, dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise InputRefused(f"{name}: expected an audio file that libsndfile reads: {error}") from error
    return samples, sample_rate


def _read_with_ffmpeg(path: Path, demuxer: str, name: str) -> tuple[FloatArray, int]:
    import av

    try:
        with path.open("rb") as file, av.open(file, "r", format=demuxer) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler("fltp", stream.layout, stream.rate)
            frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
            blocks = [frame.to_ndarray() for frame in frames]
            return np.concatenate(blocks, axis=1).T.astype(np.float64), stream.rate
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        reason = "no audio track" if isinstance(error, IndexError) else getattr(error, "strerror", None) or error
        raise InputRefused(f"{name}: expected an audio file that FFmpeg reads: {reason}") from error


@contextmanager
def clip_threads(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """Threads for decoding and the front end, whose matrix products run in one thread each.

    BLAS would start as many threads per product as there are cores: with 16 threads on 16 cores that made the front end
    three times slower.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(count, thread_name_prefix="clip") as pool:
        yield pool
