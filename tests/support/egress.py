"""Pieces for the tests of egresses."""

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from audioset_batch.config.schema import Egress, Probe
from audioset_batch.egress import EgressPool, Grant
from audioset_batch.egress.limiter import EgressLimiter
from audioset_batch.egress.shared import SharedEgress
from audioset_batch.sharedfs.lease import Holder
from tests.support.waiting import wait_until

FORK = multiprocessing.get_context("fork")
GOOD = ("aaaaaaaaaaa", "bbbbbbbbbbb")


START = time.time() - 1e5
"""Of a simulation. Files get the time of today, and nothing in a shared folder may be of the future."""


class Clock:
    """The filesystem's clock of a simulation, as one task reads it."""

    def __init__(self, world: list[float], off: float = 0.0) -> None:
        self.world = world
        self.off = off

    def now(self) -> float:
        return self.world[0] + self.off

    measure = now


def limiter(
    folder: Path,
    clock: Clock,
    name: str,
    burst: float = 0.0,
    hold: Callable[[], float] = lambda: math.inf,
    **config: Any,
) -> EgressLimiter:
    """One task's view of the egress `one`, by a clock of a simulation."""
    shared = SharedEgress(folder / "one")
    shared.clock = clock  # type: ignore[assignment]
    return EgressLimiter(egress(**config), probe(), shared, Holder.current(name), burst, hold)


def egress(**changes: Any) -> Egress:
    """Without a budget and with short pauses unless told otherwise."""
    values: dict[str, Any] = {
        "name": "one",
        "videos_per_hour": None,
        "pause_seconds": 0.4,
        "pause_max_seconds": 3.0,
        "max_wait": 3600.0,
    }
    return Egress(**(values | changes))


def probe(**changes: Any) -> Probe:
    """Two good videos."""
    return Probe(**({"ytids": GOOD} | changes))


def most_in_a_window(times: Sequence[float], window: float) -> int:
    """The most of `times` that lie in any half-open window."""
    ordered = sorted(times)
    most = first = 0
    for last, moment in enumerate(ordered):
        while ordered[first] <= moment - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def take(pool: EgressPool) -> Grant:
    """A grant for a segment."""

    def get() -> Grant | None:
        answer = pool.try_acquire()
        return answer if isinstance(answer, Grant) else None

    grant: Grant = wait_until(get, "a grant", 10)
    return grant
