"""The role of the one task that probes an egress, or resolves alone while resolves fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from audioset_batch.egress.shared import EgressState, SharedEgress
from audioset_batch.sharedfs.lease import Holder

PROBER_SECONDS: Final = 60.0


class ProberRole:
    """The role of the prober of one egress. Expires by itself unless it is renewed.

    Args:
        shared: The state that all tasks share.
        holder: This process.
        now: Returns the filesystem's time.
    """

    def __init__(self, shared: SharedEgress, holder: Holder, now: Callable[[], float]) -> None:
        self._shared = shared
        self._holder = holder
        self._now = now

    def is_mine(self, state: EgressState) -> bool:
        """True if this task has the role in `state`, perhaps not for much longer."""
        return state.prober is not None and state.prober.token == self._holder.token

    def take(self, seconds: float = 0.0) -> bool:
        """Take or renew the role, for `seconds` or the default time; False if another task has it or nobody needs it.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        state, now = self._shared.state, self._now()
        if state.probed_by_another(self._holder, now):
            return False
        if not seconds and self.is_mine(state) and state.prober_until - now > PROBER_SECONDS / 2:
            return True

        def change(state: EgressState) -> EgressState | None:
            needed = now >= state.until if state.paused else not state.losses.untroubled
            if not needed or state.probed_by_another(self._holder, now):
                return None
            return replace(state, prober=self._holder, prober_until=now + (seconds or PROBER_SECONDS))

        return self._shared.update(change)

    def release(self) -> None:
        """Give the role up, if this task has it.

        Raises:
            StorageUnusable: the shared folder cannot be written.
        """
        if self.is_mine(self._shared.state):
            self._shared.update(lambda state: replace(state, prober=None) if self.is_mine(state) else None)
