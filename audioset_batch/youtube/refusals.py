"""Classify a resolve without streams: a ban, a fact about the video, or nothing conclusive.

Pure functions from evidence to an error; `youtube.client` collects the evidence. The clients' structured answers come
first; yt-dlp's error message counts only if there are none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from audioset_batch.errors import AudiosetBatchError, EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import TRANSIENT_REASONS, Reason
from audioset_batch.youtube.player_answers import Exchange, ListedFormat, PlayerAnswer, answers_of
from audioset_batch.youtube.wordings import Blocked, Meaning, from_settings, meaning_of, plain

# These only say that something went wrong before; the warnings say what.
_VAGUE: Final = re.compile(
    r"no video formats found|failed to extract any player response|unable to extract|requested format is not available"
)
_TIMEOUT: Final = re.compile(r"timed? ?out")
_HTTP_STATUS: Final = re.compile(r"http error (\d{3})")
_NETWORK: Final = re.compile(
    r"unable to download|connection|reset by peer|refused|unreachable|resolve host|name or service|ssl|proxy"
    r"|incomplete ?read|bytes read|remote end closed|network"
)
_MANIFEST: Final = re.compile(r"m3u8|mpd|manifest")
"""Warnings about requests beside the player API that were not needed."""
_LEFT_OUT: Final = re.compile(r"(?i)skipped|missing a url|challenge solving")
"""yt-dlp's warnings that say why it leaves formats out."""
_DETAIL_LENGTH: Final = 300
_AGE: Final = ("AGE_CHECK_REQUIRED", "AGE_VERIFICATION_REQUIRED", "CONTENT_CHECK_REQUIRED")


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of yt-dlp.

    Attributes:
        message: Its text.
        http_status: Status of the HTTP error that caused it, or None.
        transport: True if a failed connection caused it.
        geo_restricted: True if it is yt-dlp's `GeoRestrictedError`.
    """

    message: str
    http_status: int | None = None
    transport: bool = False
    geo_restricted: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a resolve without streams.

    Attributes:
        failure: yt-dlp's error.
        warnings: yt-dlp's warnings during this resolve.
        ytid: The requested video.
        exchanges: Requests of all clients to the player API.
        offered: Itags that yt-dlp lists with a URL.
        lack: `NO_AUDIO` or `NO_VIDEO`: what no offered format has; None if there was no format to choose from.
        user_format: The format was chosen by the user's `-f`.
        max_height: `video.max_height`.
        wordings: `youtube.wordings`.
    """

    failure: Failure
    warnings: Sequence[str] = ()
    ytid: str = ""
    exchanges: Sequence[Exchange] = ()
    offered: Collection[str] = ()
    lack: SegmentUnavailable | None = None
    user_format: bool = False
    max_height: int | None = None
    wordings: Mapping[str, Reason] = field(default_factory=dict)


def short(message: str) -> str:
    """Shorten a message of yt-dlp for the `detail` column: one line, no advice, at most 300 characters."""
    text = " ".join(message.split()).removeprefix("ERROR: ")
    text = re.sub(r"^\[youtube[^\]]*\] (\S{11}: )?", "", text)
    text = re.split(r"; please report this issue| \(caused by |\. Use --cookies|;? ?see {1,2}https?:", text)[0]
    return text[:_DETAIL_LENGTH]


def classify(evidence: Evidence) -> AudiosetBatchError:
    """The error for a resolve without streams.

    In this order: a fact about the video from any client, unless another client lists streams; a ban; what the answers
    list; "there is no such video" from a client that can play all; failed connections; anything inconclusive.
    """
    answers = answers_of(evidence.exchanges)
    mine = [one for one in answers if one.ytid in (None, "", evidence.ytid)]
    refused = [(one, _meaning(one)) for one in mine if not one.playable and (one.status != "OK" or one.texts)]
    playable = [one for one in mine if one.playable]
    if not playable and (ban := _ban_by_page(evidence.exchanges)):
        return ban
    if not answers:
        return _by_message(evidence)
    if not playable:
        for answer, meaning in refused:
            if isinstance(meaning, Reason) and meaning.permanent and meaning is not Reason.NONEXISTENT:
                return SegmentUnavailable(meaning, _detail(answer, meaning))
    if ban := _ban(evidence, refused, strangers=len(answers) > len(mine) and not mine):
        return ban
    answered = {one.client for one in answers}
    failed = [one for one in evidence.exchanges if one.failed and one.client not in answered]
    if playable:
        settled = _without_streams(evidence, playable)
        return _failed(failed[-1]) if failed and isinstance(settled, SegmentUnavailable) else settled
    for answer, meaning in refused:
        if meaning is Reason.NONEXISTENT and answer.plays_all_videos:
            return SegmentUnavailable(meaning, _detail(answer))
    if failed:
        return _failed(failed[-1])
    return _unsettled(evidence, refused)


