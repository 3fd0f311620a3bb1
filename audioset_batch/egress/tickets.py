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
    """No resolve now. `seconds`: when to ask again; `until`: end of a pause (filesystem's time), 0 if there is none."""

    seconds: float
    until: float = 0.0
