"""Budgets of a few videos an hour: waits for the slot of a probe, and what is asked again before a slot is used."""

import dataclasses
import math
import time
from pathlib import Path

import pytest

from audioset_batch.egress import EgressPool, Grant, Wait
from audioset_batch.egress.limiter import EgressLimiter
from audioset_batch.egress.losses import DOUBTFUL, MAX_LOST, Losses
from audioset_batch.egress.shared import EgressState
from audioset_batch.egress.tickets import Closed, Ticket
from audioset_batch.errors import EgressExhausted
from tests.support.egress import START, Clock, egress, limiter, probe

BUDGET = {"videos_per_hour": 1.0, "pause_seconds": 60.0, "pause_max_seconds": 60.0}
INTERVAL = 3600 + 180 + 10


def pool_of(folder: Path, world: list[float], hold: list[float]) -> EgressPool:
    pool = EgressPool([egress(**BUDGET)], probe(), folder, hold_seconds=lambda: hold[0])
    pool._limiters[0].shared.clock = Clock(world)  # type: ignore[assignment]
    return pool


def take(pool: EgressPool, world: list[float]) -> Grant:
    """A grant for a segment, whenever its slot comes."""
    while not isinstance(answer := pool.try_acquire(), Grant):
        world[0] += max(0.02, answer.seconds)
    return answer


@pytest.mark.parametrize("trouble", ["a ban", "losses", "videos that do not exist"])
def test_the_slot_of_a_probe_is_waited_for_like_any_other(tmp_path: Path, trouble: str) -> None:
    world, hold = [START], [math.inf]
    pool = pool_of(tmp_path, world, hold)
    if trouble == "a ban":
        take(pool, world).blocked("bot check")
        world[0] += 61
    elif trouble == "losses":
        take(pool, world).answered("")
        drift(pool._limiters[0])
    else:
        for _ in range(4):
            take(pool, world).answered("nonexistent")
    hold[0] = 3 * INTERVAL
    assert pool.probe_due() is None
    assert isinstance(pool.try_acquire(), Wait), "it may wait so long"
    hold[0] = 600.0
    begun = world[0]
    with pytest.raises(EgressExhausted, match=r"closed for longer than worker\.hold_seconds") as caught:
        pool.try_acquire()
    assert caught.value.reopens_at is not None
    pool.close()
    back = pool_of(tmp_path, world, hold)
    if trouble == "videos that do not exist":
        return  # of which only the first task knew
    world[0] = caught.value.reopens_at - time.time() + begun
    while (due := back.probe_due()) is None:
        world[0] += 1.0
        assert world[0] < begun + INTERVAL + 180, "another task has the slot that was given back"
    assert due.probe_ytid


def drift(one: EgressLimiter, lost: int = MAX_LOST) -> None:
    change(one, losses=Losses(lost=lost))


def change(one: EgressLimiter, **values: object) -> None:
    def changed(state: EgressState) -> EgressState:
        return dataclasses.replace(state, **values)  # type: ignore[arg-type]

    one.shared.update(changed)


def waiting(one: EgressLimiter, world: list[float]) -> None:
    """Let it have a slot, and wait until that is due."""
    while one.slots.reservation is None:
        answer = one.try_ticket()
        assert isinstance(answer, Closed)
    assert one.slots.reservation is not None
    world[0] = one.slots.reservation.due + 0.1


@pytest.mark.parametrize("what", ["a pause", "many losses", "another resolves alone"])
def test_what_others_found_out_meanwhile_decides_over_a_slot_that_is_due(tmp_path: Path, what: str) -> None:
    world = [START]
    one, other = (limiter(tmp_path, Clock(world), name, **BUDGET) for name in ("one", "other"))
    other.try_ticket(may_reserve=False)
    waiting(one, world)
    if what == "a pause":
        change(other, paused=True, epoch=1, since=world[0], until=world[0] + 50)
    elif what == "many losses":
        drift(other)
    else:
        drift(other, DOUBTFUL)
        assert other._role.take(600.0)
    assert isinstance(one.try_ticket(), Closed)
    if what == "many losses":
        ticket = one.try_probe()
        assert ticket is not None and ticket.probe, "the slot is good for the probe"
    else:
        assert one.try_probe() is None
        assert isinstance(one.try_ticket(), Closed)
        assert one.slots.reservation is None
        assert not list((tmp_path / "one").glob("slot.*")), "others may have it"


def test_a_probe_that_another_task_has_made_is_not_made_again(tmp_path: Path) -> None:
    world = [START]
    one, other = (limiter(tmp_path, Clock(world), name, **BUDGET) for name in ("one", "other"))
    other.try_ticket(may_reserve=False)
    drift(one)
    assert one.try_probe() is None and one.slots.reservation is not None
    world[0] = one.slots.reservation.due - 0.1
    assert one.try_probe() is None, "but it is going to probe"
    world[0] += 0.2
    change(other, losses=Losses(reached_at=world[0]), prober=None)
    assert one.try_probe() is None
    ticket = one.try_ticket()
    assert isinstance(ticket, Ticket) and not ticket.probe
