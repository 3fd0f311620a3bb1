"""Values that pass between the YouTube client and its callers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from audioset_batch.reasons import Reason


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How one client reaches YouTube.

    Attributes:
        args: Options of the yt-dlp command.
        player_skip: Requests that yt-dlp's YouTube extractor leaves out.
        lean: Ask the player clients that need no player script first, and others only if these decide nothing.
        proxy: Proxy URL; None: the environment variables apply.
        cookies: Netscape cookie file, of which the client uses a private copy.
        source_address: Local address to send from.
        video_mode: `Video.mode` of the config.
        max_height: Largest height of a video stream, pixels; None: no limit.
        prefer_h264: Prefer an H.264 stream to a better one of another codec: only H.264 can be cut by copying.
        any_track: Accept another sound track if the original one has no URL.
        wordings: `youtube.wordings`: text that a refusal contains, and the reason to record for it.
    """

    args: tuple[str, ...] = ()
    player_skip: tuple[str, ...] = ()
    lean: bool = True
    proxy: str | None = None
    cookies: Path | None = None
    source_address: str | None = None
    video_mode: str = "none"
    max_height: int | None = None
    prefer_h264: bool = False
    any_track: bool = False
    wordings: Mapping[str, Reason] = field(default_factory=dict)


def _ignore(seconds: float) -> None: ...


@dataclass(slots=True)
class RequestContext:
    """The limits of one attempt at a video, which hold for all of its requests together.

    Attributes:
        deadline: A time of `time.monotonic` after which every request fails.
        start_by: A time of `boot_time` by which the first request has to be made.
        max_bytes: Most bytes read of one stream of one clip.
        on_wait: Called with the seconds of a wait before it begins.
    """

    deadline: float = math.inf
    start_by: float = math.inf
    max_bytes: int = 200_000_000
    on_wait: Callable[[float], None] = _ignore

    def wait(self, seconds: float) -> None:
        """Wait, and move the deadline by as much."""
        self.on_wait(seconds)
        time.sleep(seconds)
        self.deadline += seconds


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a video. The URL is signed and short-lived: never log or store it.

    Attributes:
        codec: Codec string of the audio, or of the video if there is no audio.
        size: Announced size in bytes, or None.
        bitrate: Announced bit rate in bit/s, or None.
        segmented: The URL is that of an HLS playlist, not of a file.
        available_at: Unix time from which the server delivers the bytes, after an ad; None: at once.
        language: Language of the sound as YouTube writes it, or "".
        track: Kind of the sound track: `original`, `dubbed`, `descriptive`, `secondary`, or "".
    """

    url: str
    format_id: str
    container: str
    codec: str
    has_audio: bool
    has_video: bool
    size: int | None
    bitrate: float | None
    headers: Mapping[str, str]
    segmented: bool = False
    available_at: float | None = None
    language: str = ""
    track: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The streams of a video. `video` is the same object as `audio` if one stream has both.

    Attributes:
        duration_seconds: Announced duration of the whole video; None if unknown.
        more_audio, more_video: Other formats to try in this order if `audio` or `video` cannot be read, with the same
            sound track. `more_video` is empty if one stream has both.
    """

    ytid: str
    duration_seconds: float | None
    audio: Stream | None
    video: Stream | None
    more_audio: tuple[Stream, ...] = ()
    more_video: tuple[Stream, ...] = ()

    def without(self, stream: Stream) -> Resolved | None:
        """The same with the next stream in place of this one; None if there is no other."""
        if stream is self.audio and self.more_audio:
            following, *left = self.more_audio
            video = following if self.video is self.audio else self.video
            return replace(self, audio=following, video=video, more_audio=tuple(left))
        if stream is self.video and self.more_video:
            return replace(self, video=self.more_video[0], more_video=self.more_video[1:])
        return None


@dataclass(slots=True)
class Traffic:
    """Counters of one client; call `take` before and after an attempt to get those of the attempt."""

    requests: int = 0
    media_requests: int = 0
    media_bytes: int = 0

    def take(self) -> Traffic:
        """Return the counts and reset them to zero."""
        taken = Traffic(self.requests, self.media_requests, self.media_bytes)
        self.requests = self.media_requests = self.media_bytes = 0
        return taken
