"""Cut an audio clip out of a stream, exact to the sample, at the stream's sample rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

from audioset_batch.errors import SegmentTransient, SegmentUnavailable
from audioset_batch.media.decoding import open_decoder
from audioset_batch.media.readers.demux import Media, Sample, Track, TrackRange, UnexpectedLayout
from audioset_batch.media.readers.source import ByteSource, StreamHint
from audioset_batch.reasons import Reason

PREROLL: Final = {
    "opus": Fraction(8, 10),
    "aac": Fraction(1, 10),
    "mp3": Fraction(3, 10),
    "mp3float": Fraction(3, 10),
    "ac3": Fraction(1, 10),
    "eac3": Fraction(1, 10),
}
"""Seconds to decode before the start, so that the samples equal those of a decode from the beginning.

For Opus the 80 ms of RFC 7845 suffice to the ear; identical samples take up to 0.5 s, because energies are predicted
from frame to frame. AAC overlaps by one frame; another one covers SBR and rounded timestamps."""
DEFAULT_PREROLL: Final = Fraction(1)
_MAX_RATE: Final = 384_000
_MAX_CHANNELS: Final = 8


@dataclass(frozen=True, slots=True)
class AudioClip:
    """Decoded audio.

    Attributes:
        samples: float32, shape (frames, channels), full scale = 1.0.
        sample_rate: Hz.
        source_sample_rate: Hz of the stream it was cut from.
        codec: Name of the decoder.
    """

    samples: npt.NDArray[np.float32]
    sample_rate: int
    source_sample_rate: int
    codec: str

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def with_samples(self, samples: npt.NDArray[np.float32], sample_rate: int) -> AudioClip:
        """The same clip after a conversion."""
        return replace(self, samples=samples, sample_rate=sample_rate)


def cut_audio(
    source: ByteSource,
    start_ms: int,
    end_ms: int,
    *,
    hint: StreamHint | None = None,
) -> AudioClip:
    """Fetch and decode [start_ms, end_ms) of the audio of `source`; shorter only if the stream ends before.

    Raises:
        SegmentUnavailable: `segment_past_end`, `no_audio`.
        SegmentTransient: `truncated`, `decode_error`, and whatever the source raises.
    """
    from audioset_batch.media.readers.opening import with_media

    start, stop = Fraction(start_ms, 1000), Fraction(end_ms, 1000)
    return with_media(source, hint or StreamHint(), lambda media: cut_audio_from(media, start, stop, source.url_label))


def cut_audio_from(media: Media, start: Fraction, stop: Fraction, label: str) -> AudioClip:
    """`cut_audio` from an opened file; times in seconds."""
    track = audio_track(media, label)
    (samples,) = media.read([audio_range(track, start, stop)])
    begins = None if samples else media.first_sample_time(track)
    if begins is not None and begins >= stop:  # a player plays silence until then
        length = round(stop * track.sample_rate) - round(start * track.sample_rate)
        silence = np.zeros((length, track.channels), np.float32)
        return AudioClip(silence, track.sample_rate, track.sample_rate, track.codec)
    return decode_audio(track, samples, start, stop, label)


def audio_track(media: Media, label: str) -> Track:
    """The first audio track.

    Raises:
        SegmentUnavailable: `no_audio` if there are only other tracks.
        UnexpectedLayout: there is no track at all, which suggests damage rather than a video without sound.
    """
    if not media.tracks:
        raise UnexpectedLayout("no track that can be decoded")
    for track in media.tracks:
        if track.kind == "audio":
            return track
    raise SegmentUnavailable(Reason.NO_AUDIO, f"{label}: no audio track that can be decoded")


def audio_range(track: Track, start: Fraction, stop: Fraction) -> TrackRange:
    """The range of `track` to read in order to decode [start, stop) exactly; seconds."""
    return TrackRange(track, start, stop, PREROLL.get(track.codec, DEFAULT_PREROLL))


def decode_audio(track: Track, samples: list[Sample], start: Fraction, stop: Fraction, label: str) -> AudioClip:
    """Decode `samples` and keep [start, stop).

    Raises:
        SegmentUnavailable: `segment_past_end` if nothing is presented in [start, stop).
        SegmentTransient: `decode_error`.
    """
    context: Any = open_decoder(track, label)
    buffer = _ClipBuffer(track, start, stop, label)
    for sample in (*samples, None):
        packet = None
        if sample is not None:
            packet = av.Packet(sample.data)
            packet.pts, packet.time_base = sample.pts, track.time_base
        try:
            frames = context.decode(packet)
        except av.FFmpegError as error:
            raise SegmentTransient(
                Reason.DECODE_ERROR, f"{label}: {track.codec} at {_seconds(track, sample)}: {error}"
            ) from error
        for frame in frames:
            buffer.add(frame)
    length = buffer.filled
    if samples:
        presented = (samples[-1].pts + samples[-1].duration) * track.time_base * buffer.rate
        length = min(length, int(presented) - buffer.first)
    if length <= 0:
        raise _past_end(label, start)
    return AudioClip(buffer.out[:length], buffer.rate, buffer.rate, track.codec)


class _ClipBuffer:
    """The samples [start, stop) of a stream; decoded frames are copied to the place that their timestamps give.

    Attributes:
        out: float32, shape (frames, channels).
        rate: Hz, as decoded.
        first: Number of the stream's sample at `out[0]`.
        filled: Samples of `out` up to the end of the last frame.
    """

    def __init__(self, track: Track, start: Fraction, stop: Fraction, label: str) -> None:
        self._track, self._start, self._stop, self._label = track, start, stop, label
        self.out = np.zeros((0, 0), dtype=np.float32)
        self.rate = self.first = self.filled = 0
        self._expected: int | None = None  # where the next frame begins if nothing is missing
        self._scale = Fraction(0)

    def add(self, frame: Any) -> None:
        if not self.rate:
            self._set_up(frame.sample_rate, frame.layout.nb_channels)
        elif frame.sample_rate != self.rate or frame.layout.nb_channels != self.out.shape[1]:
            raise SegmentTransient(Reason.DECODE_ERROR, f"{self._label}: rate or channels change within the clip")
        position = None
        if frame.pts is not None:
            position = int(frame.pts) if self._scale == 1 else round(int(frame.pts) * self._scale)
        # Timestamps coarser than a sample (a time base of 1/1000) must not open gaps between frames.
        expected = self._expected
        if expected is not None and (position is None or abs(position - expected) * 500 < self.rate):
            position = expected
        if position is None:
            raise SegmentTransient(Reason.DECODE_ERROR, f"{self._label}: a frame without time")
        self._expected = position + frame.samples
        begin = max(position, self.first)
        end = min(self._expected, self.first + len(self.out))
        if begin < end:
            _copy(frame, begin - position, end - position, self.out[begin - self.first : end - self.first])
            self.filled = end - self.first

    def _set_up(self, rate: int, channels: int) -> None:
        if not 0 < rate <= _MAX_RATE or not 0 < channels <= _MAX_CHANNELS:
            raise SegmentTransient(Reason.DECODE_ERROR, f"{self._label}: {channels} channels at {rate} Hz")
        self.rate = rate
        self.first = round(self._start * rate)
        self.out = np.zeros((round(self._stop * rate) - self.first, channels), dtype=np.float32)
        self._scale = self._track.time_base * rate


def _copy(frame: Any, begin: int, end: int, out: npt.NDArray[np.float32]) -> None:
    """Samples [begin, end) of a frame into `out`, shape (end - begin, channels), full scale 1.0."""
    name = frame.format.name
    if name == "fltp":  # the output of nearly all decoders
        # For eight channels PyAV returns nine planes.
        for channel, plane in zip(range(out.shape[1]), frame.planes, strict=False):
            out[:, channel] = np.frombuffer(plane, np.float32, count=frame.samples)[begin:end]
        return
    data = frame.to_ndarray()
    data = (data.T if frame.format.is_planar else data.reshape(frame.samples, -1))[begin:end]
    if data.dtype == np.int16:
        out[:] = data / np.float32(32768)
    elif data.dtype == np.int32:
        out[:] = data / 2147483648.0
    else:
        out[:] = data


def _seconds(track: Track, sample: Sample | None) -> str:
    return "the end" if sample is None else f"{float(sample.pts * track.time_base):.3f} s"


def _past_end(label: str, start: Fraction) -> SegmentUnavailable:
    return SegmentUnavailable(Reason.SEGMENT_PAST_END, f"{label}: the audio ends before {float(start):.3f} s")
