"""Resolve a video to streams with yt-dlp, and read bounded ranges of them.

Every request goes through yt-dlp's session, so that proxy, cookies, TLS options and impersonation apply to the media as
to the pages. `--download-sections` is not used: it goes through FFmpeg's HTTP client, which ignores all of these, and
cuts at keyframes.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import yt_dlp
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, RequestError
from yt_dlp.utils import YoutubeDLError

from audioset_batch.errors import AudiosetBatchError, EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason
from audioset_batch.youtube.cache import ThreadSafeCache
from audioset_batch.youtube.cookies import read_cookies
from audioset_batch.youtube.failure import failure_of
from audioset_batch.youtube.formats import Format, FormatChooser, Listed, track_of
from audioset_batch.youtube.hls_manifests import Manifests
from audioset_batch.youtube.options import parse_args, plugin_dirs_of, usage_errors
from audioset_batch.youtube.player_answers import PlayerAnswer, answers_of
from audioset_batch.youtube.player_clients import PlayerClients
from audioset_batch.youtube.plugins import choose_plugins
from audioset_batch.youtube.po_tokens import TokenPages
from audioset_batch.youtube.ranged import RangedStream, SegmentFetcher, label_of
from audioset_batch.youtube.refusals import Evidence, Failure, classify, short, skipped_formats_note, too_many_requests
from audioset_batch.youtube.session import Log, Session
from audioset_batch.youtube.streams import ClientOptions, RequestContext, Resolved, Stream, Traffic

if TYPE_CHECKING:
    from audioset_batch.media.readers.hls import SegmentedSource

_SOCKET_TIMEOUT: Final = 20.0
_NOT_YET_A_VIDEO: Final = ("is_live", "is_upcoming", "post_live")
_BUILDING: Final = threading.Lock()
"""The first YoutubeDL of a process loads yt-dlp's plugins, some of which must not be loaded twice."""


