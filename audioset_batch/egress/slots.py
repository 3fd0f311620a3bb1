"""Time slots for resolves, each of which one task of all can claim once.

Slot k is claimed by creating a file exclusively, which works on any shared filesystem, and is good for one resolve that
starts within `[start + k I, start + k I + J)`. With `I = (W + J) / n`, for a budget of n per window of W seconds, no
window holds more than n starts: of m starts in a window, at most one per slot, the first and the last lie at least
`(m - 1) I - J` apart. They lie less than W apart, so `m - 1 < (W + J) / I = n`, and m is at most n. J is the sum of
`spread`, in which the jitter places the start, and `slack`, for differing clocks and for the time from the grant to the
request. Nothing depends on a claimer being alive: one that is killed wastes its slot.

With a burst of B seconds J is larger by B: a slot is valid for so much longer, I grows, and the same proof holds, since
it does not depend on when a slot is used while it is valid. A task that was away may then start many resolves one after
the other. So that no two of any tasks are close together, time is also divided into ticks of at most three seconds: a
resolve needs a slot and a tick, which is claimed in the same way, and starts in the first third of its tick.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.sharedfs.folders import Folder

_PREFIX: Final = "slot."
_TICK_PREFIX: Final = "tick."
_TICK_SECONDS: Final = 3.0
_TICKS_KEPT: Final = 60.0
_BEFORE_THE_END: Final = 120.0
_SLACK_SHARE: Final = 0.05
_SLACK_MOST: Final = 10.0
_SPREAD_SHARE: Final = 0.05
_HORIZON_SECONDS: Final = 30.0
_KEPT: Final = 400
_MAX_BUDGET: Final = 1e9
_LONGEST_WINDOW: Final = 31 * 86400.0
_LONGEST_BURST: Final = 86400.0
_PRUNED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Grid:
    """The slots of one egress; times are Unix times of the filesystem's clock.

    Attributes:
        start: Start of slot 0.
        budget: Resolves per window, > 0; less than one means one in `window / budget` seconds.
        window: Length of the window, seconds.
        burst: How long a slot may be used later than its time, seconds.
    """

    start: float
    budget: float
    window: float
    burst: float = 0.0

    @property
    def per_window(self) -> float:
        """Resolves per window, n above: rounded down, unless it is less than one."""
        return float(math.floor(self.budget)) if self.budget >= 1 else self.budget

    @property
    def slack(self) -> float:
        """Seconds that a resolve may start late."""
        return min(_SLACK_MOST, _SLACK_SHARE * self.window)

    @property
    def spread(self) -> float:
        """Width of the jitter, seconds: half a slot, or less for small budgets."""
        return min(0.5 * self.window / self.per_window, _SPREAD_SHARE * self.window)

    @property
    def lateness(self) -> float:
        """Seconds for which a slot is valid, J above."""
        return self.spread + self.slack + self.burst

    @property
    def interval(self) -> float:
        """Seconds from the start of one slot to that of the next, I above."""
        return (self.window + self.lateness) / self.per_window

    @property
    def tick(self) -> float:
        """Seconds from one tick to the next; at most a slot, or the budget could not be used up."""
        return min(_TICK_SECONDS, self.interval)

    @property
    def sleep(self) -> float:
        """Seconds that a task may be away without losing a slot, minus some time to come back."""
        return self.burst - min(_BEFORE_THE_END, self.burst / 4)

    def is_sane(self, written_at: float) -> bool:
        """False for slots that no task can have written at `written_at`, such as ones that start in the far future."""
        if not (
            0 < self.budget <= _MAX_BUDGET and 0 < self.window <= _LONGEST_WINDOW and 0 <= self.burst <= _LONGEST_BURST
        ):
            return False
        # After a change, slots start when the old ones have expired, which may have had a longer window or burst.
        latest = written_at + 3 * max(self.interval, self.window, _LONGEST_BURST)
        return 0 < self.interval <= _LONGEST_WINDOW and 0 <= self.start <= latest

    def begin(self, slot: int) -> float:
        """Start of `slot`, a Unix time."""
        return self.start + slot * self.interval

    def at(self, time: float) -> int:
        """The slot at `time`; negative before the start."""
        return math.floor((time - self.start) / self.interval)

    def first_usable(self, now: float) -> int:
        """The earliest slot whose jitter is not over."""
        slot = max(0, self.at(now))
        return slot if now < self.begin(slot) + self.spread else slot + 1

    def draw(self, slot: int, now: float) -> float:
        """A random time within the slot's spread, not before `now`, at which its resolve is due."""
        begin = self.begin(slot)
        return random.uniform(min(max(begin, now), begin + self.spread), begin + self.spread)

    def last_issue(self, reservation: Reservation) -> float:
        """The latest time to issue a ticket for a slot or tick; the rest of the slack is for the way to the request."""
        if reservation.tick is not None:
            return self.start + (reservation.tick + 1 / 6) * self.tick
        return self.begin(reservation.slot) + self.spread + self.slack / 2

    def latest_start(self, reservation: Reservation) -> float:
        """The latest time to start a resolve; the last quarter of the slack is for its way to the server."""
        if reservation.tick is not None:
            return self.start + (reservation.tick + 1 / 4) * self.tick
        return self.begin(reservation.slot) + self.spread + 0.75 * self.slack

    @property
    def horizon(self) -> float:
        """How far ahead slots are claimed, seconds, which is what a killed task can waste."""
        return max(2 * self.interval, min(_HORIZON_SECONDS, 0.25 * self.window))


