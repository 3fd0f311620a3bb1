"""Choose which of YouTube's player clients are asked: the lean ones first, others only if these decide nothing.

A lean client needs no player script, so its answer costs one request. With a JavaScript runtime on the PATH yt-dlp also
asks other clients, with four requests for the first video and three for each later one. But a lean client cannot play
every kind of video (those made for kids, for example), so its refusal may not be final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from audioset_batch.errors import SegmentError, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason
from audioset_batch.youtube.player_answers import PlayerAnswer
from audioset_batch.youtube.wordings import meaning_of

_T = TypeVar("_T")

_EMBEDDED: Final = ("web_embedded",)
"""yt-dlp's own fallback for videos made for kids, which it recognizes by a page that `player_skip` leaves out."""
_SCRIPTLESS: Final = ("android",)
"""Plays every kind of video and needs no script, but offers only format 18 of most videos."""

_MAY_DIFFER: Final = frozenset(
    {
        Reason.NO_AUDIO,
        Reason.NO_VIDEO,
        Reason.FORMAT_UNAVAILABLE,
        Reason.NO_USABLE_FORMAT,
        Reason.UNRECOGNIZED,
        Reason.HTTP_ERROR,
    }
)
"""Reasons that may differ between clients; the others are facts about the video or the country. For age restrictions
yt-dlp asks other clients by itself."""


def _inconclusive(error: SegmentError, answers: Sequence[PlayerAnswer]) -> bool:
    """True if other clients may answer otherwise. If none has answered at all, they cannot be reached either."""
    return bool(answers) and (error.reason in _MAY_DIFFER or not error.proven)


def _may_be_for_kids(answers: Sequence[PlayerAnswer]) -> bool:
    """True if a client that cannot play such videos has refused without a cause, and the embedded one was not asked."""
    refused = any(not (one.plays_all_videos or one.playable) and meaning_of(one.text) is None for one in answers)
    return refused and all(one.client != "WEB_EMBEDDED_PLAYER" for one in answers)


class PlayerClients:
    """Resolves a video with some clients, and then with others if need be.

    Args:
        params: The parameters of a `YoutubeDL`, whose `player_client` is set during a resolve.
        extractor: Its YouTube extractor, which knows the lean clients.
        lean: False to leave the first choice to yt-dlp. If the user sets `player_client`, only those are asked.
    """

    def __init__(self, params: dict[str, Any], extractor: Any, *, lean: bool) -> None:
        self._choice: dict[str, Any] = params.setdefault("extractor_args", {}).setdefault("youtube", {})
        self._extractor = extractor
        self._own = "player_client" in self._choice
        self._lean = list(getattr(extractor, "_DEFAULT_JSLESS_CLIENTS", ())) if lean else []

    def ask(self, question: Callable[[], _T], answers: Callable[[], Sequence[PlayerAnswer]]) -> _T:
        """The answer of the first clients that decide the outcome, else of the last ones.

        Args:
            question: Asks the clients that are set, and considers the answers of earlier ones as well.
            answers: Returns all answers so far.

        Raises:
            SegmentUnavailable, SegmentTransient, EgressBlocked: from `question`.
        """
        if self._own:
            return question()
        last: SegmentError | None = None
        try:
            for clients in self._rounds(answers):
                if clients:
                    self._choice["player_client"] = list(clients)
                try:
                    return question()
                except (SegmentUnavailable, SegmentTransient) as error:
                    # If several offer nothing usable, report the first one, whose formats are the preferred ones.
                    if last is None or not last.reason is error.reason is Reason.NO_USABLE_FORMAT:
                        last = error
                    if not _inconclusive(error, answers()):
                        raise
            assert last is not None
            raise last
        finally:
            self._choice.pop("player_client", None)

    def _rounds(self, answers: Callable[[], Sequence[PlayerAnswer]]) -> Iterator[Sequence[str]]:
        """Names of clients for each round; an empty list leaves the choice to yt-dlp."""
        yield self._lean
        if not self._has_runtime():
            yield _SCRIPTLESS
            return
        if self._lean:
            yield ("default", *(f"-{name}" for name in self._lean))
        if _may_be_for_kids(answers()):
            yield _EMBEDDED

    def _has_runtime(self) -> bool:
        """True if yt-dlp has a JavaScript runtime; without one, most clients offer it nothing to fetch."""
        try:
            return any(provider.is_available() for provider in self._extractor._jsc_director.providers.values())
        except AttributeError:
            return True
