"""The audio tracks of a video with several: original, dubbed, descriptive ..., as YouTube names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class TrackKind(StrEnum):
    """What a track is; the word in `xtags`."""

    ORIGINAL = "original"
    DUBBED = "dubbed"
    DUBBED_AUTO = "dubbed-auto"
    DESCRIPTIVE = "descriptive"
    SECONDARY = "secondary"


_NUMBER: Final = {
    TrackKind.ORIGINAL: 4,
    TrackKind.DUBBED: 3,
    TrackKind.DUBBED_AUTO: 10,
    TrackKind.DESCRIPTIVE: 2,
    TrackKind.SECONDARY: 6,
}
"""What follows the language in a track's id."""
_NAMES: Final = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "en-US": "English (US)",
    "es": "Spanish",
    "es-US": "Spanish (US)",
    "fr": "French",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "pt-BR": "Portuguese (BR)",
}


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """One audio track.

    Attributes:
        language: As YouTube writes it, e.g. `en-US`; empty for a video with one track, which has no name (then `kind`
            is not said either; good for `drc` alone).
        kind: What it is.
        default: `audioIsDefault`; None: the original is.
        drc: With its dynamic range compressed: a twin of the track of the same language and kind.
        itags: Its formats; None: all of the video that are sound alone.
        address: False: the answer lists it without a URL (SABR only).
        content: Which tone its sound is marked with (`timecode.MARK_HZ`); None: its place in the video's list.
    """

    language: str = ""
    kind: TrackKind = TrackKind.ORIGINAL
    default: bool | None = None
    drc: bool = False
    itags: tuple[int, ...] | None = None
    address: bool = True
    content: int | None = None

    @property
    def id(self) -> str:
        """YouTube's id of it."""
        return f"{self.language}.{_NUMBER[self.kind]}"

    @property
    def xtags(self) -> str:
        """The `xtags` of its URLs, which tell it from the video's other tracks."""
        parts = ["drc=1"] * self.drc
        if self.language:
            parts = [f"acont={self.kind}", *parts, f"lang={self.language}"]
        return ":".join(parts)

    @property
    def name(self) -> str:
        """YouTube's name of it."""
        language = _NAMES.get(self.language, self.language)
        return f"{language} {self.kind}" if self.kind in (TrackKind.ORIGINAL, TrackKind.DESCRIPTIVE) else language

    @property
    def is_default(self) -> bool:
        """Whether players take it where nobody chose another."""
        return self.kind is TrackKind.ORIGINAL if self.default is None else self.default

    def entry(self) -> dict[str, Any]:
        """What a player answer adds to each of its formats."""
        entry: dict[str, Any] = {"isDrc": True} if self.drc else {}
        if self.language:
            entry["audioTrack"] = {"id": self.id, "displayName": self.name, "audioIsDefault": self.is_default}
        return entry

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AudioTrack:
        """From JSON; unknown keys raise TypeError, unknown words ValueError."""
        known = dict(values)
        known["kind"] = TrackKind(known.get("kind", TrackKind.ORIGINAL))
        if known.get("itags") is not None:
            known["itags"] = tuple(known["itags"])
        return cls(**known)


def dubbed(original: str, *languages: str, automatic: bool = False) -> tuple[AudioTrack, ...]:
    """An original in one language and dubs in others."""
    kind = TrackKind.DUBBED_AUTO if automatic else TrackKind.DUBBED
    return (AudioTrack(original), *(AudioTrack(language, kind) for language in languages))
