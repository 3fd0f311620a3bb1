"""Which of YouTube's player clients are asked: the lean ones first, all of yt-dlp's choice when these settle nothing.

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

_MAY_DIFFER: Final = frozenset({Reason.LOGIN_REQUIRED, Reason.NONEXISTENT, Reason.NO_AUDIO, Reason.NO_VIDEO})
"""Reasons that one client may give and another not; the others are facts about the video or the country."""


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
        """The answer of the lean clients, or of yt-dlp's own choice where theirs may not be the last word.

        Raises:
            SegmentUnavailable, SegmentTransient, EgressBlocked: from `question`.
        """
        if not self._lean:
            return question()
        self._choice["player_client"] = self._lean
        try:
            return question()
        except SegmentUnavailable as error:
            if error.reason not in _MAY_DIFFER or not self._there_are_more():
                raise
        except SegmentTransient as error:
            if not is_vague(str(error)) or not self._there_are_more():
                raise
        finally:
            del self._choice["player_client"]
        return question()

    def _there_are_more(self) -> bool:
        """Whether yt-dlp would ask others: without a JavaScript runtime the lean ones are all there is."""
        try:
            return any(provider.is_available() for provider in self._extractor._jsc_director.providers.values())
        except AttributeError:
            return True
