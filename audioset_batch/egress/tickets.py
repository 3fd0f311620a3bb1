"""Answers of an egress limiter: a ticket for a resolve, or not now."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ticket:
    """Permission for one resolve.

    Attributes:
        serial: Its number within this task.
        epoch: Number of pauses before it.
        probe: The video, if it is a probe; else "".
        start_by: A time of `boot_time` by which it must start.
        begun: When it was issued, a time of `boot_time`.
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
        until: End of the pause; 0 if there is none. A time of the filesystem's clock.
        slot_at: Start of the next slot; 0 if it does not wait for one. A time of the filesystem's clock.
    """

    seconds: float
    until: float = 0.0
    slot_at: float = 0.0
