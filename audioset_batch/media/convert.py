"""Convert sample rate and channels with sox at very high quality, only when one of them changes."""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np

from audioset_batch.config.schema import Audio
from audioset_batch.errors import SegmentTransient
from audioset_batch.media.cut_audio import AudioClip
from audioset_batch.reasons import Reason

_MAX_IN_MP3: Final = 2


def convert_audio(clip: AudioClip, audio: Audio) -> AudioClip:
    """The clip at the rate and with the channels of the config; the clip itself when nothing changes.

    An mp3 has at most two channels.

    Mixing down averages the channels; one channel is duplicated for two. The length is the number of samples
    at the new rate that is nearest to the old duration.

    Raises:
        SegmentTransient: `internal` if sox fails.
    """
    channels = clip.samples.shape[1] if audio.channels == "keep" else audio.channels
    if audio.format == "mp3":
        channels = min(channels, _MAX_IN_MP3)
    rate = clip.sample_rate if audio.sample_rate == "keep" else audio.sample_rate
    if (rate, channels) == (clip.sample_rate, clip.samples.shape[1]):
        return clip
    import sox  # runs `sox -h` when imported

    transformer: Any = sox.Transformer()
    # Mixing two full-scale channels, or the ringing of the filter, may pass full scale: float output keeps it.
    transformer.set_globals(verbosity=1)
    if channels != clip.samples.shape[1]:
        transformer.channels(channels)
    if rate != clip.sample_rate:
        transformer.rate(rate, quality="v")
    # Without this, pysox returns an array at the rate and channels of the input, and warns about it.
    transformer.set_output_format(rate=rate, channels=channels, bits=32)
    logging.getLogger("sox").setLevel(logging.ERROR)
    try:
        samples = transformer.build_array(
            input_array=np.ascontiguousarray(clip.samples), sample_rate_in=clip.sample_rate
        )
    except (sox.core.SoxError, OSError, ValueError) as error:
        raise SegmentTransient(Reason.INTERNAL, f"sox failed to convert to {rate} Hz: {error}") from error
    samples = np.asarray(samples, dtype=np.float32).reshape(-1, channels)
    frames = round(len(clip.samples) * rate / clip.sample_rate)
    if abs(len(samples) - frames) > 2:
        raise SegmentTransient(Reason.INTERNAL, f"sox gave {len(samples)} samples, expected {frames}")
    if len(samples) < frames:
        samples = np.concatenate([samples, np.zeros((frames - len(samples), channels), np.float32)])
    return clip.with_samples(samples[:frames], rate)
