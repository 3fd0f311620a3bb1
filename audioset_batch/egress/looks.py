"""How long a task need not look at the shared folder of an egress: nothing that others do there concerns it meanwhile.

Hundreds of tasks may wait for one egress, and each look is some metadata operations of a shared filesystem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from audioset_batch.config.schema import Egress
from audioset_batch.egress.shared import EgressState
from audioset_batch.egress.slots import Reservation
from audioset_batch.sharedfs.lease import Holder

LONGEST_LOOK: Final = 60.0
"""Of what a user does by hand, as removing the folder, a waiting task knows after so many seconds."""
_SHORTEST_LOOK: Final = 2.0
_ASIDE_SHARE: Final = 0.1
_MOST_ASIDE: Final = 10.0


def shortest_look(config: Egress) -> float:
    """Seconds between two looks of a task that is busy, or about to be."""
    return min(_SHORTEST_LOOK, config.pause_seconds / 10)


def seconds_to_look(
    config: Egress, state: EgressState, reservation: Reservation | None, me: Holder, now: Callable[[], float]
) -> float:
    """Seconds from one look to the next.

    Args:
        config: The egress.
        state: What that look has shown.
        reservation: The slot that this task waits for.
        me: This task.
        now: The filesystem's clock; left alone where nothing depends on it.
    """
    longest = shortest_look(config)
    if state.paused:
        longest = state.until - now()  # a probe may end it or make it longer, but none comes before
    elif not state.losses.untroubled and state.prober is not None and state.probed_by_another(me, now()):
        longest = min(_MOST_ASIDE, _ASIDE_SHARE * config.pause_seconds)  # what it learns is known here that much later
    elif reservation is not None:
        longest = reservation.due - now()  # it is looked at again before it is used
    return min(LONGEST_LOOK, max(shortest_look(config), longest))
