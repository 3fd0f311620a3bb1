"""Leave manifests (HLS, DASH) out of a resolve; fetch an HLS manifest only if no other format can be used.

Nearly every answer of YouTube contains the URL of one, and yt-dlp would fetch it: a second request for each video, 20 s
of waiting if the manifest's host does not answer, and a pause of the egress after a 429 from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from audioset_batch.youtube.formats import Format, Listed

_MANIFESTS: Final = ("hls", "dash")
_LIVE: Final = ("is_live", "is_upcoming", "post_live")


class Manifests:
    """Wraps the listing of formats in yt-dlp's YouTube extractor.

    Args:
        extractor: yt-dlp's YouTube extractor.
        params: The parameters of its `YoutubeDL`.
        lacking: Says whether these formats are not enough for a video whose answers list this.

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
        """As `YoutubeIE._list_formats`, with the formats of the HLS manifests if the others are not enough."""

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
