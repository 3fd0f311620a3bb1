"""What a lane answers: leave for a resolve, or not now."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave for one resolve: its number within the lane, the epoch it belongs to, and the video if it is a probe.

    `start_by` and `begun` are times of `boot_time`.
    """

    serial: int
    epoch: int
    probe: str = ""
    start_by: float = math.inf
    begun: float = 0.0


@dataclass(frozen=True, slots=True)
class Closed:
    """No resolve now.

    Attributes:
        seconds: When to ask again.
        until: End of a pause, 0 if there is none.
        slot_at: Begin of the next slot that can be had, 0 if that is not what is waited for.

    Both are times of the filesystem's clock.
    """

    seconds: float
    until: float = 0.0
    slot_at: float = 0.0