def too_many_requests(exchanges: Sequence[Exchange]) -> bool:
    """True if the player API or a manifest's host answered 429, even if another client returned streams."""
    return any(one.status == 429 for one in exchanges)


def _meaning(answer: PlayerAnswer) -> Meaning | None:
    """The meaning of a refusal, by its structure first and then by its wording."""
    if answer.captcha:
        return Blocked("bot check")
    if answer.trailer:
        return Reason.LOGIN_REQUIRED
    meaning = meaning_of(answer.text)
    if meaning is None or meaning in TRANSIENT_REASONS:
        if answer.status in _AGE or answer.age_gate:
            return Reason.LOGIN_REQUIRED
        if answer.status == "LIVE_STREAM_OFFLINE":
            return Reason.LIVE
    return meaning


def _detail(answer: PlayerAnswer, meaning: Meaning | None = None) -> str:
    """The messages of an answer; for an upcoming event with its date."""
    text = answer.text[:_DETAIL_LENGTH] or answer.status
    dated = answer.starts and meaning is Reason.LIVE
    return f"{text}; scheduled for {answer.starts}" if dated else text


def _ban(
    evidence: Evidence, refused: Sequence[tuple[PlayerAnswer, Meaning | None]], *, strangers: bool
) -> EgressBlocked | None:
    for answer, meaning in refused:
        if isinstance(meaning, Blocked):
            return EgressBlocked(f"{meaning.kind}: {_detail(answer)}")
    if too_many_requests(evidence.exchanges):
        return EgressBlocked("HTTP 429: the player API, or a manifest that was needed")
    if strangers:
        return EgressBlocked("blocked address: every answer was about another video")
    return None


def _ban_by_page(exchanges: Sequence[Exchange]) -> EgressBlocked | None:
    """A ban announced by an HTML page in place of a player answer ("unusual traffic"), possibly with status 200."""
    for notice in (one.notice for one in exchanges):
        if isinstance(meaning := meaning_of(notice), Blocked):
            return EgressBlocked(f"{meaning.kind}: {notice[:_DETAIL_LENGTH]}")
    return None


def _without_streams(evidence: Evidence, playable: Sequence[PlayerAnswer]) -> AudiosetBatchError:
    """Streams are listed, but none was chosen. That is a fact about the video only if no format was left out."""
    listed = [entry for answer in playable for entry in answer.formats]
    reachable = {(entry.itag, entry.track) for entry in listed if entry.address or entry.cipher}
    left_out = [
        entry for entry in listed if entry.itag not in evidence.offered or (entry.itag, entry.track) not in reachable
    ]
    lack = evidence.lack
    if lack is not None and evidence.user_format:
        if not left_out:
            return SegmentUnavailable(Reason.FORMAT_UNAVAILABLE, f"the -f of youtube.args: {lack.detail}")
    elif lack is not None and lack.reason is Reason.NO_AUDIO:
        if not left_out and any(entry.picture for entry in listed) and not any(entry.sound for entry in listed):
            return lack
    elif lack is not None:
        highest = evidence.max_height
        wanted = (entry for entry in listed if entry.picture and not (highest and (entry.height or 0) > highest))
        if listed and not any(wanted):
            return lack
    said = skipped_formats_note(evidence.warnings)
    if not (said or evidence.offered or is_vague(evidence.failure.message)):
        said = f"; {short(evidence.failure.message)}"
    return SegmentTransient(Reason.NO_USABLE_FORMAT, _why_not(listed, left_out, playable, said))


def _why_not(
    listed: Sequence[ListedFormat],
    left_out: Sequence[ListedFormat],
    playable: Sequence[PlayerAnswer],
    said: str,
) -> str:
    kinds = Counter(
        "protected (DRM)" if one.drm
        else "ciphered" if one.cipher
        else "left out by yt-dlp" if one.address
        else "without an address (SABR)"
        for one in left_out
    )  # fmt: skip
    clients = ", ".join(dict.fromkeys(answer.client for answer in playable))
    if not kinds:
        return f"none of the {len(listed)} formats will do ({clients}){said}"
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"none of the {len(listed)} formats can be fetched ({clients}): {named}{said}"


def skipped_formats_note(warnings: Sequence[str]) -> str:
    """yt-dlp's warning about formats that it left out, to be appended to a detail; "" if there is none."""
    return next((f"; yt-dlp: {short(one)[:160]}" for one in warnings if _LEFT_OUT.search(one)), "")


