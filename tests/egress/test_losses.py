"""The counter behind the breaker: pure, without files and clock."""

import json
from dataclasses import asdict, replace

import pytest

from audioset_batch.egress.losses import DOUBTFUL, MAX_CUT, MAX_LOST, Losses, Throttle
from audioset_batch.reasons import Reason

HOUR = 3600.0
NOW = 1_800_000_000.0


def after(count: int, reason: str = Reason.MEDIA_FORBIDDEN, losses: Losses | None = None) -> Losses:
    """So many losses more."""
    losses = losses or Losses()
    for _ in range(count):
        losses = losses.lose(reason, "format 251: HTTP 403")
    return losses


@pytest.mark.parametrize(
    ("lost", "throttle"),
    [(0, Throttle.FULL), (DOUBTFUL - 1, Throttle.FULL), (DOUBTFUL, Throttle.SINGLE), (MAX_LOST, Throttle.PROBE)],
)
def test_the_course_by_what_was_lost(lost: int, throttle: Throttle) -> None:
    assert after(lost).throttle(NOW, HOUR) is throttle
    assert after(lost).untroubled == (throttle is Throttle.FULL)


def test_connections_that_fail_are_probed_sooner_and_any_answer_ends_that() -> None:
    losses = after(MAX_CUT, Reason.NETWORK)
    assert losses.throttle(NOW, HOUR) is Throttle.PROBE
    assert losses.answer().throttle(NOW, HOUR) is Throttle.SINGLE
    assert after(1, Reason.HTTP_ERROR, losses).throttle(NOW, HOUR) is Throttle.SINGLE
    assert after(MAX_CUT - 1, Reason.TIMEOUT).throttle(NOW, HOUR) is Throttle.FULL


def test_clips_make_up_for_losses_one_by_one() -> None:
    losses = after(MAX_LOST)
    for _ in range(MAX_LOST - DOUBTFUL + 1):
        losses = losses.serve(NOW)
    assert losses.throttle(NOW, HOUR) is Throttle.FULL
    assert losses.served_at == NOW
    assert Losses().serve(NOW) == Losses(), "nothing to write while all is well"


def test_a_good_probe_gives_a_second_chance_and_then_slow() -> None:
    cleared = after(MAX_LOST).passed(NOW)
    assert cleared.throttle(NOW, HOUR) is Throttle.FULL
    again = after(MAX_LOST, losses=cleared)
    assert again.throttle(NOW + 60, HOUR) is Throttle.SLOW
    assert again.throttle(NOW + HOUR, HOUR) is Throttle.PROBE, "one an hour"
    assert again.passed(NOW + HOUR).throttle(NOW + HOUR, HOUR) is Throttle.SLOW, "no third chance without a clip"
    assert again.serve(NOW + 61).throttle(NOW + 62, HOUR) is Throttle.SINGLE


def test_a_probe_for_a_broken_connection_says_nothing_about_other_losses() -> None:
    losses = after(MAX_CUT, Reason.NETWORK, after(10)).passed(NOW)
    assert (losses.lost, losses.cut, losses.cleared_at) == (10 + MAX_CUT, 0, 0.0)


def test_what_one_segment_loses_again_is_no_news_at_first() -> None:
    losses = after(1)
    for _ in range(3):
        losses = losses.lose(Reason.MEDIA_FORBIDDEN, "x", again=True)
    assert losses.lost == 1
    assert after(DOUBTFUL).lose(Reason.MEDIA_FORBIDDEN, "x", again=True).lost == DOUBTFUL + 1, "in doubt all count"


def test_counting_ends_so_that_writing_does() -> None:
    losses = after(MAX_LOST)
    assert losses.lose(Reason.HTTP_ERROR, "x") is losses


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        {"lost": "many"},
        {"lost": -3},
        {"cut": True},
        {"served_at": float("inf")},
        {"reasons": 7},
        {"reasons": {"network": "x"}},
        {"example": 1},
    ],
)
def test_what_another_program_wrote_is_refused_if_damaged(damage: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        Losses.from_values(damage)


def test_huge_counts_and_texts_are_cut() -> None:
    losses = Losses.from_values(
        {"lost": 10**9, "cut": 10**9, "example": "x" * 10_000, "cleared_at": NOW + 10**9, "reasons": {"no such": 1}}
    )
    assert (losses.lost, losses.cut, losses.reasons) == (MAX_LOST, MAX_CUT, {})
    assert len(losses.example) < 1000
    assert losses.throttle(NOW, HOUR) is Throttle.PROBE, "a probe of the future clears nothing"


def test_survives_json() -> None:
    losses = replace(after(7), served_at=NOW)
    assert Losses.from_values(json.loads(json.dumps(asdict(losses)))) == losses
