"""What YouTube's player API answered to each client: the structured answer, reduced to what decides.

Read from a copy of the bytes that yt-dlp received, so that it depends on YouTube's format alone, not on what yt-dlp
makes of it. Whatever is not as expected is left out, never an error.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from audioset_batch.adapters import untrusted

_LONGEST_PAGE: Final = 64 * 1024
_MARKUP: Final = re.compile(r"(?is)<(script|style)\b.*?(</\1>|$)|<[^>]*>?")
_INITIAL: Final = re.compile(r"ytInitialPlayerResponse\s*=\s*(?=\{)")

_COMPLETE_CLIENTS: Final = frozenset({"WEB", "MWEB", "ANDROID", "IOS", "TVHTML5", "TVHTML5_SIMPLY"})
"""Clients that are shown every kind of public video. Others, and those that a later yt-dlp may bring, can refuse videos
that exist: made for kids, not embeddable, no music, another account's."""
_LONGEST_TEXT: Final = 1000
_MOST_MESSAGES: Final = 8


@dataclass(frozen=True, slots=True)
class ListedFormat:
    """One entry of `formats` or `adaptiveFormats`.

    Attributes:
        itag: YouTube's number of it; "" if it has none.
        address: It has a plain URL.
        cipher: Its URL is ciphered and takes the player's script to read.
        drm: It is encrypted.
        sound, picture: What it carries.
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
        texts: What it says, without repetition: reason, subreason, title and description of either error screen.
        ytid: The video that it is about; None where it does not say.
        formats: What it lists.
        streams: It has formats, or the address of a manifest or of SABR.
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
        """All that it says, in one line."""
        return " ".join(one if one.endswith((".", "!", "?")) else f"{one}." for one in self.texts).removesuffix(".")

    @property
    def playable(self) -> bool:
        """It says that the video can be played, and lists something to play."""
        return self.status == "OK" and self.streams

    @property
    def sees_all(self) -> bool:
        """Whether its client can see every kind of public video."""
        return self.client in _COMPLETE_CLIENTS


@dataclass(slots=True)
class Exchange:
    """One request to the player API, for a page that has a player answer in it, or for a manifest.

    Attributes:
        client: Who asked.
        status: HTTP status; None if no answer came.
        failure: What the HTTP client said where no answer came.
        body: The answer as far as it was read.
        page: It was for a page or a manifest, which may well have no player answer in it.
    """

    client: str
    status: int | None = None
    failure: str = ""
    body: bytearray = field(default_factory=bytearray)
    page: bool = False
    _parsed: tuple[int, PlayerAnswer | None] = (0, None)

    def answer(self) -> PlayerAnswer | None:
        """The answer, if one came whole and it is one."""
        if self.failure:
            return None
        if len(self.body) != self._parsed[0]:
            self._parsed = len(self.body), self._parse()
        return self._parsed[1]

    @property
    def failed(self) -> bool:
        """Whether no answer came where there should be one."""
        return self.answer() is None and (bool(self.failure) or not self.page)

    @property
    def notice(self) -> str:
        """The words of an HTML page that came where the player's answer should be; "" if none did."""
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
    """A player answer from its JSON; None if it is none."""
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
    """Whether an entry of `formats` or `adaptiveFormats` has sound, or may have: files name their codecs, as a rule."""
    mime = str(entry.get("mimeType") or "")
    codecs = mime.partition("codecs=")[2]
    return (
        mime.startswith("audio/") or not codecs or "," in codecs or "audioQuality" in entry or "audioChannels" in entry
    )


def client_of(body: bytes | None) -> str:
    """The name of the client that sends this request to the player API; "" if it does not say."""
    try:
        name = _dig(json.loads(body or b""), "context", "client", "clientName")
    except ValueError:
        return ""
    return name if isinstance(name, str) else ""


def _texts(status: Any, screen: Any) -> Iterator[str]:
    """Both shapes of error screens, and the words beside the status; YouTube repeats itself, this does not."""
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
        *(messages[:_MOST_MESSAGES] if isinstance(messages, list) else ()),
    ):
        text = untrusted.visible(" ".join(_plain_text(part)[:_LONGEST_TEXT].split()))
        if text and not any(text.rstrip(".") in known for known in found):
            found.append(text)
            yield text


def _plain_text(part: Any) -> str:
    """A text in one of YouTube's spellings: plain, `simpleText`, `runs`, `content`."""
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
    """The scheduled start as the offline slate, or the description of the broadcast, has it."""
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
    """The value behind a path of keys; None where there is none."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def answers_of(exchanges: Sequence[Exchange]) -> tuple[PlayerAnswer, ...]:
    """The answers that came, in the order in which they were asked for."""
    return tuple(answer for exchange in exchanges if (answer := exchange.answer()) is not None)
