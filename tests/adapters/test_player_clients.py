"""Which player clients are asked, and when a second question is worth its requests."""

from types import SimpleNamespace
from typing import Any

import pytest

from audioset_batch.adapters.player_clients import PlayerClients
from audioset_batch.errors import AudiosetBatchError, EgressBlocked, SegmentTransient, SegmentUnavailable
from audioset_batch.reasons import Reason


def ask(
    error: AudiosetBatchError | None,
    *,
    others: AudiosetBatchError | None = None,
    runtime: bool = True,
    lean: bool = True,
    own: bool = False,
) -> list[Any]:
    """The `player_client` of every question, where the lean clients answer with `error`, the others with `others`."""
    provider = SimpleNamespace(is_available=lambda: runtime)
    extractor = SimpleNamespace(
        _DEFAULT_JSLESS_CLIENTS=("easy",), _jsc_director=SimpleNamespace(providers={"one": provider})
    )
    choice: dict[str, Any] = {"player_client": ["mine"]} if own else {}
    params = {"extractor_args": {"youtube": choice}}
    clients = PlayerClients(params, extractor, lean=lean)
    asked: list[Any] = []

    def question() -> str:
        asked.append(choice.get("player_client"))
        if error is not None and choice.get("player_client") == ["easy"]:
            raise error
        if others is not None:
            raise others
        return "streams"

    try:
        assert clients.ask(question) == "streams"
    finally:
        assert choice == ({"player_client": ["mine"]} if own else {}), "the choice is put back"
    return asked


def test_streams_from_the_lean_clients_settle_it() -> None:
    assert ask(None) == [["easy"]]


@pytest.mark.parametrize("reason", [Reason.NONEXISTENT, Reason.NO_AUDIO, Reason.NO_VIDEO])
def test_what_may_be_the_clients_own_is_asked_of_the_others(reason: Reason) -> None:
    assert ask(SegmentUnavailable(reason, "")) == [["easy"], ["default", "-easy"]]


def test_no_formats_at_all_is_asked_of_the_others() -> None:
    assert ask(SegmentTransient(Reason.HTTP_ERROR, "No video formats found!")) == [["easy"], ["default", "-easy"]]


def test_the_first_answer_stands_where_the_others_know_nothing() -> None:
    with pytest.raises(SegmentUnavailable) as caught:
        ask(
            SegmentUnavailable(Reason.NO_AUDIO, ""),
            others=SegmentTransient(Reason.HTTP_ERROR, "No video formats found!"),
        )
    assert caught.value.reason == Reason.NO_AUDIO
    with pytest.raises(SegmentTransient, match="reset"):
        ask(SegmentUnavailable(Reason.NO_AUDIO, ""), others=SegmentTransient(Reason.NETWORK, "connection reset"))
    with pytest.raises(SegmentUnavailable) as caught:
        ask(SegmentUnavailable(Reason.NONEXISTENT, ""), others=SegmentUnavailable(Reason.PRIVATE, ""))
    assert caught.value.reason == Reason.PRIVATE
    with pytest.raises(EgressBlocked):
        ask(SegmentUnavailable(Reason.NONEXISTENT, ""), others=EgressBlocked("bot check"))


@pytest.mark.parametrize(
    "error",
    [
        SegmentUnavailable(Reason.REMOVED, "removed by the uploader"),
        SegmentUnavailable(Reason.PRIVATE, "Private video"),
        SegmentUnavailable(Reason.GEO_BLOCKED, "not in your country"),
        SegmentTransient(Reason.NETWORK, "connection reset"),
        EgressBlocked("HTTP 429"),
    ],
    ids=lambda error: type(error).__name__ + getattr(error, "reason", ""),
)
def test_facts_about_the_video_and_the_network_are_not_asked_twice(error: AudiosetBatchError) -> None:
    with pytest.raises(type(error)):
        ask(error)


def test_without_a_runtime_there_are_no_others_to_ask() -> None:
    with pytest.raises(SegmentUnavailable):
        ask(SegmentUnavailable(Reason.NONEXISTENT, ""), runtime=False)


def test_the_users_choice_and_the_switch_hold() -> None:
    assert ask(None, own=True) == [["mine"]]
    assert ask(None, lean=False) == [None]
