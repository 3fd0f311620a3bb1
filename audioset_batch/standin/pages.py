"""YouTube's pages and player answers, as far as yt-dlp's extractor reads them."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from audioset_batch.standin.catalog import Outcome, Video
from audioset_batch.standin.outcomes import SAYINGS, Saying

PLAYER_ID: Final = "0a1b2c3d"
_PLAYER_PATH: Final = f"/s/player/{PLAYER_ID}/player_ias.vflset/en_US/base.js"
_SIGNATURE_TIMESTAMP: Final = 20_500
_VISITOR: Final = "CgtzdGFuZGluMDAwMSiAgICABg%3D%3D"
_CLIENT_VERSION: Final = "2.20260708.00.00"
_HOSTILE: Final = '; touch x "$(touch y)" `touch z` ../../../%(id)s\n\x00</script>\u202e'
"""Part of every title: whoever lets a title near a shell, a path or a format string finds out."""
MEDIA_HOST: Final = "rr1---sn-standin.googlevideo.com"

_MIME: Final = {
    18: 'video/mp4; codecs="avc1.42C01E, mp4a.40.2"',
    134: 'video/mp4; codecs="avc1.4d401e"',
    136: 'video/mp4; codecs="avc1.4d401f"',
    140: 'audio/mp4; codecs="mp4a.40.2"',
    251: 'audio/webm; codecs="opus"',
}
_PICTURE: Final[dict[int, dict[str, Any]]] = {
    18: {"width": 640, "height": 360, "fps": 25, "qualityLabel": "360p", "quality": "medium"},
    134: {"width": 640, "height": 360, "fps": 25, "qualityLabel": "360p", "quality": "medium"},
    136: {"width": 1280, "height": 720, "fps": 25, "qualityLabel": "720p", "quality": "hd720"},
}
_AUDIO_RATE: Final = {18: 44_100, 140: 44_100, 251: 48_000}


@dataclass(frozen=True, slots=True)
class Offer:
    """One format in a player answer: its itag, size in bytes, and signed URL."""

    itag: int
    size: int
    url: str


def media_url(ytid: str, itag: int, egress: str, issue: int, signed: int, expires: int) -> str:
    """A media URL as YouTube signs them: for one address, until a time.

    `issue` is the number of the resolve that it was given to; `signed` the time of that in Unix nanoseconds,
    `expires` its end in Unix seconds.
    """
    query = {
        "expire": expires,
        "id": ytid,
        "itag": itag,
        "ip": egress,
        "issue": issue,
        "signed": signed,
        "mime": _MIME[itag].split(";")[0],
    }
    return f"https://{MEDIA_HOST}/videoplayback?{urlencode(query)}"


def player(video: Video, offers: tuple[Offer, ...], saying: Saying | None) -> dict[str, Any]:
    """A player answer; `saying` overrides what is said of the video."""
    saying = saying or SAYINGS.get(video.outcome)
    details = _details(video)
    response: dict[str, Any] = {"responseContext": {"visitorData": _VISITOR}}
    if saying is not None:
        response["playabilityStatus"] = saying.as_json()
        if saying.status != "ERROR":
            response["videoDetails"] = details
    else:
        response["playabilityStatus"] = {"status": "OK", "playableInEmbed": True}
        response["videoDetails"] = details
        response["streamingData"] = _streaming(video, offers)
    if video.outcome is Outcome.GEO_BLOCKED:
        response["microformat"] = {"playerMicroformatRenderer": {"availableCountries": ["AQ", "BV"]}}
    return response


def watch(ytid: str, response: Mapping[str, Any]) -> bytes:
    """The watch page."""
    title = html.escape(response.get("videoDetails", {}).get("title", ""))
    contents: dict[str, Any] = {"contents": {"twoColumnWatchNextResults": {}}}
    return (
        f"<!DOCTYPE html><html><head><title>{title} - YouTube</title>"
        f"<script>ytcfg.set({_script(_config('WEB'))});</script></head><body>"
        f"<script>var ytInitialPlayerResponse = {_script(response)};</script>"
        f"<script>var ytInitialData = {_script(contents)};</script>"
        f'<div id="{html.escape(ytid)}"></div></body></html>'
    ).encode()


def embed() -> bytes:
    """The page of the embedded player."""
    config = _config("WEB_EMBEDDED_PLAYER")
    return f"<!DOCTYPE html><html><script>ytcfg.set({_script(config)});</script></html>".encode()


def iframe_api() -> bytes:
    """The script that names the player's version."""
    return f"var scriptUrl = 'https:\\/\\/www.youtube.com\\/s\\/player\\/{PLAYER_ID}\\/www-widgetapi.js';".encode()


def player_script() -> bytes:
    """The player's script: only the number that clients look for; no URL here needs solving."""
    return f"var config={{signatureTimestamp:{_SIGNATURE_TIMESTAMP}}};".encode()


def _config(client: str) -> dict[str, Any]:
    return {
        "INNERTUBE_API_KEY": "standin-key",
        "INNERTUBE_CLIENT_NAME": client,
        "INNERTUBE_CLIENT_VERSION": _CLIENT_VERSION,
        "INNERTUBE_CONTEXT": {
            "client": {"clientName": client, "clientVersion": _CLIENT_VERSION, "visitorData": _VISITOR}
        },
        "PLAYER_JS_URL": _PLAYER_PATH,
        "STS": _SIGNATURE_TIMESTAMP,
        "VISITOR_DATA": _VISITOR,
    }


def _details(video: Video) -> dict[str, Any]:
    return {
        "videoId": video.ytid,
        "title": f"Stand-in {video.ytid}{_HOSTILE}",
        "lengthSeconds": str(round(_announced(video))),
        "channelId": "UCstandinstandinstandinst",
        "shortDescription": "",
        "isLive": video.outcome is Outcome.LIVE,
        "isUpcoming": video.outcome is Outcome.UPCOMING,
        "isLiveContent": video.outcome in (Outcome.LIVE, Outcome.UPCOMING),
    }


def _announced(video: Video) -> float:
    return video.seconds if video.announced_seconds is None else video.announced_seconds


def _streaming(video: Video, offers: tuple[Offer, ...]) -> dict[str, Any]:
    entries = [_format(video, offer) for offer in offers]
    data: dict[str, Any] = {
        "expiresInSeconds": "21540",
        "formats": [entry for entry in entries if entry["itag"] == 18],
        "adaptiveFormats": [entry for entry in entries if entry["itag"] != 18],
    }
    if video.outcome is Outcome.DRM:
        data["licenseInfos"] = [{"drmFamily": "WIDEVINE"}]
    return data


def _format(video: Video, offer: Offer) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "itag": offer.itag,
        "url": offer.url,
        "mimeType": _MIME[offer.itag],
        "bitrate": round(offer.size * 8 / max(video.seconds, 1.0)),
        "contentLength": str(offer.size),
        "approxDurationMs": str(round(_announced(video) * 1000)),
        **_PICTURE.get(offer.itag, {}),
    }
    if offer.itag in _AUDIO_RATE:
        entry["audioQuality"] = "AUDIO_QUALITY_LOW" if offer.itag == 18 else "AUDIO_QUALITY_MEDIUM"
        entry["audioSampleRate"] = str(_AUDIO_RATE[offer.itag])
        entry["audioChannels"] = video.channels
    return entry


def _script(value: Mapping[str, Any]) -> str:
    """JSON fit to stand in a script element."""
    return json.dumps(value).replace("</", "<\\/")
