"""Parse what YouTube's player API answered to each client, reduced to what decides the outcome.

Reads a copy of the bytes that yt-dlp received, so it depends on YouTube's format alone, not on yt-dlp's
interpretation. Anything unexpected is left out; it is never an error.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from audioset_batch import untrusted

_LONGEST_PAGE: Final = 64 * 1024
_MARKUP: Final = re.compile(r"(?is)<(script|style)\b.*?(</\1>|$)|<[^>]*>?")
_INITIAL: Final = re.compile(r"ytInitialPlayerResponse\s*=\s*(?=\{)")

_COMPLETE_CLIENTS: Final = frozenset({"WEB", "MWEB", "ANDROID", "IOS", "TVHTML5", "TVHTML5_SIMPLY"})
"""Clients that can play every kind of public video. Others, including those of later yt-dlp versions, may refuse videos
that exist: made for kids, not embeddable, not music, or of another account."""
_LONGEST_TEXT: Final = 1000
_MAX_MESSAGES: Final = 8


@dataclass(frozen=True, slots=True)
class ListedFormat:
    """One entry of `formats` or `adaptiveFormats`.

    Attributes:
        itag: YouTube's number of the format; "" if it has none.
        address: It has a plain URL.
        cipher: Its URL is ciphered; reading it takes the player's script.
        drm: It is encrypted.
        sound, picture: It contains them.
        height: Pixels; None if unknown.
        track: YouTube's name of its sound track; "" if it has none.
    """

    itag: str
    address: bool
    cipher: bool
    drm: bool
    sound: bool
    picture: bool
    height: int | None
    track: str = ""


@dataclass(frozen=True, slots=True)
class PlayerAnswer:
    """One client's answer.

    Attributes:
        client: InnerTube's name of the client, e.g. `VISIONOS`.
        status: `playabilityStatus.status`.
        texts: Its messages without repetition: reason, subreason, title and description of either error screen.
        ytid: The video that it is about; None if it does not say.
        formats: The listed formats.
        streams: It has formats, or the URL of a manifest or of SABR.
        age_gate: It carries the marker of an age gate.
        captcha: Its error screen is a captcha.
        trailer: Its error screen offers a trailer.
        starts: When a live event or a premiere is to begin, ISO 8601 in UTC; "" if it does not say.
    """

    client: str
    status: str
    texts: tuple[str, ...] = ()
    ytid: str | None = None
    formats: tuple[ListedFormat, ...] = ()
    streams: bool = False
    age_gate: bool = False
    captcha: bool = False
    trailer: bool = False
    starts: str = ""

    @property
    def text(self) -> str:
        """All messages, in one line."""
        return " ".join(one if one.endswith((".", "!", "?")) else f"{one}." for one in self.texts).removesuffix(".")

    @property
    def playable(self) -> bool:
        """True if the video is playable and something to play is listed."""
        return self.status == "OK" and self.streams

    @property
    def plays_all_videos(self) -> bool:
        """True if its client can play every kind of public video."""
        return self.client in _COMPLETE_CLIENTS


@dataclass(slots=True)
class Exchange:
    """One request to the player API, for a page that contains a player answer, or for a manifest.

    Attributes:
        client: The player client that asked.
        status: HTTP status; None without an answer.
        failure: Error of the HTTP client, without an answer.
        body: The answer, as far as it was read.
        page: It was for a page or a manifest, which may legitimately contain no player answer.
    """

    client: str
    status: int | None = None
    failure: str = ""
    body: bytearray = field(default_factory=bytearray)
    page: bool = False
    _parsed: tuple[int, PlayerAnswer | None] = (0, None)

    def answer(self) -> PlayerAnswer | None:
        """The player answer; None if it is incomplete or something else."""
        if self.failure:
            return None
        if len(self.body) != self._parsed[0]:
            self._parsed = len(self.body), self._parse()
        return self._parsed[1]

    @property
    def failed(self) -> bool:
        """True if there is no player answer where there should be one."""
        return self.answer() is None and (bool(self.failure) or not self.page)

    @property
    def notice(self) -> str:
        """The text of an HTML page that came in place of a player answer; "" if none did."""
        start = "" if self.page else self.body[:_LONGEST_PAGE].decode("utf-8", "replace").lstrip()
        return " ".join(_MARKUP.sub(" ", start).split())[:_LONGEST_TEXT] if start.startswith("<") else ""

    def _parse(self) -> PlayerAnswer | None:
        text = self.body.decode("utf-8", "replace").lstrip()
        page = _INITIAL.search(text) if text.startswith("<") else None
        try:
            value = json.JSONDecoder().raw_decode(text, 0 if page is None else page.end())[0]
        except (ValueError, RecursionError):
            return None
        return read_answer(self.client, value)


def read_answer(client: str, value: Any) -> PlayerAnswer | None:
    """Parse a player answer from its JSON; None if it is none."""
    status = _dig(value, "playabilityStatus")
    if not isinstance(status, dict) or not isinstance(status.get("status"), str):
        return None
    screen = _dig(status, "errorScreen")
    streaming = _dig(value, "streamingData")
    formats = tuple(_formats(streaming))
    addresses = ("hlsManifestUrl", "dashManifestUrl", "serverAbrStreamingUrl")
    ytid = _dig(value, "videoDetails", "videoId")
    return PlayerAnswer(
        client=client,
        status=status["status"],
        texts=tuple(_texts(status, screen)),
        ytid=ytid if isinstance(ytid, str) else None,
        formats=formats,
        streams=bool(formats) or any(_dig(streaming, name) for name in addresses),
        age_gate=bool(status.get("desktopLegacyAgeGateReason")),
        captcha=isinstance(_dig(screen, "playerCaptchaViewModel"), dict),
        trailer=isinstance(_dig(screen, "playerLegacyDesktopYpcTrailerRenderer"), dict),
        starts=_starts(value),
    )


def carries_sound(entry: Mapping[str, Any]) -> bool:
    """True if an entry of `formats` or `adaptiveFormats` has sound, or may have: most name their codecs."""
    mime = str(entry.get("mimeType") or "")
    codecs = mime.partition("codecs=")[2]
    return (
        mime.startswith("audio/") or not codecs or "," in codecs or "audioQuality" in entry or "audioChannels" in entry
    )


def client_of(body: bytes | None) -> str:
    """The name of the client in the body of a request to the player API; "" if it is missing."""
    try:
        name = _dig(json.loads(body or b""), "context", "client", "clientName")
    except ValueError:
        return ""
    return name if isinstance(name, str) else ""


def _texts(status: Any, screen: Any) -> Iterator[str]:
    """The messages of both kinds of error screen and beside the status, without YouTube's repetitions."""
    message = _dig(screen, "playerErrorMessageRenderer")
    interstitial = _dig(screen, "playerInterstitialRenderer", "content", "interstitialViewModel")
    captcha = _dig(screen, "playerCaptchaViewModel")
    messages = status.get("messages")
    found: list[str] = []
    for part in (
        status.get("reason"),
        _dig(message, "reason"),
        _dig(interstitial, "title"),
        _dig(captcha, "title"),
        _dig(message, "subreason"),
        _dig(interstitial, "description"),
        *(messages[:_MAX_MESSAGES] if isinstance(messages, list) else ()),
    ):
        text = untrusted.visible(" ".join(_plain_text(part)[:_LONGEST_TEXT].split()))
        if text and not any(text.rstrip(".") in known for known in found):
            found.append(text)
            yield text


