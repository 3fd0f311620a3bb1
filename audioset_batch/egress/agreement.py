"""Agree on one grid of slots for all tasks of an egress, even if their configs differ."""

from __future__ import annotations

import logging
from dataclasses import replace

from audioset_batch.config.schema import Egress
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.slots import Grid
from audioset_batch.sharedfs.publish import storage

_log = logging.getLogger(__name__)


def agree_on_grid(shared: SharedEgress, config: Egress, burst: float = 0.0) -> EgressState:
    """Apply this task's config to the slots of all tasks; returns the resulting state.

    The task that started last decides, but the longest burst stays in force until no task with it has started for a
    while: tasks with and without a burst may start in turn, and each change of the slots costs all of them a pause.

    Args:
        shared: The shared state of the egress.
        config: The egress.
        burst: `worker.burst`, seconds.

    Raises:
        StorageUnusable: the shared folder cannot be read or written.
    """
    shared.make_folder()
    with storage(shared.folder):
        now = shared.clock.measure()

    def change(state: EgressState) -> EgressState | None:
        old = state.grid
        kept = old is not None and old.burst > burst and now < state.burst_until
        wanted = Grid(
            now,
            config.videos_per_hour or 1.0,
            config.window_seconds,
            old.burst if old is not None and kept else burst,
        )
        until = now + wanted.window + 2 * burst if burst and not kept else state.burst_until
        if old is None:
            # If the old slots cannot be trusted, the new ones begin as late as after a change of the budget.
            begin = now + (2 * wanted.interval + wanted.lateness if state.grid_number else 0.0)
            grid = replace(wanted, start=begin)
            return replace(state, grid=grid, grid_number=state.grid_number + 1, burst_until=until)
        if kept:
            _log.warning(
                "egress %s: slots stay as for worker.burst: %g, which other tasks have; %.0f s from now they need not",
                config.name,
                old.burst,
                state.burst_until - now,
            )
        if (old.budget, old.window, old.burst) == (wanted.budget, wanted.window, wanted.burst):
            renewed = until - state.burst_until > burst / 2
            return replace(state, burst_until=until) if renewed else None
        _log.warning(
            "egress %s: the budget for all tasks changes from %g per %g s to %g per %g s (worker.burst: %g, was %g)",
            config.name,
            *(old.budget, old.window, wanted.budget, wanted.window, wanted.burst, old.burst),
        )
        pause = 2 * max(old.interval, wanted.interval) + old.lateness
        grid = replace(wanted, start=now + pause)
        return replace(state, grid=grid, grid_number=state.grid_number + 1, burst_until=until)

    shared.update(change)
    return shared.refresh()