class YtDlpClient:
    """A long-lived `YoutubeDL` and what is needed around it. Not thread-safe: create one per thread and egress.

    Args:
        options: How to reach YouTube.

    Raises:
        UsageError: `options.args` are not options of yt-dlp, or the cookie file cannot be read.
    """

    def __init__(self, options: ClientOptions) -> None:
        self.traffic = Traffic()
        self._options = options
        self._log = Log()
        params = self._params()
        self._user_format = params.pop("format", None)
        with _BUILDING, usage_errors():
            choose_plugins(plugin_dirs_of(options.args))
            self._ydl = Session(params, self.traffic)
            if self._user_format:
                self._ydl.build_format_selector(self._user_format)
        self._ydl.cache = ThreadSafeCache(self._ydl)
        extractor = yt_dlp.extractor.youtube.YoutubeIE()
        self._ydl.add_info_extractor(extractor)
        self._extractor = extractor
        # The lean clients do not accept cookies.
        self._clients = PlayerClients(self._ydl.params, extractor, lean=options.lean and options.cookies is None)
        self._token_pages = TokenPages(self._ydl.params, extractor, own=self._own_skip)
        self._offered: set[str] = set()
        self._lack: SegmentUnavailable | None = None
        self._placeholder_bytes: str | None = None
        self._selectors: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self._chooser = FormatChooser(self._pick, options, self._user_format)
        self._manifests = Manifests(extractor, self._ydl.params, self._lacking)

    def _params(self) -> dict[str, Any]:
        params = parse_args(self._options.args)
        params.update(
            logger=self._log,
            quiet=True,
            noprogress=True,
            skip_download=True,
            noplaylist=True,  # of an event with several cameras, only the requested one
            ignoreerrors=False,
            ignore_no_formats_error=False,
            format=params.get("format") or None,
        )
        if params.get("socket_timeout") is None:
            params["socket_timeout"] = _SOCKET_TIMEOUT
        if self._options.proxy is not None:
            params["proxy"] = self._options.proxy
        if self._options.source_address is not None:
            params["source_address"] = self._options.source_address
        if self._options.cookies is not None:
            # yt-dlp rewrites its cookie file, and workers must not overwrite each other's: each has a copy in memory.
            params["cookiefile"] = io.StringIO(read_cookies(self._options.cookies))
        of_youtube = params.setdefault("extractor_args", {}).setdefault("youtube", {})
        self._own_skip = "player_skip" in of_youtube
        if self._options.player_skip:
            of_youtube.setdefault("player_skip", list(self._options.player_skip))
        if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
            # yt-dlp prefers certifi's certificates if it is installed; these variables name the site's own.
            params["compat_opts"] = {*params.get("compat_opts", ()), "no-certifi"}
        return params

    @property
    def parts(self) -> tuple[Any, Any]:
        """The `YoutubeDL` and its YouTube extractor, for checks of what they find on this machine."""
        return self._ydl, self._extractor

    def resolve(self, ytid: str, context: RequestContext | None = None) -> Resolved:
        """Find the streams of one video.

        Args:
            ytid: Of the video.
            context: Limits of the attempt; None: no limits.

        Raises:
            SlotExpired: `context.start_by` had passed before.
            EgressBlocked: bot check, rate limit or 429.
            SegmentUnavailable: the video is not available, for the given reason.
            SegmentTransient: it could not be found out this time.
        """
        self._ydl.exchanges.clear()
        self._log.warnings.clear()
        self._offered, self._lack = set(), None
        try:
            with self._ydl.within(context or RequestContext()):
                return self._clients.ask(lambda: self._resolve(ytid), self._answers)
        finally:
            self._ydl.exchanges.clear()

    def _resolve(self, ytid: str) -> Resolved:
        """Ask the player clients that are set now; answers of clients asked before count as well."""
        self._manifests.listed = Listed()
        self._token_pages.before_asking()
        url = f"https://www.youtube.com/watch?v={ytid}"
        try:
            info = self._ydl.extract_info(url, download=False, ie_key="Youtube", process=False)
            if info.get("_type", "video") != "video":  # a trailer in place of a paid film
                raise self._refusal(ytid, Failure(f"yt-dlp gives a {info['_type']} in place of the video"))
            if info.get("live_status") in _NOT_YET_A_VIDEO:
                raise self._not_yet(info["live_status"])
            formats = self._sorted_formats(info)
        except YoutubeDLError as error:
            raise self._refusal(ytid, failure_of(error)) from error
        except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            # Extractors fail in these ways on answers that they do not expect, such as truncated JSON.
            failure = Failure(f"yt-dlp: {type(error).__name__}: {error}")
            if self._answers():
                raise self._refusal(ytid, failure) from error
            raise SegmentTransient(Reason.INTERNAL, failure.message) from error
        if too_many_requests(self._ydl.exchanges):
            raise EgressBlocked("HTTP 429: one of several player clients")
        self._offered |= {str(entry.get("format_id")).partition("-")[0] for entry in formats}
        try:
            return self._select(ytid, info, formats)
        except SegmentUnavailable as error:
            self._lack = error
            raise self._refusal(ytid, Failure(error.detail)) from error
        except SegmentTransient as error:  # of this client; what others have listed may decide
            settled = self._refusal(ytid, Failure(error.detail))
            if isinstance(settled, SegmentUnavailable) or all(one["protocol"] == "mhtml" for one in formats):
                raise settled from error
            raise SegmentTransient(error.reason, error.detail + skipped_formats_note(self._log.warnings)) from error

    def _refusal(self, ytid: str, failure: Failure) -> AudiosetBatchError:
        return classify(
            Evidence(
                failure,
                warnings=tuple(self._log.warnings),
                ytid=ytid,
                exchanges=self._ydl.exchanges,
                offered=self._offered,
                lack=self._lack,
                user_format=self._user_format is not None and self._options.video_mode != "bestvideoaudio",
                max_height=self._options.max_height,
                wordings=self._options.wordings,
            )
        )

    def _answers(self) -> Sequence[PlayerAnswer]:
        return answers_of(self._ydl.exchanges)

    def _not_yet(self, live_status: str) -> SegmentUnavailable:
        starts = next((answer.starts for answer in self._answers() if answer.starts), "")
        dated = f"; scheduled for {starts}" if starts and live_status == "is_upcoming" else ""
        return SegmentUnavailable(Reason.LIVE, f"live_status is {live_status}{dated}")

    def has_thumbnail(self, ytid: str, context: RequestContext) -> bool:
        """True if the thumbnail host still has a picture of the video, which is only a hint that the video exists.

        The host sends a placeholder with status 404. For some deleted videos it sends the same picture with status 200,
        which is recognized by its length after the first 404.

        Raises:
            EgressBlocked: the host refuses (403, 429).
            SegmentTransient: the request failed, or the status is none of these.
        """
        request = Request(f"https://i.ytimg.com/vi/{ytid}/default.jpg", method="HEAD")
        try:
            with contextlib.closing(self._ydl.send(request, context)) as response:
                length = response.headers.get("Content-Length")
                return length is None or length != self._placeholder_bytes
        except HTTPError as error:
            with contextlib.closing(error):
                if error.status == 404:
                    self._placeholder_bytes = error.response.headers.get("Content-Length")
                    return False
                if error.status in (403, 429):
                    raise EgressBlocked(f"HTTP {error.status} from the thumbnail host") from error
                raise SegmentTransient(Reason.HTTP_ERROR, f"thumbnail: {short(str(error))}") from error
        except (RequestError, OSError) as error:
            raise SegmentTransient(Reason.NETWORK, f"thumbnail: {short(str(error))}") from error

    def open(self, stream: Stream, context: RequestContext) -> RangedStream | SegmentedSource:
        """A byte source over one stream, or over the segments of its playlist, within the limits of `context`."""

        def ask(headers: Mapping[str, str], url: str = stream.url) -> contextlib.AbstractContextManager[Any]:
            return self._ask(replace(stream, url=url), headers, context)

        if stream.segmented:
            from audioset_batch.media.readers.hls import SegmentedSource  # with FFmpeg, which a resolve does without

            fetch = SegmentFetcher(ask, stream, self.traffic, context.max_bytes)
            return SegmentedSource(fetch, stream.url, label_of(stream))
        return RangedStream(ask, stream, self.traffic, context.max_bytes)

    @contextlib.contextmanager
    def _ask(self, stream: Stream, headers: Mapping[str, str], context: RequestContext) -> Iterator[Any]:
        """Send one media request; errors while sending or reading are translated."""
        label = label_of(stream)
        try:
            try:
                response = self._ydl.send(Request(stream.url, headers=dict(headers)), context)
            except HTTPError as error:
                if error.status != 416:
                    with contextlib.closing(error):
                        raise _media_http_error(error, label) from error
                response = error.response
            with contextlib.closing(response):
                yield response
        except IncompleteRead as error:
            raise SegmentTransient(Reason.TRUNCATED, f"{label}: {short(str(error))}") from error
        except (RequestError, OSError) as error:
            text = short(str(error))
            timeout = isinstance(error, TimeoutError) or "timed out" in text.lower()
            raise SegmentTransient(Reason.TIMEOUT if timeout else Reason.NETWORK, f"{label}: {text}") from error

    def _lacking(self, formats: list[Format], listed: Listed) -> bool:
        """True if an HLS manifest is needed: without it, formats are listed but none can be used."""
        info = {"formats": list(formats)}
        try:
            self._chooser.choose(self._in_order(info), listed)
        except SegmentTransient:
            return True
        except SegmentUnavailable as error:
            return error.reason is Reason.FORMAT_UNAVAILABLE
        return False

    def _sorted_formats(self, info: dict[str, Any]) -> list[Format]:
        """Sort formats as yt-dlp does, worst first. Its selection is not used: it does not say what is missing."""
        formats = self._in_order(info)
        if not formats and not self._ydl.params.get("ignore_no_formats_error"):
            self._ydl.raise_no_formats(info)
        return formats

    def _in_order(self, info: dict[str, Any]) -> list[Format]:
        formats = [f for f in info.get("formats") or () if f.get("url") and not f.get("has_drm")]
        info["formats"] = formats
        for entry in formats:
            entry.setdefault("protocol", "https" if entry["url"].startswith("https:") else "unknown")
            entry.setdefault("http_headers", {})
        if formats:
            self._ydl.sort_formats(info)
        return formats

    def _select(self, ytid: str, info: dict[str, Any], formats: list[Format]) -> Resolved:
        listed = self._manifests.listed
        choice = self._chooser.choose(formats, listed)
        audio = tuple(_stream(entry, listed) for entry in choice.audio)
        one_file = choice.video is choice.audio
        video = audio if one_file else tuple(_stream(entry, listed) for entry in choice.video)
        duration = info.get("duration")
        return Resolved(
            ytid,
            float(duration) if duration and math.isfinite(duration) else None,
            audio[0],
            video[0] if video else None,
            audio[1:],
            () if one_file else video[1:],
        )

    def _pick(self, spec: str, formats: list[Format]) -> Format | None:
        selector = self._selectors.get(spec)
        if selector is None:
            selector = self._selectors[spec] = self._ydl.build_format_selector(spec)
        context = {
            "formats": formats,
            "has_merged_format": any("none" not in (f.get("acodec"), f.get("vcodec")) for f in formats),
            "incomplete_formats": False,
        }
        return next(iter(selector(context)), None)


