"""Changes of an egress's shared state when it is paused and reopened: pure functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from audioset_batch.config.schema import Egress
from audioset_batch.egress.losses import Losses
from audioset_batch.egress.shared import EgressState

DRIFT: Final = "drift"
OUTAGE: Final = "outage"

_DRIFT_LONGER: Final = 4.0
"""A drift lasts until yt-dlp is updated or YouTube changes back. The default gives at most one probe an hour."""
_OUTAGE_SHORTER: Final = 1 / 15
"""A network may be back in a minute, and a probe that does not reach YouTube costs nothing."""


def cleared_for(config: Egress) -> float:
    """Seconds for which a passed probe after many losses is valid; an hour by default."""
    return min(config.pause_max_seconds, _DRIFT_LONGER * config.pause_seconds)


def paused(state: EgressState, config: Egress, kind: str, detail: str, now: float, *, probed: bool) -> EgressState:
    """The state with a new or extended pause, which is longer for each one in a row.

    Args:
        state: The current state.
        config: The egress, with the lengths of pauses.
        kind: `drift`, `outage`, or the kind of a ban.
        detail: The cause, as text.
        now: Time of the filesystem's clock.
        probed: True if a probe has failed.
    """
    outage = kind == OUTAGE
    row = (state.outages if outage else state.streak) + 1
    factor = _OUTAGE_SHORTER if outage else _DRIFT_LONGER if kind == DRIFT else 1.0
    growth = config.pause_factor ** min(row - 1, 64)
    begun = state if state.paused else replace(state, epoch=state.epoch + 1, since=now)
    return replace(
        begun,
        paused=True,
        kind=kind,
        detail=detail,
        until=now + min(config.pause_max_seconds, factor * config.pause_seconds * growth),
        outages=row if outage else state.outages,
        streak=state.streak if outage else row,
        prober=None,
        probes=state.probes + probed,
    )


def reopened(state: EgressState, now: float) -> EgressState:
    """The state after a passed probe has ended a pause."""
    cleared = now if state.kind == DRIFT else state.losses.cleared_at
    return replace(
        state,
        paused=False,
        prober=None,
        reopened_at=now,
        probes=state.probes + 1,
        losses=Losses(reached_at=now, cleared_at=cleared),
    )


def forgiven(state: EgressState) -> EgressState:
    """The state after clips have arrived for long enough: the next pause is short again."""
    return replace(state, streak=0, outages=0)
