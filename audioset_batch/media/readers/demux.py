"""Types that all container readers share: tracks, samples, and requests for a range of a track.

Audio times count output samples from the container's presentation time zero. Codec delay, priming and edit lists are
therefore handled in the readers and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, Protocol

Kind = Literal["audio", "video"]


class UnexpectedLayout(Exception):
    """The container is damaged, or has a layout that only FFmpeg's readers may understand."""


@dataclass(frozen=True, slots=True)
class Track:
    """One track of a file.

    Attributes:
        kind: `audio` or `video`.
        number: The track's number in the container.
        codec: Name of FFmpeg's decoder.
        extradata: The codec's configuration, in FFmpeg's form.
        time_base: Seconds per tick of `Sample.pts`.
        sample_rate, channels: Of audio, according to the container; 0 for video.
        width, height: Of video in pixels, according to the container; 0 for audio.
    """

    kind: Kind
    number: int
    codec: str
    extradata: bytes
    time_base: Fraction
    sample_rate: int = 0
    channels: int = 0
    width: int = 0
    height: int = 0


class Sample(NamedTuple):
    """One encoded packet.

    Attributes:
        data: The packet's bytes.
        pts, dts: Presentation and decoding time in ticks of the track; may be negative.
        duration: Ticks that are presented: less than the decoder returns for a padded last packet.
        key: Decoding can start here.
    """

    data: bytes
    pts: int
    dts: int
    duration: int
    key: bool


class TrackRange(NamedTuple):
    """A range of a track to read, in seconds of presentation time.

    For audio: the samples that cover [start - preroll, stop). For video: everything from the last keyframe at or
    before `start` to the last picture shown before `stop`, in decoding order.
    """

    track: Track
    start: Fraction
    stop: Fraction
    preroll: Fraction


class Media(Protocol):
    """An opened file."""

    @property
    def tracks(self) -> Sequence[Track]:
        """All tracks that can be decoded."""

    def keyframe(self, track: Track, time: Fraction) -> Fraction | None:
        """Presentation time of the last keyframe at or before `time`, in seconds; None if the index does not say."""

    def first_sample_time(self, track: Track) -> Fraction | None:
        """Presentation time of the track's first sample, in seconds, to within a packet; None if unknown."""

    def read(self, ranges: Sequence[TrackRange]) -> list[list[Sample]]:
        """Fetch the samples of each range, in as few requests as possible.

        Raises:
            UnexpectedLayout: the file does not match its index.
            SegmentTransient: the stream is truncated, or `max_bytes` is exceeded.
        """
