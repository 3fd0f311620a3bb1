"""Choose the formats of a video to fetch: pure functions over yt-dlp's format dictionaries and YouTube's answers.

The sound track is chosen first: YouTube offers up to twenty for one video, and yt-dlp sorts by quality, channels and
codec before language. Within a track yt-dlp's order applies, with dynamic range compression (DRC) last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from audioset_batch.errors import SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason
from audioset_batch.youtube.player_answers import carries_sound
from audioset_batch.youtube.streams import ClientOptions

Format = dict[str, Any]
"""One of yt-dlp's formats."""

Select = Callable[[str, list[Format]], Format | None]
"""yt-dlp's format selection: the format that an expression picks from a list (worst first), or None."""

_MAX_CANDIDATES: Final = 3
"""The chosen format, and two others in case it cannot be read."""
_DIRECT: Final = "https"
_SEGMENTED: Final = "m3u8_native"
_ORIGINAL, _DEFAULT, _DESCRIPTIVE, _OTHER = 10, 5, -10, -1  # yt-dlp's language_preference
_KIND_OF_ACONT: Final = {
    "original": "original",
    "dubbed": "dubbed",
    "dubbed-auto": "dubbed",
    "descriptive": "descriptive",
    "secondary": "secondary",
}
_KIND_OF_SUFFIX: Final = {"2": "descriptive", "3": "dubbed", "4": "original", "6": "secondary", "10": "dubbed"}
"""What follows the language in `audioTrack.id`, such as `en-US.4`."""
_XTAGS: Final = re.compile(r"[?&/]xtags[=/]([^&/]+)")
_ACONT: Final = re.compile(r"(?:^|:)acont=([\w-]+)")
_LANG: Final = re.compile(r"(?:^|:)lang=([\w-]+)")


class Track(NamedTuple):
    """A sound track: its language as YouTube writes it, and its kind; both empty if YouTube does not say."""

    language: str
    kind: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What the answers of all player clients list, with or without a URL.

    Attributes:
        kinds: Kind of each sound track, by yt-dlp's language and language preference.
        sound, pictures: True if any format has them.
        manifest: True if there is an HLS manifest.
    """

    kinds: Mapping[tuple[str, int], str] = field(default_factory=dict)
    sound: bool = False
    pictures: bool = False
    manifest: bool = False

    @classmethod
    def of(cls, answers: Iterable[Any]) -> Listed:
        """Read player answers as YouTube sent them; anything unexpected is left out."""
        kinds: dict[tuple[str, int], str] = {}
        sound = pictures = manifest = False
        for answer in answers:
            data = answer.get("streamingData") if isinstance(answer, Mapping) else None
            if not isinstance(data, Mapping):
                continue
            manifest = manifest or isinstance(data.get("hlsManifestUrl"), str)
            for entry in _entries(data):
                mime = str(entry.get("mimeType") or "")
                sound = sound or carries_sound(entry)
                pictures = pictures or mime.startswith("video/")
                track = entry.get("audioTrack")
                if isinstance(track, Mapping):
                    address = str(entry.get("url") or entry.get("signatureCipher") or "")
                    kinds[_preference(track)] = _kind(track, address)
        return cls(kinds, sound, pictures, manifest)

    @property
    def original(self) -> bool:
        """True if an original sound track is listed."""
        return "original" in self.kinds.values()


def _entries(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("formats", "adaptiveFormats"):
        entries = data.get(name)
        yield from (entry for entry in entries if isinstance(entry, Mapping)) if isinstance(entries, list) else ()


def _preference(track: Mapping[str, Any]) -> tuple[str, int]:
    """The language and language preference that yt-dlp derives from an `audioTrack`."""
    language = str(track.get("id") or "").partition(".")[0]
    name = str(track.get("displayName") or "").lower()
    if "descriptive" in name:
        return f"{language}-desc", _DESCRIPTIVE
    if "original" in name:
        return language, _ORIGINAL
    return language, _DEFAULT if track.get("audioIsDefault") else _OTHER


def _kind(track: Mapping[str, Any], url: str) -> str:
    by_preference = {_ORIGINAL: "original", _DESCRIPTIVE: "descriptive"}.get(_preference(track)[1], "")
    suffix = str(track.get("id") or "").rpartition(".")[2]
    return _kind_in_url(url) or by_preference or _KIND_OF_SUFFIX.get(suffix, "")


def _tags_in_url(url: str) -> str:
    """The `xtags` of a URL, in its query or its path, such as `acont=dubbed:lang=fr`."""
    found = _XTAGS.search(url) or _XTAGS.search(unquote(url))
    return unquote(found[1]) if found else ""


def _kind_in_url(url: str) -> str:
    content = _ACONT.search(_tags_in_url(url))
    return _KIND_OF_ACONT.get(content[1], "") if content else ""


def track_of(entry: Mapping[str, Any], listed: Listed) -> Track:
    """The sound track of one of yt-dlp's formats."""
    url = str(entry.get("url") or "")
    language = str(entry.get("language") or "")
    preference = entry.get("language_preference")
    preference = preference if isinstance(preference, int) else _OTHER
    kind = _kind_in_url(url) or listed.kinds.get((language, preference), "")
    if not kind and language:
        kind = {_ORIGINAL: "original", _DESCRIPTIVE: "descriptive"}.get(preference, "")
    if not language and (named := _LANG.search(_tags_in_url(url))):
        language = named[1]
    return Track(language.removesuffix("-desc"), kind)


