"""Which of YouTube's player clients are asked: the lean ones first, the rest of yt-dlp's choice if they settle nothing.

A lean client needs no player script, so its answer costs one request; with a JavaScript runtime on the PATH yt-dlp
asks a second client as well, for four requests on a first video and three on each later one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from audioset_batch.adapters.youtube_errors import is_vague
from audioset_batch.errors import SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason

_T = TypeVar("_T")

_MAY_DIFFER: Final = frozenset({Reason.NONEXISTENT, Reason.NO_AUDIO, Reason.NO_VIDEO})
"""Reasons that one client may give and another not. The others are facts about the video or the country; for age
yt-dlp asks further clients by itself."""


class PlayerClients:
    """Asks one question, or the same question twice.

    Args:
        params: The parameters of a `YoutubeDL`, whose `player_client` is set while the lean clients are asked.
        extractor: Its YouTube extractor, which knows the lean clients.
        lean: False to leave the choice to yt-dlp from the start. A `player_client` of the user's own does so too.
    """

    def __init__(self, params: dict[str, Any], extractor: Any, *, lean: bool) -> None:
        self._choice: dict[str, Any] = params.setdefault("extractor_args", {}).setdefault("youtube", {})
        self._extractor = extractor
        own = "player_client" in self._choice
        self._lean = list(getattr(extractor, "_DEFAULT_JSLESS_CLIENTS", ())) if lean and not own else []

    def ask(self, question: Callable[[], _T]) -> _T:
        """The answer of the lean clients, or of the others where theirs may not be the last word.

        Raises:
            SegmentUnavailable, SegmentTransient, EgressBlocked: from `question`.
        """
        if not self._lean:
            return question()
        try:
            self._choice["player_client"] = self._lean
            try:
                return question()
            except (SegmentUnavailable, SegmentTransient) as error:
                if not self._leaves_doubt(error) or not self._there_are_more():
                    raise
                first = error
            self._choice["player_client"] = ["default", *(f"-{name}" for name in self._lean)]
            try:
                return question()
            except SegmentTransient as error:
                if is_vague(str(error)):  # they know nothing; so the first answer stands
                    raise first from error
                raise
        finally:
            del self._choice["player_client"]

    @staticmethod
    def _leaves_doubt(error: SegmentUnavailable | SegmentTransient) -> bool:
        if isinstance(error, SegmentUnavailable):
            return error.reason in _MAY_DIFFER
        return error.reason is Reason.NO_USABLE_FORMAT or is_vague(str(error))

    def _there_are_more(self) -> bool:
        """Whether yt-dlp would ask others: without a JavaScript runtime the lean ones are all there is."""
        try:
            return any(provider.is_available() for provider in self._extractor._jsc_director.providers.values())
        except AttributeError:
            return True