@dataclass(frozen=True, slots=True)
class Reservation:
    """A slot that this process owns, its tick if the grid has a burst, and when it is due."""

    number: int
    slot: int
    due: float
    tick: int | None = None


def claimed(names: list[str], number: int, kind: str = _PREFIX) -> set[int]:
    """Claimed slots of grid `number`, by the names of files."""
    prefix = f"{kind}{number}."
    tails = (name[len(prefix) :] for name in names if name.startswith(prefix))
    return {int(tail) for tail in tails if tail.isascii() and tail.isdigit()}


def newest_grid(names: list[str]) -> int:
    """The highest grid number among claimed slots, by the names of files; 0 if there is none."""
    numbers = (name.removeprefix(_PREFIX).partition(".")[0] for name in names if name.startswith(_PREFIX))
    return max((int(one) for one in numbers if one.isascii() and one.isdigit() and len(one) < 10), default=0)


def next_free(grid: Grid, taken: set[int], now: float, step: int = 1) -> int:
    """The earliest usable free slot, among every `step`-th."""
    slot = -(-grid.first_usable(now) // step) * step
    while slot in taken:
        slot += step
    return slot


def next_tick(grid: Grid, names: list[str], number: int, slot: int, now: float) -> int:
    """The earliest free tick from now on, and not before `slot`."""
    taken = claimed(names, number, _TICK_PREFIX)
    tick = max(0, math.ceil((max(now, grid.begin(slot)) - grid.start) / grid.tick))
    while tick in taken:
        tick += 1
    return tick


def is_good(grid: Grid, slot: int, tick: int) -> bool:
    """True if a resolve in `tick` may use `slot`."""
    begin = grid.start + tick * grid.tick
    return grid.begin(slot) <= begin and begin + grid.tick / 3 <= grid.begin(slot) + grid.lateness - grid.slack / 4


def oldest_free(grid: Grid, taken: set[int], now: float, step: int = 1) -> int:
    """The earliest free slot that is still valid a few ticks from now, among every `step`-th."""
    slot = max(0, grid.at(now + 3 * grid.tick + grid.slack - grid.lateness) + 1)
    slot = -(-slot // step) * step
    while slot in taken:
        slot += step
    return slot


def claim_tick(folder: Path, number: int, tick: int) -> bool:
    """Claim a tick; False if another task has it.

    Raises:
        OSError: the file can neither be made nor is it there.
    """
    return _create(folder, tick_name(number, tick))


def claim(folder: Path, number: int, slot: int) -> bool:
    """Claim a slot; False if another task has it.

    Raises:
        OSError: the file can neither be made nor is it there.
    """
    return _create(folder, name_of(number, slot))


def give_back(folder: Path, reservation: Reservation) -> None:
    """Release an unused slot; the caller must not use it afterwards.

    Raises:
        OSError: the file cannot be removed.
    """
    with Folder(folder) as opened:
        if reservation.tick is not None:
            opened.remove(tick_name(reservation.number, reservation.tick))
        opened.remove(name_of(reservation.number, reservation.slot))


def prune(folder: Path, grid: Grid, number: int, names: list[str], now: float) -> None:
    """Remove slots that are older than a window (or 400 slots), a limited number at a time.

    A slow process may create the file of a removed slot again, but is never granted an expired slot.

    Raises:
        OSError: a file cannot be removed.
    """
    oldest = max(grid.at(now - grid.window) - 1, grid.at(now) - _KEPT)
    if grid.burst:  # never one that is still valid
        oldest = min(oldest, grid.at(now - grid.lateness) - 1)
        ticks = claimed(names, number, _TICK_PREFIX)
        past = (now - _TICKS_KEPT - grid.start) / grid.tick
        old_ticks = [tick_name(number, tick) for tick in ticks if tick < past]
    else:
        old_ticks = [name for name in names if name.startswith(_TICK_PREFIX)]
    old = old_ticks + [name_of(number, slot) for slot in claimed(names, number) if slot < oldest]
    if now > grid.begin(0):
        current = (f"{_PREFIX}{number}.", f"{_TICK_PREFIX}{number}.")
        old += [n for n in names if n.startswith((_PREFIX, _TICK_PREFIX)) and not n.startswith(current)]
    if old:
        with Folder(folder) as opened:
            for name in old[:_PRUNED_AT_ONCE]:
                opened.remove(name)


def used(grid: Grid, taken: set[int], now: float) -> float:
    """Number of slots of the last window that were claimed, extrapolated from the last 400."""
    last = grid.at(now)
    first = max(0, grid.at(now - grid.window) + 1)
    first_kept = max(first, last - _KEPT + 1)
    kept = last - first_kept + 1
    return sum(first_kept <= slot <= last for slot in taken) * (last - first + 1) / kept if kept > 0 else 0.0


def _create(folder: Path, name: str) -> bool:
    try:
        with Folder(folder) as opened:
            os.close(opened.create(name))
    except FileExistsError:
        return False
    return True


def name_of(number: int, slot: int) -> str:
    """Name of the file that claims a slot."""
    return f"{_PREFIX}{number}.{slot}"


def tick_name(number: int, tick: int) -> str:
    """Name of the file that claims a tick."""
    return f"{_TICK_PREFIX}{number}.{tick}"