@dataclass(frozen=True, slots=True)
class Choice:
    """Formats to fetch, the best first, then those to try if it cannot be read.

    `video` is `audio` if one file has both, and empty if no pictures are wanted.
    """

    audio: tuple[Format, ...]
    video: tuple[Format, ...]


class FormatChooser:
    """Chooses among the formats of a video.

    Args:
        select: yt-dlp's own selection.
        options: Video mode, height, codec, and whether another track may replace the original.
        user_format: The `-f` of the user's yt-dlp options, for the sound; None if there is none.
    """

    def __init__(self, select: Select, options: ClientOptions, user_format: str | None) -> None:
        self._select = select
        self._options = options
        self._user_format = user_format

    def choose(self, formats: Sequence[Format], listed: Listed) -> Choice:
        """Choose from `formats`, which are yt-dlp's in its order, worst first.

        Raises:
            SegmentUnavailable: `no_audio`, `no_video`, `format_unavailable`; no format that might have it was left out.
            SegmentTransient: `no_usable_format`: YouTube has it, but not for this client, or without a URL.
        """
        usable = [entry for entry in formats if entry.get("protocol") in (_DIRECT, _SEGMENTED)]
        if self._options.video_mode == "bestvideoaudio":
            both = self._of_best_track(usable, listed, self._picture_specs(("best",)))
            if not both:
                raise self._nothing(usable, listed, "no single stream has both", muxed=True)
            return Choice(both, both)
        specs = [self._user_format] if self._user_format else ["bestaudio", "bestaudio*"]
        audio = self._of_best_track(usable, listed, specs)
        if not audio:
            raise self._nothing(usable, listed, "none has audio")
        video: tuple[Format, ...] = ()
        if self._options.video_mode != "none":
            specs = self._picture_specs(("bestvideo", "bestvideo*"))
            video = self._candidates([entry for entry in usable if _has_pictures(entry)], specs, _has_pictures)
            if not video:
                raise self._nothing_to_see(usable, listed)
        return Choice(audio, video)

    def _picture_specs(self, kinds: Sequence[str]) -> list[str]:
        height = f"[height<={self._options.max_height}]" if self._options.max_height else ""
        codecs = ("[vcodec^=avc1]", "") if self._options.prefer_h264 else ("",)
        return [f"{kind}{height}{codec}" for codec in codecs for kind in kinds]

    def _of_best_track(self, formats: list[Format], listed: Listed, specs: Sequence[str]) -> tuple[Format, ...]:
        """Candidates of the best track that has any."""
        groups: dict[tuple[float, Track], list[Format]] = {}
        for entry in filter(_has_sound, formats):
            track = track_of(entry, listed)
            groups.setdefault((self._rank(entry, track, listed), track), []).append(entry)
        silent = [entry for entry in formats if not _has_sound(entry)]  # for a -f such as bestvideo+bestaudio
        for (rank, _), group in sorted(groups.items(), key=lambda item: item[0][0]):
            if rank > _UNLABELLED and listed.original and not self._options.any_track:
                break
            found = self._candidates(silent + sorted(group, key=lambda entry: not _is_drc(entry)), specs, _has_sound)
            if found:
                return found
        return ()

    def _rank(self, entry: Format, track: Track, listed: Listed) -> float:
        if track.kind == "original":
            return 0
        if track == ("", ""):
            return _UNLABELLED
        if track.kind == "descriptive":
            return 5
        if entry.get("language_preference") == _DEFAULT:
            return 2 if listed.original else 0.5
        return 4 if track.kind == "dubbed" else 3

    def _candidates(
        self, formats: list[Format], specs: Sequence[str], wanted: Callable[[Format], bool]
    ) -> tuple[Format, ...]:
        """At most three formats that `specs` select: files, which can be read by ranges, before playlists."""
        for protocol in (_DIRECT, _SEGMENTED):
            left = [entry for entry in formats if entry["protocol"] == protocol]
            found: list[Format] = []
            while len(found) < _MAX_CANDIDATES:
                picked = next(filter(None, (self._select(spec, left) for spec in specs)), None)
                # Of a selection such as bestvideo+bestaudio, the wanted part.
                parts = [] if picked is None else picked.get("requested_formats") or [picked]
                taken = next(filter(wanted, parts), None)
                if taken is None:
                    break
                found.append(taken)
                left = [entry for entry in left if entry is not taken]
            if found:
                return tuple(found)
        return ()

    def _nothing(
        self, usable: list[Format], listed: Listed, what: str, *, muxed: bool = False
    ) -> SegmentUnavailable | SegmentTransient:
        with_sound = [entry for entry in usable if _has_sound(entry)]
        if listed.original and with_sound and not any(track_of(e, listed).kind == "original" for e in with_sound):
            languages = sorted({track_of(entry, listed).language for entry in with_sound} - {""})
            return SegmentTransient(
                Reason.NO_USABLE_FORMAT,
                f"the original sound is listed without an address; others are there ({', '.join(languages)}): "
                "audio.track: any takes them",
            )
        if muxed:
            if (with_sound or listed.sound) and (listed.pictures or any(map(_has_pictures, usable))):
                # Some clients never get such a file.
                advice = f"{what} (video.mode: bestvideowithaudio takes two)"
                return SegmentTransient(Reason.NO_USABLE_FORMAT, _line(usable, advice))
            if not usable:
                return _not_for_us(usable)
            missing = Reason.NO_AUDIO if any(map(_has_pictures, usable)) else Reason.NO_VIDEO
            return SegmentUnavailable(missing, _line(usable, what))
        if with_sound:  # so the user's -f selects none of them
            return SegmentUnavailable(
                Reason.FORMAT_UNAVAILABLE, _line(usable, f"-f {self._user_format} of youtube.args picks no sound")
            )
        if listed.sound or not any(map(_has_pictures, usable)):
            return _not_for_us(usable)
        return SegmentUnavailable(Reason.NO_AUDIO, _line(usable, what))

    def _nothing_to_see(self, usable: list[Format], listed: Listed) -> SegmentUnavailable | SegmentTransient:
        if listed.pictures and not any(map(_has_pictures, usable)):
            return _not_for_us(usable)
        return SegmentUnavailable(Reason.NO_VIDEO, _line(usable, "none has video"))


_UNLABELLED: Final = 1


def _not_for_us(usable: Sequence[Format]) -> SegmentTransient:
    return SegmentTransient(
        Reason.NO_USABLE_FORMAT, _line(usable, "YouTube gives no address that can be used for what is wanted")
    )


def _has_sound(entry: Mapping[str, Any]) -> bool:
    """True also where a playlist does not name the codecs: they are None then."""
    return entry.get("acodec") != "none"


def _has_pictures(entry: Mapping[str, Any]) -> bool:
    return entry.get("vcodec") != "none"


def _is_drc(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("format_id") or "").endswith("-drc")


def _line(formats: Sequence[Mapping[str, Any]], what: str) -> str:
    names = ", ".join(str(entry.get("format_id")) for entry in formats[:12])
    return f"{what} among the {len(formats)} formats ({names})"
