"""Manifests (HLS, DASH) are left out of a resolve, and an HLS one is fetched only where nothing else can be taken.

YouTube sends the address of one with nearly every answer, and yt-dlp would fetch it: a second request for each video,
20 s where the manifest's host is silent, and a pause of the egress after its 429.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from audioset_batch.adapters.formats import Format, Listed

_MANIFESTS: Final = ("hls", "dash")
_LIVE: Final = ("is_live", "is_upcoming", "post_live")


class Manifests:
    """Takes part in the extractor's listing of formats.

    Args:
        extractor: yt-dlp's YouTube extractor.
        params: The parameters of its `YoutubeDL`.
        lacking: Whether formats, of a video that lists these, are not enough.

    Attributes:
        listed: What the answers of the last resolve listed.
    """

    def __init__(self, extractor: Any, params: dict[str, Any], lacking: Callable[[list[Format], Listed], bool]) -> None:
        self._choice: dict[str, Any] = params.setdefault("extractor_args", {}).setdefault("youtube", {})
        self._users = list(self._choice.get("skip", ()))
        self._lacking = lacking
        self._list_formats = extractor._list_formats
        self.listed = Listed()
        self._choice["skip"] = [*self._users, *_MANIFESTS]
        extractor._list_formats = self._list

    def _list(
        self, video_id: str, microformats: Any, video_details: Any, answers: Any, player_url: Any, duration: Any = None
    ) -> Any:
        """As `YoutubeIE._list_formats`; with the formats of the HLS manifests where the others are not enough."""

        def ask() -> Any:
            return self._list_formats(video_id, microformats, video_details, answers, player_url, duration)

        found = ask()
        self.listed = Listed.of(answers)
        _, live_status, formats, _ = found
        if (
            not self.listed.manifest
            or "hls" in self._users
            or live_status in _LIVE
            or not self._lacking(formats, self.listed)
        ):
            return found
        self._choice["skip"] = [*self._users, "dash"]
        try:
            return ask()
        finally:
            self._choice["skip"] = [*self._users, *_MANIFESTS]
