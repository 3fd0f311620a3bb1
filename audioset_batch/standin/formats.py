"""YouTube's formats by itag: how a player answer describes each, and what its file holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from audioset_batch.standin.timecode import FRAME_RATE


@dataclass(frozen=True, slots=True)
class Sound:
    """An audio stream.

    Attributes:
        codec: Name of FFmpeg's encoder.
        rate: Samples a second.
        bit_rate: In bit/s; None: the video's own.
        channels: None: the video's own.
        quality: YouTube's word for it.
    """

    codec: str
    rate: int
    bit_rate: int | None
    channels: int | None
    quality: str


@dataclass(frozen=True, slots=True)
class Sight:
    """A video stream: its encoder in FFmpeg, its size in pixels, and YouTube's words for it."""

    codec: str
    width: int
    height: int
    label: str
    quality: str


@dataclass(frozen=True, slots=True)
class Format:
    """One itag.

    Attributes:
        itag: YouTube's number of it.
        mime_type: With its codecs, as YouTube words it.
        suffix: Of its files.
        sound: None where it has none.
        sight: None where it has none.
    """

    itag: int
    mime_type: str
    suffix: str
    sound: Sound | None
    sight: Sight | None

    @property
    def content_type(self) -> str:
        """The MIME type without codecs."""
        return self.mime_type.partition(";")[0]

    @property
    def muxed(self) -> bool:
        """True if it has sound and pictures."""
        return self.sound is not None and self.sight is not None

    def entry(self) -> dict[str, Any]:
        """What a player answer says of every file of it."""
        entry: dict[str, Any] = {"itag": self.itag, "mimeType": self.mime_type, "lastModified": "1700000000000000"}
        if self.sight is not None:
            entry |= {"width": self.sight.width, "height": self.sight.height, "fps": FRAME_RATE}
            entry |= {"qualityLabel": self.sight.label, "quality": self.sight.quality}
        else:
            entry["quality"] = "tiny"
        if self.sound is not None:
            entry |= {"audioQuality": f"AUDIO_QUALITY_{self.sound.quality}", "audioSampleRate": str(self.sound.rate)}
        return entry


_AAC: Final = 'audio/mp4; codecs="mp4a.40.2"'
_OPUS: Final = 'audio/webm; codecs="opus"'
_SMALL: Final = Sight("libx264", 640, 360, "360p", "medium")

FORMATS: Final = {
    one.itag: one
    for one in (
        Format(
            17,
            'video/3gpp; codecs="mp4v.20.3, mp4a.40.2"',
            ".3gp",
            Sound("aac", 22_050, 32_000, 1, "LOW"),
            Sight("mpeg4", 176, 144, "144p", "small"),
        ),
        Format(
            18, 'video/mp4; codecs="avc1.42C01E, mp4a.40.2"', ".mp4", Sound("aac", 44_100, None, None, "LOW"), _SMALL
        ),
        Format(
            36,
            'video/3gpp; codecs="mp4v.20.3, mp4a.40.2"',
            ".3gp",
            Sound("aac", 22_050, 32_000, 1, "LOW"),
            Sight("mpeg4", 320, 240, "240p", "small"),
        ),
        Format(134, 'video/mp4; codecs="avc1.4d401e"', ".mp4", None, _SMALL),
        Format(136, 'video/mp4; codecs="avc1.4d401f"', ".mp4", None, Sight("libx264", 1280, 720, "720p", "hd720")),
        # YouTube's is HE-AAC of 48 kbit/s, which FFmpeg cannot encode: the file holds AAC-LC, of as much as it needs.
        Format(139, 'audio/mp4; codecs="mp4a.40.5"', ".mp4", Sound("aac", 22_050, 96_000, None, "LOW"), None),
        Format(140, _AAC, ".mp4", Sound("aac", 44_100, None, None, "MEDIUM"), None),
        Format(249, _OPUS, ".webm", Sound("libopus", 48_000, 48_000, None, "LOW"), None),
        Format(250, _OPUS, ".webm", Sound("libopus", 48_000, 64_000, None, "LOW"), None),
        Format(251, _OPUS, ".webm", Sound("libopus", 48_000, None, None, "MEDIUM"), None),
        Format(258, _AAC, ".mp4", Sound("aac", 48_000, 384_000, 6, "HIGH"), None),
        Format(328, 'audio/mp4; codecs="ec-3"', ".mp4", Sound("eac3", 48_000, 384_000, 6, "HIGH"), None),
        Format(380, 'audio/mp4; codecs="ac-3"', ".mp4", Sound("ac3", 48_000, 384_000, 6, "HIGH"), None),
    )
}
"""All that can be synthesised as one file."""

HLS_FORMATS: Final = {
    one.itag: one
    for one in (
        Format(93, "video/mp2t", ".ts", Sound("aac", 44_100, None, None, "MEDIUM"), _SMALL),
        Format(230, "video/mp2t", ".ts", None, _SMALL),
        Format(233, "video/mp2t", ".ts", Sound("aac", 22_050, 96_000, None, "LOW"), None),
        Format(234, "video/mp2t", ".ts", Sound("aac", 44_100, None, None, "MEDIUM"), None),
    )
}
"""What HLS playlists lead to: files of one segment after the other."""

VIDEO_ITAGS: Final = frozenset(one.itag for one in FORMATS.values() if one.sound is None)
AUDIO_ITAGS: Final = frozenset(one.itag for one in FORMATS.values() if one.sight is None)
