"""Which player clients are asked, and when another question is worth its requests."""

from types import SimpleNamespace
from typing import Any

import pytest

from audioset_batch.errors import AudiosetBatchError, EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason
from audioset_batch.youtube.player_answers import PlayerAnswer
from audioset_batch.youtube.player_clients import PlayerClients

LEAN = ["visionos"]
REST = ["default", "-visionos"]
EMBEDDED = ["web_embedded"]
ANDROID = ["android"]
REFUSED = PlayerAnswer("VISIONOS", "UNPLAYABLE", ("This video is not available",))
PLAYABLE = PlayerAnswer("VISIONOS", "OK", streams=True)
UNSETTLED = SegmentTransient(Reason.UNRECOGNIZED, "")


def ask(
    *errors: AudiosetBatchError,
    answers: tuple[PlayerAnswer, ...] = (REFUSED,),
    runtime: bool = True,
    lean: bool = True,
    own: bool = False,
) -> list[Any]:
    """The `player_client` of every question, where the first ones end in `errors`."""
    provider = SimpleNamespace(is_available=lambda: runtime)
    extractor = SimpleNamespace(
        _DEFAULT_JSLESS_CLIENTS=("visionos",), _jsc_director=SimpleNamespace(providers={"one": provider})
    )
    choice: dict[str, Any] = {"player_client": ["mine"]} if own else {}
    clients = PlayerClients({"extractor_args": {"youtube": choice}}, extractor, lean=lean)
    asked: list[Any] = []

    def question() -> str:
        asked.append(choice.get("player_client"))
        if len(asked) <= len(errors):
            raise errors[len(asked) - 1]
        return "streams"

    try:
        assert clients.ask(question, lambda: answers) == "streams"
    except (SegmentTransient, SegmentUnavailable) as error:
        assert error is errors[len(asked) - 1], "the last answer counts: it considers all"
        asked.append(error.reason)
    finally:
        assert choice == ({"player_client": ["mine"]} if own else {}), "the choice is put back"
    return asked


def test_streams_from_the_lean_clients_settle_it() -> None:
    assert ask() == [LEAN]


@pytest.mark.parametrize(
    "error",
    [
        SegmentUnavailable(Reason.NO_AUDIO, ""),
        SegmentUnavailable(Reason.NO_VIDEO, ""),
        SegmentUnavailable(Reason.FORMAT_UNAVAILABLE, ""),
        SegmentUnavailable(Reason.REMOVED, "by youtube.wordings", proven=False),
        SegmentTransient(Reason.NO_USABLE_FORMAT, ""),
        SegmentTransient(Reason.HTTP_ERROR, "The page needs to be reloaded"),
        UNSETTLED,
    ],
    ids=lambda error: error.reason,
)
def test_what_may_be_the_clients_own_is_asked_of_the_others(error: AudiosetBatchError) -> None:
    assert ask(error) == [LEAN, REST]
    assert ask(error, runtime=False) == [LEAN, ANDROID]


def test_the_embedded_player_is_the_last_to_be_asked_of_what_may_be_for_kids() -> None:
    assert ask(UNSETTLED, UNSETTLED) == [LEAN, REST, EMBEDDED]
    assert ask(UNSETTLED, UNSETTLED, UNSETTLED) == [LEAN, REST, EMBEDDED, Reason.UNRECOGNIZED]
    assert ask(UNSETTLED, UNSETTLED, answers=(PLAYABLE,)) == [LEAN, REST, Reason.UNRECOGNIZED]
    there = PlayerAnswer("WEB_EMBEDDED_PLAYER", "UNPLAYABLE")
    assert ask(UNSETTLED, UNSETTLED, answers=(REFUSED, there)) == [LEAN, REST, Reason.UNRECOGNIZED]
    assert ask(UNSETTLED, UNSETTLED, runtime=False) == [LEAN, ANDROID, Reason.UNRECOGNIZED]


@pytest.mark.parametrize(
    "error",
    [
        SegmentUnavailable(Reason.REMOVED, "removed by the uploader"),
        SegmentUnavailable(Reason.NONEXISTENT, "from a client that would know"),
        SegmentUnavailable(Reason.GEO_BLOCKED, "not in your country"),
        SegmentTransient(Reason.NETWORK, "connection reset"),
    ],
    ids=lambda error: error.reason,
)
def test_facts_about_the_video_and_the_network_are_not_asked_twice(error: SegmentUnavailable) -> None:
    assert ask(error) == [LEAN, error.reason]


def test_a_ban_ends_it_and_so_does_silence() -> None:
    with pytest.raises(EgressBlocked):
        ask(EgressBlocked("bot check"))
    assert ask(UNSETTLED, answers=()) == [LEAN, Reason.UNRECOGNIZED]


def test_the_users_choice_and_the_switch_hold() -> None:
    assert ask(UNSETTLED, own=True) == [["mine"], Reason.UNRECOGNIZED]
    assert ask(lean=False) == [None]
    assert ask(UNSETTLED, lean=False) == [None, EMBEDDED]
