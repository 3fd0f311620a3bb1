"""Drifts and outages as several tasks see them together: few resolves are lost, none is recorded against a video."""

import time
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.egress import EgressPool, Grant, Verdict, Wait, read_egress_status, read_pauses
from audioset_batch.egress.losses import MAX_CUT, MAX_LOST
from audioset_batch.errors import EgressExhausted
from audioset_batch.sharedfs.lease import Holder
from tests.support.egress import egress, probe, take
from tests.support.waiting import wait_until

ONE = egress(pause_seconds=0.3, pause_max_seconds=2.4)


def tasks(folder: Path, count: int, config: Any = ONE) -> list[EgressPool]:
    """So many tasks that share an egress; each could be on a node of its own."""
    return [EgressPool([config], probe(), folder, Holder.current(f"job{n}")) for n in range(count)]


def lose_all(pools: list[EgressPool], reason: str, rounds: int = 60, in_flight: int = 1) -> list[Grant]:
    """Every resolve of every task ends like that, for a while; what was granted."""
    lost: list[Grant] = []
    for _ in range(rounds):
        flying = []
        for pool in pools:
            for _ in range(in_flight):
                answer = pool.try_acquire()
                if isinstance(answer, Grant):
                    flying.append(answer)
        for grant in flying:
            grant.answered(reason, "format 251: HTTP 403")
        lost += flying
        look_again(pools)
    return lost


def look_again(pools: list[EgressPool]) -> None:
    """As after the time in which tasks look at the shared state at the latest."""
    for pool in pools:
        pool._limiters[0].slots.state(fresh=True)


@pytest.mark.parametrize("reason", ["media_forbidden", "no_usable_format", "unrecognized", "http_error", "internal"])
def test_a_drift_costs_few_resolves_whatever_the_number_of_tasks(tmp_path: Path, reason: str) -> None:
    pools = tasks(tmp_path, 12)
    lost = lose_all(pools, reason)
    assert len(lost) <= 25
    assert {grant.verdict() for grant in lost} == {Verdict.HOLD}
    (due,) = [grant for pool in pools if (grant := pool.probe_due())]
    assert all(isinstance(pool.try_acquire(), Wait) for pool in pools), "all wait for the probe"
    due.answered(reason, "format 251: HTTP 403")
    status = read_egress_status(tmp_path, [ONE])[0]
    assert (status.state, status.kind) == ("paused", "drift")
    assert "update yt-dlp" in status.detail and f"{reason}; the last: format 251: HTTP 403" in status.detail
    assert len(status.detail) <= 300
    assert status.until is not None and status.since is not None
    assert status.until - status.since == pytest.approx(4 * ONE.pause_seconds), "longer than a first ban"
    look_again(pools)
    assert {grant.verdict() for grant in lost} == {Verdict.DISCARD}, "their segments are pending again"
    due = wait_until(lambda: next((grant for pool in pools if (grant := pool.probe_due())), None), "a probe")
    due.answered("")
    assert take(pools[0]).answered("") is Verdict.RECORD
    (pause,) = read_pauses(tmp_path / "one")
    assert pause.kind == "drift" and pause.reopened is not None


def test_many_in_flight_at_the_beginning_of_a_drift(tmp_path: Path) -> None:
    pools = tasks(tmp_path, 2)
    assert len(lose_all(pools, "media_forbidden", in_flight=8)) <= 25


def test_a_drift_with_a_budget(tmp_path: Path) -> None:
    config = egress(pause_seconds=0.3, pause_max_seconds=2.4, videos_per_hour=200, window_seconds=2.0)
    pools = tasks(tmp_path, 3, config)
    lost = []

    def probing() -> Grant | None:
        for pool in pools:
            grant = pool.probe_due() or pool.try_acquire()
            if isinstance(grant, Grant) and grant.probe_ytid:
                return grant
            if isinstance(grant, Grant):
                lost.append(grant)
                grant.answered("http_error", "HTTP Error 400: Bad Request")
        return None

    due = wait_until(probing, "a probe")
    assert MAX_LOST <= len(lost) <= 25
    due.answered("http_error")
    assert read_pauses(tmp_path / "one")[0].kind == "drift"


def test_losses_among_clips_are_the_videos_own(tmp_path: Path) -> None:
    (pool,) = tasks(tmp_path, 1)
    for _ in range(40):
        lost = take(pool)
        assert lost.answered("media_forbidden", "x") is Verdict.HOLD
        take(pool).answered("")
        assert lost.verdict() is Verdict.RECORD
        assert pool.probe_due() is None


def test_a_clip_of_another_task_speaks_for_all(tmp_path: Path) -> None:
    a, b = tasks(tmp_path, 2)
    lost = take(a)
    lost.answered("network", "connection reset")
    time.sleep(0.05)  # two clocks of a filesystem, each a tick coarse
    look_again([b])
    take(b).answered("")
    look_again([a])
    assert lost.verdict() is Verdict.RECORD


