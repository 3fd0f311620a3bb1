"""Player answers, as far as yt-dlp's extractor reads them, and as YouTube's differ from client to client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from audioset_batch.standin.addresses import MEDIA_HOST, Address
from audioset_batch.standin.catalog import EVERY_CLIENT, Lock, Outcome, Video
from audioset_batch.standin.formats import FORMATS, Format
from audioset_batch.standin.outcomes import KIDS, SAYINGS, Saying
from audioset_batch.standin.tracks import AudioTrack

VISITOR: Final = "CgtzdGFuZGluMDAwMSiAgICABg%3D%3D"
SIGNED: Final = "signed"
"""Where a raw answer has this as its `url`, `hlsManifestUrl` or `serverAbrStreamingUrl`, a true one is sent."""

_BLIND_TO_KIDS: Final = frozenset({"VISIONOS", "ANDROID_VR"})
_SABR_ONLY: Final = frozenset({"ANDROID", "WEB"})
_HLS: Final = frozenset({"VISIONOS", "IOS"})
_HOSTILE: Final = '; touch x "$(touch y)" `touch z` ../../../%(id)s\n\x00</script>\u202e'
"""Part of every title, so that a title in a shell, a path or a format string is noticed."""
_SABR_URL: Final = f"https://{MEDIA_HOST}/videoplayback?sabr=1"
_BOARDS: Final = "|48#27#100#10#10#0#default#rs$standin|80#45#60#10#10#1000#M$M#rs$standin"

SizeOf = Callable[[Video, int, AudioTrack | None], int]


def player(video: Video, client: str, address: Address, size_of: SizeOf, saying: Saying | None) -> dict[str, Any]:
    """A player answer.

    Args:
        video: The video.
        client: InnerTube name of the player client that asks.
        address: What all URLs in it have in common.
        size_of: The bytes of a file; called only for those that get a URL, as it may have to be made.
        saying: What is said instead of what would be said of the video.
    """
    if saying is None:
        raw = video.answers.get(client, video.answers.get(EVERY_CLIENT))
        if raw is not None:
            signed: dict[str, Any] = _sign(raw, address)
            return signed
        saying = KIDS if video.kids and client in _BLIND_TO_KIDS else SAYINGS.get(video.outcome)
    response: dict[str, Any] = {"responseContext": {"visitorData": VISITOR}}
    if saying is not None:
        response["playabilityStatus"] = saying.as_json(interstitial=video.interstitial)
        if video.trailer:
            screen = {"playerLegacyDesktopYpcTrailerRenderer": {"trailerVideoId": video.trailer}}
            response["playabilityStatus"]["errorScreen"] = screen
        if saying.status != "ERROR":
            response["videoDetails"] = _details(video)
    else:
        response |= _playable(video, client, address, size_of)
    if video.outcome is Outcome.GEO_BLOCKED:
        response["microformat"] = {"playerMicroformatRenderer": {"availableCountries": ["AQ", "BV"]}}
    return response


def storyboards(ytid: str, *, live: bool = False) -> dict[str, Any]:
    """The part of an answer that names the small pictures of a video."""
    if live:
        spec = f"https://i.ytimg.com/sb/{ytid}/storyboard_live_90_3x3_b2/M$M.jpg?rs=standin#159#90#3#3"
        return {"playerLiveStoryboardSpecRenderer": {"spec": spec}}
    spec = f"https://i.ytimg.com/sb/{ytid}/storyboard3_L$L/$N.jpg?sqp=standin{_BOARDS}"
    return {"playerStoryboardSpecRenderer": {"spec": spec, "recommendedLevel": 1}}


def announced(video: Video) -> float:
    """The duration that YouTube states."""
    return video.seconds if video.announced_seconds is None else video.announced_seconds


def _playable(video: Video, client: str, address: Address, size_of: SizeOf) -> dict[str, Any]:
    entries = list(_entries(video, client, address, size_of))
    streaming: dict[str, Any] = {
        "expiresInSeconds": "21540",
        "formats": [entry for entry in entries if FORMATS[entry["itag"]].muxed],
        "adaptiveFormats": [entry for entry in entries if not FORMATS[entry["itag"]].muxed],
    }
    if entries:
        streaming["serverAbrStreamingUrl"] = _SABR_URL
        if video.hls and client in _HLS:
            streaming["hlsManifestUrl"] = address.master
    if video.outcome is Outcome.DRM:
        streaming["licenseInfos"] = [{"drmFamily": "WIDEVINE"}]
    response: dict[str, Any] = {
        "playabilityStatus": {"status": "OK", "playableInEmbed": True},
        "videoDetails": _details(video),
        "streamingData": streaming,
    }
    if entries and video.storyboards:
        response["storyboards"] = storyboards(video.ytid, live=video.outcome is Outcome.LIVE)
    if video.ad_seconds:
        response["adSlots"] = [_ad(video.ad_seconds)]
    if video.feeds:
        feeds = ",".join(quote(f"id={ytid}&title=Camera+{number}") for number, ytid in enumerate(video.feeds, 1))
        response["multicamera"] = {"playerLegacyMulticameraRenderer": {"metadataList": feeds}}
    return response


def _details(video: Video) -> dict[str, Any]:
    return {
        "videoId": video.ytid,
        "title": f"Stand-in {video.ytid}{_HOSTILE}",
        "lengthSeconds": str(round(announced(video))),
        "channelId": "UCstandinstandinstandinst",
        "shortDescription": "",
        "isLive": video.outcome is Outcome.LIVE,
        "isUpcoming": video.outcome is Outcome.UPCOMING,
        "isLiveContent": video.outcome in (Outcome.LIVE, Outcome.UPCOMING),
    }


def _entries(video: Video, client: str, address: Address, size_of: SizeOf) -> Iterator[dict[str, Any]]:
    for itag in video.playable_itags:
        kind = FORMATS[itag]
        if kind.muxed and client == "VISIONOS" and not video.muxed:
            continue
        for track in video.tracks_of(itag):
            yield _entry(video, kind, track, _lock(video, client, kind, track), address, size_of)


def _lock(video: Video, client: str, kind: Format, track: AudioTrack | None) -> Lock | None:
    if track is not None and not track.address:
        return Lock.SABR
    if EVERY_CLIENT in video.sabr or client in video.sabr:
        return Lock.SABR
    if client in _SABR_ONLY and not (kind.muxed and client == "ANDROID"):
        return Lock.SABR
    return video.locks.get(kind.itag)


def _entry(
    video: Video, kind: Format, track: AudioTrack | None, lock: Lock | None, address: Address, size_of: SizeOf
) -> dict[str, Any]:
    entry = kind.entry() | ({} if track is None else track.entry())
    if kind.sound is not None:
        entry["audioChannels"] = kind.sound.channels or video.channels
    if lock is Lock.SABR:
        # No file is made for what nobody can fetch.
        size = round(video.seconds * video.bit_rate / 8)
    else:
        size = size_of(video, kind.itag, track)
        _open(entry, lock, address.of(kind.itag, "" if track is None else track.xtags), kind.content_type)
    return entry | {
        "bitrate": round(size * 8 / max(video.seconds, 1.0)),
        "contentLength": str(size),
        "approxDurationMs": str(round(announced(video) * 1000)),
    }


def _open(entry: dict[str, Any], lock: Lock | None, address: Address, mime_type: str) -> None:
    """Add the way to the file, as the lock has it."""
    match lock:
        case Lock.CIPHER:
            entry["signatureCipher"] = f"s={'S' * 100}&sp=sig&url={quote(address.file(mime_type), safe='')}"
        case Lock.N:
            entry["url"] = address.file(mime_type, n="aStandInChallenge")
        case _:
            entry["url"] = address.file(mime_type)
    if lock is Lock.DRM:
        entry["drmFamilies"] = ["WIDEVINE"]
    if lock is Lock.OTF:
        entry["type"] = "FORMAT_STREAM_TYPE_OTF"


def _ad(seconds: float) -> dict[str, Any]:
    """An advertisement before the content that can be skipped after so many seconds."""
    renderer = {"skipOffsetMilliseconds": round(seconds * 1000), "playerVars": "length_seconds=30"}
    layout = {"renderingContent": {"instreamVideoAdRenderer": renderer}}
    return {
        "adSlotRenderer": {
            "adSlotMetadata": {"triggerEvent": "SLOT_TRIGGER_EVENT_BEFORE_CONTENT"},
            "fulfillmentContent": {"fulfilledLayout": {"playerBytesAdLayoutRenderer": layout}},
        }
    }


def _sign(value: Any, address: Address) -> Any:
    """A raw answer with addresses where it says `SIGNED`."""
    if isinstance(value, Mapping):
        found = {key: _sign(one, address) for key, one in value.items()}
        if found.get("url") == SIGNED:
            itag = int(found.get("itag", 0))
            mime_type = str(found.get("mimeType", "")).partition(";")[0]
            found["url"] = address.of(itag, str(found.pop("xtags", ""))).file(mime_type)
        if found.get("hlsManifestUrl") == SIGNED:
            found["hlsManifestUrl"] = address.master
        if found.get("serverAbrStreamingUrl") == SIGNED:
            found["serverAbrStreamingUrl"] = _SABR_URL
        return found
    if isinstance(value, list | tuple):
        return [_sign(one, address) for one in value]
    return value
