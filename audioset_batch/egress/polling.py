"""How often a task reads the shared state of an egress.

Hundreds of tasks may wait for one egress, and each read costs some metadata operations on a shared filesystem. A task
therefore does not read while nothing that others write can concern it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from audioset_batch.config.schema import Egress
from audioset_batch.egress.shared import EgressState
from audioset_batch.egress.slots import Reservation
from audioset_batch.sharedfs.lease import Holder

MAX_POLL_SECONDS: Final = 60.0
"""A waiting task notices changes by hand, such as the removal of the folder, after at most so many seconds."""
_MIN_POLL_SECONDS: Final = 2.0
_STANDBY_SHARE: Final = 0.1
_MAX_STANDBY_SECONDS: Final = 10.0


def min_poll_seconds(config: Egress) -> float:
    """Seconds between two reads of a task that is busy, or about to be."""
    return min(_MIN_POLL_SECONDS, config.pause_seconds / 10)


def poll_seconds(
    config: Egress, state: EgressState, reservation: Reservation | None, me: Holder, now: Callable[[], float]
) -> float:
    """Seconds from one read of the shared state to the next.

    Args:
        config: The egress.
        state: The state that was read.
        reservation: The slot that this task waits for, if any.
        me: This task.
        now: Returns the filesystem's time; only called if needed.
    """
    longest = min_poll_seconds(config)
    if state.paused:
        longest = state.until - now()  # no probe changes a pause before its end
    elif not state.losses.untroubled and state.prober is not None and state.probed_by_another(me, now()):
        longest = min(
            _MAX_STANDBY_SECONDS, _STANDBY_SHARE * config.pause_seconds
        )  # its result is seen here by so much later
    elif reservation is not None:
        longest = reservation.due - now()  # the state is read again before the slot is used
    return min(MAX_POLL_SECONDS, max(min_poll_seconds(config), longest))
