"""One grid of slots for all tasks of an egress, whatever their configs say."""

from __future__ import annotations

import logging
from dataclasses import replace

from audioset_batch.adapters.publish import storage
from audioset_batch.config.schema import Egress
from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.egress.slots import Grid

_log = logging.getLogger(__name__)


def agree_on_grid(shared: SharedEgress, config: Egress) -> EgressState:
    """Have the config of the task that started last rule for everybody; the state after that.

    Raises:
        StorageUnusable: the shared folder cannot be read or written.
    """
    shared.make_folder()
    with storage(shared.folder):
        now = shared.clock.measure()
    wanted = Grid(now, config.videos_per_hour or 1.0, config.window_seconds)

    def change(state: EgressState) -> EgressState | None:
        old = state.grid
        if old is None:
            # After slots that cannot be trusted the new ones begin as after a change of the budget.
            begin = now + (2 * wanted.interval + wanted.spread + wanted.slack if state.grid_number else 0.0)
            return replace(state, grid=replace(wanted, start=begin), grid_number=state.grid_number + 1)
        if (old.budget, old.window) == (wanted.budget, wanted.window):
            return None
        _log.warning(
            "egress %s: the budget for all tasks changes from %g per %g s to %g per %g s",
            config.name,
            *(old.budget, old.window, wanted.budget, wanted.window),
        )
        pause = 2 * max(old.interval, wanted.interval) + old.spread + old.slack
        return replace(state, grid=replace(wanted, start=now + pause), grid_number=state.grid_number + 1)

    shared.update(change)
    return shared.refresh()
