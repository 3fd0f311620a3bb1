"""Request the page to which a PO token is bound, if a token is needed and available.

yt-dlp asks its provider plugins for a token only if it has visitor data, which come from a page that
`youtube.player_skip` leaves out. Lean clients need no token, so they still cost one request.
"""

from __future__ import annotations

from typing import Any, Final

_PAGE: Final = "webpage"


class TokenPages:
    """Decides for each round of clients whether the watch page is left out.

    Args:
        params: The parameters of a `YoutubeDL`.
        extractor: Its YouTube extractor.
        own: True if `player_skip` is from `youtube.args`; then it is not changed.
    """

    def __init__(self, params: dict[str, Any], extractor: Any, *, own: bool) -> None:
        self._choice: dict[str, Any] = params.setdefault("extractor_args", {}).setdefault("youtube", {})
        self._extractor = extractor
        self._skip: list[str] = list(self._choice.get("player_skip", ()))
        self._may_change = not own and _PAGE in self._skip

    def before_asking(self) -> None:
        """Set `player_skip` for the clients that are asked next."""
        if self._may_change:
            skip = [part for part in self._skip if part != _PAGE] if self._needs_page() else self._skip
            self._choice["player_skip"] = skip

    def _needs_page(self) -> bool:
        if self._choice.get("visitor_data"):
            return False
        lean = set(getattr(self._extractor, "_DEFAULT_JSLESS_CLIENTS", ()))
        asked = set(self._choice.get("player_client") or ())
        if asked and asked <= lean:
            return False
        return bool(self._choice.get("po_token") or providers(self._extractor))


def providers(extractor: Any) -> list[str]:
    """Names of yt-dlp's PO token providers that report that they are available."""
    extractor.initialize()
    director = getattr(extractor, "_pot_director", None)
    return [one.PROVIDER_NAME for one in getattr(director, "providers", {}).values() if one.is_available()]
