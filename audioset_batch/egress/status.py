"""Read the status of egresses, for `status`, `plan` and the report. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from audioset_batch.config.redact import redact_proxy
from audioset_batch.config.schema import Egress
from audioset_batch.egress import slots
from audioset_batch.egress.advice import slow_message
from audioset_batch.egress.losses import Throttle
from audioset_batch.egress.pausing import DRIFT, cleared_for
from audioset_batch.egress.shared import Pause, SharedEgress, read_pauses

_Word = Literal["open", "paused", "probing", "slow"]
_WORDS: Final[dict[Throttle, _Word]] = {Throttle.PROBE: "probing", Throttle.SLOW: "slow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressStatus:
    """The status of one egress. Times are Unix times.

    Attributes:
        name: Name of the egress.
        proxy: `direct`, or the URL without credentials.
        state: `open`; `paused`; `probing`: the pause is over or too many resolves failed, and a probe decides; or
            `slow`: too many resolves fail although the probe passed.
        budget: Resolves per window for all tasks; None: no budget.
        window_seconds: Length of the window.
        used: Approximate number of slots claimed in the last window; None without a budget.
        left: `budget - used`.
        since, until: Start and end of the pause; None if open.
        kind, detail: Why it is, or was last, paused or slow.
        prober: The task that probes, as text.
        pauses: All pauses so far.
    """

    name: str
    proxy: str
    state: _Word
    budget: float | None
    window_seconds: float
    used: float | None
    left: float | None
    since: float | None
    until: float | None
    kind: str
    detail: str
    prober: str
    pauses: tuple[Pause, ...]


def read_egress_status(folder: Path, egresses: Sequence[Egress]) -> list[EgressStatus]:
    """Read the status of each egress of a config from the shared folder.

    Uses this machine's clock, because nothing is written.

    Raises:
        StorageUnusable: the shared folder cannot be read.
    """
    return [_status(folder / egress.name, egress) for egress in egresses]


def _status(folder: Path, egress: Egress) -> EgressStatus:
    shared = SharedEgress(folder, egress.pause_max_seconds)
    state = shared.refresh()
    now = time.time()
    budget = egress.videos_per_hour
    window = egress.window_seconds
    used = None
    if budget is not None:
        used = 0.0
        if state.grid is not None:
            budget, window = state.grid.budget, state.grid.window
            taken = slots.claimed(shared.names, state.grid_number)
            used = round(slots.used(state.grid, taken, now), 1)
    word: _Word = "open"
    if state.paused:
        word = "paused" if now < state.until else "probing"
    elif not state.losses.untroubled:
        throttle = state.losses.throttle(now, cleared_for(egress))
        word = _WORDS.get(throttle, "open")
    return EgressStatus(
        name=egress.name,
        proxy=redact_proxy(egress.proxy) if egress.proxy or not egress.proxy_file else f"from {egress.proxy_file}",
        state=word,
        budget=budget,
        window_seconds=window,
        used=used,
        left=None if budget is None or used is None else max(0.0, budget - used),
        since=state.since if state.paused else None,
        until=state.until if state.paused else None,
        kind=DRIFT if word == "slow" else state.kind,
        detail=slow_message(state.losses) if word == "slow" else state.detail,
        prober=str(state.prober) if state.prober is not None else "",
        pauses=tuple(read_pauses(folder)),
    )
