"""Find the causes of an error of yt-dlp, by its `exc_info`, its `cause`, and Python's exception chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import DownloadError, GeoRestrictedError, UserNotLive

from audioset_batch.youtube.refusals import Failure


def failure_of(error: BaseException) -> Failure:
    """Describe an error and its causes by plain values."""
    causes = _causes(error)
    http = next((cause for cause in causes if isinstance(cause, HTTPError)), None)
    if any(isinstance(cause, UserNotLive) for cause in causes):
        return Failure("This live event is offline")
    return Failure(
        message=str(error),
        http_status=None if http is None else http.status,
        transport=any(isinstance(cause, TransportError) for cause in causes),
        geo_restricted=any(isinstance(cause, GeoRestrictedError) for cause in causes),
    )


def _causes(error: BaseException) -> Sequence[BaseException]:
    chain: list[BaseException] = []
    queue: list[Any] = [error]
    while queue and len(chain) < 12:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in chain:
            continue
        chain.append(current)
        info = getattr(current, "exc_info", None)
        if isinstance(current, DownloadError) and info:
            queue.append(info[1])
        queue += [getattr(current, "cause", None), current.__cause__, current.__context__]
    return chain