def _media_http_error(error: HTTPError, label: str) -> EgressBlocked | SegmentTransient:
    if error.status == 429:
        return EgressBlocked(f"HTTP 429: {label}")
    if error.status == 403:
        return SegmentTransient(Reason.MEDIA_FORBIDDEN, f"{label}: HTTP 403")
    return SegmentTransient(Reason.HTTP_ERROR, f"{label}: {short(str(error))}")


def _stream(entry: Mapping[str, Any], listed: Listed) -> Stream:
    segmented = entry.get("protocol") != "https"
    # The codecs of a playlist may be unknown (None); those of a file are known.
    acodec, vcodec = (entry.get(key) or ("" if segmented else "none") for key in ("acodec", "vcodec"))
    size = entry.get("filesize") or entry.get("filesize_approx")
    bitrate = entry.get("tbr")
    available_at = entry.get("available_at")
    track = track_of(entry, listed)
    return Stream(
        url=str(entry["url"]),
        format_id=str(entry.get("format_id") or ""),
        container=str(entry.get("ext") or ""),
        codec=str(acodec if acodec != "none" else vcodec),
        has_audio=acodec != "none",
        has_video=vcodec != "none",
        size=int(size) if size and not segmented else None,
        bitrate=float(bitrate) * 1000 if bitrate else None,
        headers=dict(entry.get("http_headers") or {}),
        segmented=segmented,
        available_at=float(available_at) if available_at else None,
        language=track.language,
        track=track.kind,
    )
