"""What the container readers have in common: tracks, samples, and what is wanted of them.

Times of audio are counted in output samples from the moment that the container presents as zero, so that
codec delay, priming and edit lists are settled here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, Protocol

Kind = Literal["audio", "video"]


class UnexpectedLayout(Exception):
    """The container is damaged, or laid out in a way that the fast readers do not know: FFmpeg's may."""


@dataclass(frozen=True, slots=True)
class Track:
    """One track of a file.

    Attributes:
        kind: `audio` or `video`.
        number: The container's own number of the track.
        codec: Name of FFmpeg's decoder.
        extradata: The codec's configuration, as FFmpeg wants it.
        time_base: Seconds per tick of `Sample.pts`.
        sample_rate, channels: Of audio, as the container says; 0 for video.
        width, height: Of video, as the container says; 0 for audio.
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
    """One encoded packet. Times in ticks of the track, presentation time zero = 0, may be negative.

    `duration` is what of it is presented: less than the decoder gives for a padded last packet.
    """

    data: bytes
    pts: int
    dts: int
    duration: int
    key: bool


class Want(NamedTuple):
    """A stretch of a track, in seconds of presentation time.

    For audio the samples that cover [start - preroll, stop); for video everything from the last keyframe
    at or before `start` to the last picture shown before `stop`, in decoding order.
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
        """When the last keyframe at or before `time` is shown, if the index says so before anything is read."""

    def begins(self, track: Track) -> Fraction | None:
        """When the track's first sample is presented, to within a packet, if that is known."""

    def read(self, wants: Sequence[Want]) -> list[list[Sample]]:
        """Fetch and return the samples of each want, in as few requests as possible.

        Raises:
            UnexpectedLayout: when the file is not as its index says.
            SegmentTransient: for truncated streams and past the cap on bytes.
        """
