"""Reserve the slots of one egress for this task, and say when the next resolve may start. Never blocks."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from typing import Final

from audioset_batch.config.schema import Egress
from audioset_batch.egress import slots
from audioset_batch.egress.agreement import agree_on_grid
from audioset_batch.egress.polling import MAX_POLL_SECONDS, poll_seconds
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.slots import Grid, Reservation
from audioset_batch.egress.tickets import Closed
from audioset_batch.sharedfs.clock import boot_time
from audioset_batch.sharedfs.lease import Holder
from audioset_batch.sharedfs.publish import storage

BUSY_SECONDS: Final = 0.5
MIN_WAIT_SECONDS: Final = 0.02
_log = logging.getLogger(__name__)


class SlotReserver:
    """The slots of one egress, as one task reserves and uses them; at most one is reserved at a time.

    Args:
        config: The egress.
        shared: The state that all tasks share.
        holder: This process.
        burst: How long a slot may be used later than its time, seconds.
        hold_seconds: Returns the longest time to wait for a slot, seconds.

    Attributes:
        reservation: The reserved slot; None if there is none.
    """

    def __init__(
        self, config: Egress, shared: SharedEgress, holder: Holder, burst: float, hold_seconds: Callable[[], float]
    ) -> None:
        self.reservation: Reservation | None = None
        self._config = config
        self._shared = shared
        self._holder = holder
        self._burst = burst
        self._hold_seconds = hold_seconds
        self._rests_until = 0.0
        self._next_poll_at = float("-inf")
        self._no_slot = (0, 0, 0.0, 0.0)
        """Grid and step for which there was no free slot, when to try again, and the start of the next slot."""
        self._grid_checked = False

    def now(self) -> float:
        """The filesystem's time."""
        with storage(self._shared.folder):
            return self._shared.clock.now()

    @property
    def seconds_to_slot(self) -> float:
        """Seconds until the reserved slot is due, short if it is due; infinite without one, or if it is missed."""
        reservation, grid = self.reservation, self._shared.state.grid
        if reservation is None or grid is None:
            return math.inf
        now = self.now()
        return math.inf if now > grid.last_issue(reservation) else max(MIN_WAIT_SECONDS, reservation.due - now)

    def soonest(self) -> float:
        """Unix time of the next slot that is free or reserved; 0 without a budget. Used to choose between egresses."""
        if self.reservation is not None:
            return self.reservation.due
        state = self.state()
        if self._config.videos_per_hour is None or state.grid is None:
            return 0.0
        number, _, ask_at, slot_at = self._no_slot
        if number == state.grid_number and boot_time() < ask_at:
            return slot_at
        now = self.now()
        return max(now, state.grid.begin(self._next_slot(state, state.grid, now, 1)))

    def state(self, *, fresh: bool = False) -> EgressState:
        """The shared state; read again if it is time to, or if `fresh`.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        if not fresh and boot_time() < self._next_poll_at:
            return self._shared.state
        state = self._shared.refresh()
        if self._config.videos_per_hour is not None and not self._grid_checked:
            self._grid_checked = True
            state = agree_on_grid(self._shared, self._config, self._burst)
        self._next_poll_at = boot_time() + poll_seconds(self._config, state, self.reservation, self._holder, self.now)
        return state

    def take(
        self, still: Callable[[], bool], *, probing: bool = False, may_reserve: bool = True, step: int = 1
    ) -> float | Closed:
        """Use the reserved slot if it is due, or reserve one.

        Args:
            still: Called when a slot is due, to decide again with the current shared state.
            probing: The slot is for a probe.
            may_reserve: A slot may be reserved.
            step: Use only every `step`-th slot.

        Returns:
            A time of `boot_time` by which the resolve must start, or when to ask again.

        Raises:
            StorageUnusable: the shared folder cannot be read or written.
        """
        now = self.now()
        if self.reservation is not None and self.reservation.slot % step:
            self.release()
        if self.reservation is None:
            if not may_reserve:
                return Closed(BUSY_SECONDS, slot_at=self.soonest())
            wait = self._reserve(now, step, probing=probing)
            if wait is not None:
                return wait
        reservation = self.reservation
        if reservation is None:
            return Closed(0.0)
        if now < reservation.due:
            return Closed(reservation.due - now, slot_at=reservation.due)
        # Creating a file for the clock also makes NFS list the folder afresh.
        asked_at = boot_time()
        with storage(self._shared.folder):
            now = self._shared.clock.measure()
        state = self.state(fresh=True)
        if now < reservation.due:
            return Closed(reservation.due - now)
        if not still():
            return Closed(0.0)  # the slot is kept; the next call uses it for a probe or gives it back
        self.reservation = None
        grid = state.grid
        if grid is None or state.grid_number != reservation.number:
            return Closed(0.0)
        if now > grid.last_issue(reservation):
            _log.debug("egress %s: came %.3f s late for a slot", self._config.name, now - reservation.due)
            if reservation.tick is not None and self._take_tick(state.grid_number, grid, reservation.slot, now):
                return Closed(0.0)
            return self._reserve(now, step, probing=probing) or Closed(0.0)
        with storage(self._shared.folder):
            slots.prune(self._shared.folder, grid, state.grid_number, self._shared.names, now)
        return asked_at + grid.latest_start(reservation) - now

    def _reserve(self, now: float, step: int, *, probing: bool = False) -> Closed | None:
        number, for_step, ask_at, slot_at = self._no_slot
        if (number, for_step) == (self.state().grid_number, step) and boot_time() < ask_at:
            return Closed(ask_at - boot_time(), slot_at=slot_at)
        state = self.state(fresh=True)
        grid = state.grid
        if grid is None:
            self._grid_checked = False  # the folder was removed
            return Closed(BUSY_SECONDS)
        # A task that may leave its node rests once its old slots are used, so that its other egresses rest as well.
        saves = not probing and grid.burst > 0 and grid.sleep > self._hold_seconds()
        while True:
            slot = self._next_slot(state, grid, now, step)
            begin = grid.begin(slot)
            if saves and begin > now:
                self._rests_until = begin + grid.sleep
            if saves and now < self._rests_until:
                return Closed(min(self._rests_until - now, grid.interval), slot_at=self._rests_until)
            if begin > now + grid.horizon and slot > 0:
                seconds = random.uniform(0.5, 1.5) * max(grid.interval, grid.horizon / 4)
                if not grid.burst:
                    self._next_poll_at = boot_time() + min(seconds, MAX_POLL_SECONDS)
                    self._no_slot = (state.grid_number, step, self._next_poll_at, begin)
                return Closed(seconds, slot_at=begin)
            with storage(self._shared.folder):
                claimed = slots.claim(self._shared.folder, state.grid_number, slot)
            self._shared.names.append(slots.name_of(state.grid_number, slot))
            if claimed and not grid.burst:
                self.reservation = Reservation(state.grid_number, slot, grid.draw(slot, now))
                return None
            if claimed and self._take_tick(state.grid_number, grid, slot, now):
                return None

    def _next_slot(self, state: EgressState, grid: Grid, now: float, step: int) -> int:
        taken = slots.claimed(self._shared.names, state.grid_number)
        return (slots.oldest_free if grid.burst else slots.next_free)(grid, taken, now, step)

    def _take_tick(self, number: int, grid: Grid, slot: int, now: float) -> bool:
        """Reserve the next tick for a slot of this process; False if the slot expires before it."""
        while slots.is_good(grid, slot, tick := slots.next_tick(grid, self._shared.names, number, slot, now)):
            with storage(self._shared.folder):
                claimed = slots.claim_tick(self._shared.folder, number, tick)
            self._shared.names.append(slots.tick_name(number, tick))
            if claimed:
                self.reservation = Reservation(
                    number, slot, grid.start + (tick + random.uniform(0, 0.1)) * grid.tick, tick
                )
                return True
        return False

    def release(self) -> None:
        """Give back the reserved slot, if there is one.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        reservation, self.reservation = self.reservation, None
        if reservation is not None and reservation.number == self._shared.state.grid_number:
            with storage(self._shared.folder):
                slots.give_back(self._shared.folder, reservation)
