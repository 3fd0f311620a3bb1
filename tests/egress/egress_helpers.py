"""Pieces for the tests of egresses."""

import multiprocessing
from collections.abc import Sequence
from typing import Any

from audioset_batch.config.schema import Egress, Probe

FORK = multiprocessing.get_context("fork")
GOOD = ("aaaaaaaaaaa", "bbbbbbbbbbb")


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
    for last, time in enumerate(ordered):
        while ordered[first] <= time - window:
            first += 1
        most = max(most, last - first + 1)
    return most
