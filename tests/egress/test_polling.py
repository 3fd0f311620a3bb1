"""Tasks that wait look at the shared folder seldom."""

from dataclasses import replace
from pathlib import Path

import pytest

from audioset_batch.config.schema import Egress, Probe
from audioset_batch.egress import EgressPool, Wait, slots
from audioset_batch.egress.losses import MAX_CUT, Losses
from audioset_batch.egress.polling import MAX_POLL_SECONDS, poll_seconds
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.slots import Reservation
from audioset_batch.sharedfs.lease import Holder

EGRESS = Egress(name="one", videos_per_hour=300)
OTHER = Holder(host="elsewhere", pid=7)
ASIDE = EgressState(losses=Losses(cut=MAX_CUT), prober=OTHER, prober_until=1050.0)


@pytest.mark.parametrize(
    ("state", "due", "pause_seconds", "expected"),
    [
        (EgressState(), None, 900, 2),
        (EgressState(), 1010.0, 900, 10),
        (EgressState(), 1000.5, 900, 2),
        (EgressState(), 5000.0, 900, MAX_POLL_SECONDS),
        (EgressState(paused=True, until=1030.0), None, 900, 30),
        (EgressState(paused=True, until=9000.0), None, 900, MAX_POLL_SECONDS),
        (EgressState(paused=True, until=990.0), None, 900, 2),
        (ASIDE, None, 900, 10),
        (ASIDE, None, 10, 1),
        (replace(ASIDE, prober_until=990.0), None, 900, 2),
    ],
)
def test_the_next_look_is_as_late_as_it_may_be(
    state: EgressState, due: float | None, pause_seconds: float, expected: float
) -> None:
    config = EGRESS.model_copy(update={"pause_seconds": pause_seconds})
    reservation = None if due is None else Reservation(0, 0, due)
    assert poll_seconds(config, state, reservation, Holder.current(), lambda: 1000.0) == expected


@pytest.mark.parametrize("why", ["paused", "no slot"])
def test_a_task_that_waits_looks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    limiters = [EGRESS.model_copy(update={"name": f"e{n}"}) for n in range(10)]
    with EgressPool(limiters, Probe(), tmp_path) as pool:
        for limiter in pool._limiters:
            state = limiter.slots.state(fresh=True)
            if why == "paused":
                until = limiter.now() + 3000
                limiter.shared.update(lambda s, until=until: replace(s, paused=True, epoch=1, until=until))  # type: ignore[misc]
            else:
                for slot in range(60):
                    slots.claim(limiter.shared.folder, state.grid_number, slot)
    looks: list[str] = []
    refresh = SharedEgress.refresh

    def counted(self: SharedEgress) -> EgressState:
        looks.append(self.folder.name)
        return refresh(self)

    monkeypatch.setattr(SharedEgress, "refresh", counted)
    with EgressPool([one.model_copy(update={"max_wait": 86400}) for one in limiters], Probe(), tmp_path) as pool:
        for _ in range(50):
            assert pool.probe_due() is None
            assert isinstance(pool.try_acquire(8), Wait)
    # a first one when it starts, and another before it finds that there is no slot
    assert all(1 <= looks.count(limiter.name) <= 3 for limiter in limiters), looks