def _unsettled(evidence: Evidence, refused: Sequence[tuple[PlayerAnswer, Meaning | None]]) -> AudiosetBatchError:
    """An inconclusive refusal; the answer of a client that can play every video is preferred."""
    ranked = sorted(refused, key=lambda pair: not pair[0].plays_all_videos)
    for answer, _ in ranked:
        if found := from_settings(answer.text, evidence.wordings):
            return _as_set(answer.text, *found)
    for answer, meaning in ranked:
        if isinstance(meaning, Reason) and meaning in TRANSIENT_REASONS:
            return SegmentTransient(meaning, _detail(answer))
    if not ranked:
        return SegmentTransient(Reason.NO_USABLE_FORMAT, "the player answers OK and lists nothing to play")
    answer, meaning = ranked[0]
    if meaning is Reason.NONEXISTENT:
        return SegmentTransient(
            Reason.UNRECOGNIZED, f"{_detail(answer)} (from {answer.client}, which is not shown all)"
        )
    return SegmentTransient(Reason.UNRECOGNIZED, _detail(answer))


def _as_set(text: str, pattern: str, reason: Reason) -> SegmentUnavailable | SegmentTransient:
    """The outcome that `youtube.wordings` assigns, which `detail` names."""
    kind = SegmentUnavailable if reason.permanent else SegmentTransient
    return kind(reason, f"{text[:_DETAIL_LENGTH]} (by youtube.wordings: {pattern})", proven=False)


def _by_message(evidence: Evidence) -> AudiosetBatchError:
    """Classify by yt-dlp's error message and warnings, if no answer of a client is known."""
    detail = short(evidence.failure.message)
    vague = is_vague(evidence.failure.message)
    warnings = [one for one in evidence.warnings if not _MANIFEST.search(one.lower())]
    meaning = None if vague else meaning_of(detail)
    if isinstance(meaning, Blocked):
        return EgressBlocked(f"{meaning.kind}: {detail}")
    if evidence.failure.http_status == 429 or too_many_requests(evidence.exchanges):
        return EgressBlocked(f"HTTP 429: {detail}")
    if evidence.failure.geo_restricted:
        return SegmentUnavailable(Reason.GEO_BLOCKED, detail)
    failed = evidence.failure.transport or evidence.failure.http_status is not None
    if isinstance(meaning, Reason) and meaning.permanent and meaning is not Reason.NONEXISTENT and not failed:
        return SegmentUnavailable(meaning, detail)
    if vague or evidence.failure.transport:
        for warning in warnings:
            if isinstance(ban := meaning_of(short(warning)), Blocked):
                return EgressBlocked(f"{ban.kind}: {detail} (from yt-dlp's warnings)")
    if vague:  # the last warning that is not vague itself is the cause
        causes = [short(warning) for warning in warnings if not is_vague(warning)]
        detail = f"{detail}: {causes[-1]}"[:_DETAIL_LENGTH] if causes else detail
    text = plain("\n".join([detail, *(warnings if vague else ())]))
    if vague or failed or _NETWORK.search(text) or _TIMEOUT.search(text) or _HTTP_STATUS.search(text):
        return SegmentTransient(_kind_of_failure(text, evidence.failure), detail)
    if found := from_settings(detail, evidence.wordings):
        return _as_set(detail, *found)
    if isinstance(meaning, Reason) and not meaning.permanent:
        return SegmentTransient(meaning, detail)
    return SegmentTransient(Reason.UNRECOGNIZED, detail)


def _failed(exchange: Exchange) -> SegmentTransient:
    """The error of a client that could not be asked: it might have contradicted the other answers."""
    what = short(exchange.failure) or f"HTTP {exchange.status}, no answer of a player"
    broken = exchange.status is None or (exchange.status == 200 and bool(exchange.failure))
    failure = Failure(what, None if broken else exchange.status, transport=broken)
    return SegmentTransient(_kind_of_failure(plain(what), failure), f"{exchange.client}: {what}")


def _kind_of_failure(text: str, failure: Failure) -> Reason:
    if _TIMEOUT.search(text):
        return Reason.TIMEOUT
    if failure.http_status is not None or _HTTP_STATUS.search(text):
        return Reason.HTTP_ERROR
    if failure.transport or _NETWORK.search(text):
        return Reason.NETWORK
    return Reason.HTTP_ERROR


def is_vague(message: str) -> bool:
    """True if a message only says that something went wrong before."""
    return _VAGUE.search(plain(message)) is not None
