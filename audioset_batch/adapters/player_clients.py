"""Which of YouTube's player clients are asked: the lean ones first, others only if these settle nothing.

A lean client needs no player script, so its answer costs one request; with a JavaScript runtime on the PATH yt-dlp
asks further clients as well, for four requests on a first video and three on each later one. But the lean client is
not shown every kind of video (made for kids, for one), so its refusal may not be the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from audioset_batch.adapters.player_answers import PlayerAnswer
from audioset_batch.adapters.wordings import meaning_of
from audioset_batch.errors import SegmentError, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason

_T = TypeVar("_T")

_EMBEDDED: Final = ("web_embedded",)
"""yt-dlp's own fall-back for videos made for kids, which it recognises by a page that `player_skip` leaves out."""
_SCRIPTLESS: Final = ("android",)
"""Is shown every kind of video, and needs no script; of most videos it gives format 18 alone."""

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
"""Reasons that one client may give and another not; the others are facts about the video or the country. For age
yt-dlp asks further clients by itself."""


def _leaves_doubt(error: SegmentError, answers: Sequence[PlayerAnswer]) -> bool:
    """Whether other clients may know better; where none has answered at all, they cannot be reached either."""
    return bool(answers) and (error.reason in _MAY_DIFFER or not error.proven)


def _may_be_for_kids(answers: Sequence[PlayerAnswer]) -> bool:
    """Whether a client that is not shown such videos has refused without a cause, and its stand-in was not asked."""
    refused = any(not (one.sees_all or one.playable) and meaning_of(one.text) is None for one in answers)
    return refused and all(one.client != "WEB_EMBEDDED_PLAYER" for one in answers)


class PlayerClients:
    """Asks one question, of some clients and then of others.

    Args:
        params: The parameters of a `YoutubeDL`, whose `player_client` is set while a question is asked.
        extractor: Its YouTube extractor, which knows the lean clients.
        lean: False to leave the first choice to yt-dlp. A `player_client` of the user's own is the only choice.
    """

    def __init__(self, params: dict[str, Any], extractor: Any, *, lean: bool) -> None:
        self._choice: dict[str, Any] = params.setdefault("extractor_args", {}).setdefault("youtube", {})
        self._extractor = extractor
        self._own = "player_client" in self._choice
        self._lean = list(getattr(extractor, "_DEFAULT_JSLESS_CLIENTS", ())) if lean else []

    def ask(self, question: Callable[[], _T], answers: Callable[[], Sequence[PlayerAnswer]]) -> _T:
        """What the first clients that settle it say, else the last.

        Args:
            question: Asks the clients whose turn it is, and considers the answers of earlier ones as well.
            answers: All answers so far.

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
                    # Of several that cannot be fetched from, the first one's formats are those that were wanted.
                    if last is None or not last.reason is error.reason is Reason.NO_USABLE_FORMAT:
                        last = error
                    if not _leaves_doubt(error, answers()):
                        raise
            assert last is not None
            raise last
        finally:
            self._choice.pop("player_client", None)

    def _rounds(self, answers: Callable[[], Sequence[PlayerAnswer]]) -> Iterator[Sequence[str]]:
        """Clients in yt-dlp's names; nothing stands for its own choice."""
        yield self._lean
        if not self._has_runtime():
            yield _SCRIPTLESS
            return
        if self._lean:
            yield ("default", *(f"-{name}" for name in self._lean))
        if _may_be_for_kids(answers()):
            yield _EMBEDDED

    def _has_runtime(self) -> bool:
        """Whether yt-dlp has a JavaScript runtime: without one, most clients give it nothing to fetch."""
        try:
            return any(provider.is_available() for provider in self._extractor._jsc_director.providers.values())
        except AttributeError:
            return True