def _plain_text(part: Any) -> str:
    """A text in one of YouTube's forms: plain, `simpleText`, `runs`, `content`."""
    if isinstance(part, str):
        return part
    for key in ("simpleText", "content"):
        if isinstance(text := _dig(part, key), str):
            return text
    runs = _dig(part, "runs")
    return "".join(_plain_text(_dig(run, "text")) for run in runs) if isinstance(runs, list) else ""


def _formats(streaming: Any) -> Iterator[ListedFormat]:
    for key in ("formats", "adaptiveFormats"):
        entries = _dig(streaming, key)
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict):
                continue
            mime = str(entry.get("mimeType") or "")
            picture = mime.startswith("video/") or bool(entry.get("width"))
            height = entry.get("height")
            yield ListedFormat(
                itag=str(entry.get("itag") or ""),
                address=bool(entry.get("url")),
                cipher=bool(entry.get("signatureCipher") or entry.get("cipher")),
                drm=bool(entry.get("drmFamilies")),
                sound=carries_sound(entry),
                picture=picture,
                height=height if isinstance(height, int) else None,
                track=str(_dig(entry, "audioTrack", "id") or ""),
            )


def _starts(value: Any) -> str:
    """The scheduled start, from the offline slate or the description of the broadcast."""
    slate = _dig(
        value, "playabilityStatus", "liveStreamability", "liveStreamabilityRenderer", "offlineSlate",
        "liveStreamOfflineSlateRenderer", "scheduledStartTime",
    )  # fmt: skip
    details = _dig(value, "microformat", "playerMicroformatRenderer", "liveBroadcastDetails", "startTimestamp")
    try:
        if slate is not None:
            moment = datetime.datetime.fromtimestamp(int(slate), datetime.UTC)
        else:
            moment = datetime.datetime.fromisoformat(details).astimezone(datetime.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _dig(value: Any, *path: str) -> Any:
    """The value at a path of keys; None if there is none."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def answers_of(exchanges: Sequence[Exchange]) -> tuple[PlayerAnswer, ...]:
    """The player answers of all exchanges, in the order of the requests."""
    return tuple(answer for exchange in exchanges if (answer := exchange.answer()) is not None)