def test_a_good_probe_lets_go_on_and_then_one_slot_in_twenty(tmp_path: Path) -> None:
    config = egress(pause_seconds=60.0, pause_max_seconds=600.0, videos_per_hour=600, window_seconds=2.0)
    (pool,) = tasks(tmp_path, 1, config)
    probes = lost = 0
    slots = set()

    def slow() -> bool:
        nonlocal probes, lost
        grant = pool.probe_due() or pool.try_acquire()
        if isinstance(grant, Grant) and grant.probe_ytid:
            probes += 1
            grant.answered("")
        elif isinstance(grant, Grant):
            lost += 1
            grant.answered("no_usable_format", "SABR only")
        return lost >= 2 * MAX_LOST

    wait_until(slow, "the slow course")
    assert probes == 1

    def tried() -> bool:
        grant = pool.try_acquire()
        reservation = pool._limiters[0].slots.reservation
        if reservation is not None:
            slots.add(reservation.slot)
        if isinstance(grant, Grant):
            grant.answered("no_usable_format", "SABR only")
        return len(slots) > 3

    wait_until(tried, "a try")
    assert all(slot % 20 == 0 for slot in slots)
    assert pool.probe_due() is None
    status = read_egress_status(tmp_path, [config])[0]
    assert status.state == "slow" and "one slot in 20" in status.detail
    with pytest.raises(EgressExhausted, match="stay pending"):
        pool.decide(0, "no_usable_format")


def test_few_losses_at_the_end_of_a_list_are_recorded_without_a_probe(tmp_path: Path) -> None:
    (pool,) = tasks(tmp_path, 1)
    lost = [take(pool) for _ in range(3)]
    assert {grant.answered("http_error", "x") for grant in lost} == {Verdict.HOLD}
    pool.decide(0, "http_error")
    assert {grant.verdict() for grant in lost} == {Verdict.RECORD}
    assert pool.probe_due() is None


# Outages


@pytest.mark.parametrize("reason", ["network", "timeout"])
def test_an_outage_pauses_briefly_and_longer_while_it_lasts(tmp_path: Path, reason: str) -> None:
    config = egress(pause_seconds=3.0, pause_max_seconds=30.0)
    pools = tasks(tmp_path, 3, config)
    lost = lose_all(pools, reason)
    assert len(lost) <= MAX_CUT + len(pools)
    lengths = []
    for _ in range(3):
        due = wait_until(lambda: next((grant for pool in pools if (grant := pool.probe_due())), None), "a probe")
        due.answered(reason, "cannot connect to proxy")
        status = read_egress_status(tmp_path, [config])[0]
        assert (status.state, status.kind) == ("paused", "outage")
        assert "cannot be reached" in status.detail and "cannot connect to proxy" in status.detail
        lengths.append(pools[due._pool is pools[1]]._limiters[0].shared.refresh().until - due._limiter.now())
    assert lengths == pytest.approx([0.2, 0.4, 0.8], abs=0.1)
    due = wait_until(lambda: next((grant for pool in pools if (grant := pool.probe_due())), None), "a probe")
    due.answered("")
    look_again(pools)
    assert all(isinstance(pool.try_acquire(), Grant) for pool in pools)
    assert {grant.verdict() for grant in lost} == {Verdict.DISCARD}


def test_a_dead_egress_takes_nothing_with_it(tmp_path: Path) -> None:
    dead, good = egress(name="dead", pause_seconds=60.0), egress(name="good")
    pool = EgressPool([dead, good], probe(), tmp_path)
    lost = []
    for _ in range(60):
        grant = pool.probe_due() or pool.try_acquire()
        assert isinstance(grant, Grant), "the good one is always there"
        if grant.name == "good":
            grant.answered("")
        else:
            grant.answered("network", "connection refused")
            lost += [] if grant.probe_ytid else [grant]
    assert len(lost) == MAX_CUT
    assert {grant.verdict() for grant in lost} == {Verdict.DISCARD}


def test_one_flaky_server_fails_its_own_videos_alone(tmp_path: Path) -> None:
    (pool,) = tasks(tmp_path, 1)
    lost = [take(pool) for _ in range(3)]
    for grant in lost:
        grant.answered("network", "reset by peer")
    pool.decide(0, "network")
    assert {grant.verdict() for grant in lost} == {Verdict.HOLD}, "nothing shows yet that the network is there"
    wait_until(pool.probe_due, "a probe").answered("")
    assert {grant.verdict() for grant in lost} == {Verdict.RECORD}
    assert read_pauses(tmp_path / "one") == []


def test_a_ban_is_remembered_through_an_outage(tmp_path: Path) -> None:
    config = egress(pause_seconds=0.3, pause_max_seconds=10.0)
    (pool,) = tasks(tmp_path, 1, config)
    take(pool).blocked("bot check")
    wait_until(pool.probe_due, "a probe").answered("network", "no route")
    wait_until(pool.probe_due, "a probe").blocked("bot check")
    state = pool._limiters[0].shared.refresh()
    assert (state.kind, state.streak) == ("bot check", 2)
    assert state.until - pool._limiters[0].now() == pytest.approx(0.6, abs=0.1)
