"""The state of one egress that all tasks share, in one small file: slots, pauses, and which task probes.

The folder `<egress_dir>/<name>/` holds the value (`state.<version>`, changed by compare-and-swap: see
`sharedfs.versioned_file`), the claimed slots (`slot.<grid>.<k>`, empty) and the history (`pauses.jsonl`). A process
may be killed at any time: there is no lock that it could leave behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from audioset_batch import untrusted
from audioset_batch.egress import slots
from audioset_batch.egress.losses import Losses
from audioset_batch.egress.slots import Grid
from audioset_batch.errors import InputRefused, UnsafePath
from audioset_batch.sharedfs.clock import FsClock
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.lease import Holder
from audioset_batch.sharedfs.publish import make_folders, storage
from audioset_batch.sharedfs.versioned_file import AtomicVersionedFile, Version

FORMAT: Final = 2
"""Format version of the state file, incremented if older versions would misread it. They refuse later formats."""
_FORMAT_WITHOUT_BURST: Final = 1
"""Format that older versions, which have no bursts, can read."""

_KEPT_VERSIONS: Final = 4
_HISTORY: Final = "pauses.jsonl"
_MAX_HISTORY: Final = 4 << 20
_LATEST: Final = 4102444800.0
"""The year 2100, as an upper limit for times: `datetime` fails at much later ones."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressState:
    """The shared value. Times are Unix times of the filesystem's clock.

    Attributes:
        grid: The slots; None before a task with a budget has started.
        grid_number: Incremented with each change of the budget; slots with another number are void.
        epoch: Number of pauses so far. Reports about resolves of an earlier epoch are ignored.
        paused: The egress is paused; a pause is over only when a probe has passed.
        kind, detail: Why it is, or was last, paused.
        since, until: Start and end of the pause.
        streak: Number of pauses in a row, which makes the next one longer.
        outages: The same, for pauses because of failed connections.
        reopened_at: When a probe last ended a pause.
        prober, prober_until: The task that may probe or resolve alone, and until when unless it renews that.
        probes: Number of probes so far, which selects the video.
        losses: Recent failures of resolves.
        burst_until: Until then, no task with a shorter burst changes the slots.
    """

    grid_number: int = 0
    grid: Grid | None = None
    epoch: int = 0
    paused: bool = False
    kind: str = ""
    detail: str = ""
    since: float = 0.0
    until: float = 0.0
    streak: int = 0
    outages: int = 0
    reopened_at: float = 0.0
    prober: Holder | None = None
    prober_until: float = 0.0
    probes: int = 0
    losses: Losses = field(default_factory=Losses)
    burst_until: float = 0.0

    def probed_by_another(self, me: Holder, now: float) -> bool:
        """True while another live process has the role of the prober."""
        return (
            self.prober is not None
            and self.prober.token != me.token
            and now < self.prober_until
            and not self.prober.is_dead()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One pause of the history. Times are Unix times; `reopened` is None while it lasts."""

    started: float
    until: float
    kind: str
    detail: str
    reopened: float | None = None


def _decode(data: bytes) -> EgressState:
    """Decode the state that another task, user or version wrote.

    Raises:
        ValueError: it is damaged.
        InputRefused: a later version wrote it.
    """
    values = untrusted.load_object(data)
    if untrusted.whole(values.get("format", FORMAT), 1, 10**6) > FORMAT:
        raise InputRefused(f"written by a later version of audioset-batch (format {values['format']}, known: {FORMAT})")
    found = untrusted.fields_of(EgressState, values)
    if values.get("grid") is not None:
        found["grid"] = Grid(
            **{"start": 0.0, "budget": 0.0, "window": 0.0, **untrusted.fields_of(Grid, values["grid"])}
        )
    if values.get("prober") is not None:
        found["prober"] = Holder.from_values(values["prober"])
    found["losses"] = Losses.from_values(values.get("losses", {}))
    return EgressState(**found)


def _within_reason(state: EgressState, written_at: float, longest_pause: float) -> EgressState:
    """Limit pause and grid to what a task can have written at `written_at` with a correct clock."""
    grid = state.grid
    if grid is not None and not grid.is_sane(written_at):
        grid = None
    burst_until = 0.0 if grid is None else min(state.burst_until, written_at + grid.window + 2 * grid.burst)
    until = min(state.until, written_at + longest_pause)
    return dataclasses.replace(state, grid=grid, until=until, burst_until=burst_until)


class SharedEgress:
    """The shared value of one egress, and its history. Not thread-safe.

    Args:
        folder: The folder of the egress; created on the first change.
        longest_pause: Upper limit for pauses that are read, seconds.
    """

    def __init__(self, folder: Path, longest_pause: float = 86400.0) -> None:
        self.folder = folder
        self._longest_pause = max(86400.0, longest_pause)
        # Folders that exist now are never created again: the data directory may be moved, or the filesystem unmounted.
        self._root = next(above for above in folder.absolute().parents[1:] if above.exists())
        self.clock = FsClock(folder)
        self.names: list[str] = []
        self._versions = AtomicVersionedFile(folder, "state", keep=_KEPT_VERSIONS)
        self._version: Version | None = None
        self._damage: ValueError | None = None
        self.state = EgressState()

    def make_folder(self) -> None:
        """Create the folder if it is missing.

        Raises:
            StorageUnusable: it cannot be created.
        """
        with storage(self.folder):
            make_folders(self.folder.absolute(), self._root)

    def refresh(self) -> EgressState:
        """List the folder (into `names`), and read the state if there is a new version.

        Raises:
            StorageUnusable: it cannot be read.
        """
        with storage(self.folder):
            try:
                with Folder(self.folder) as folder:
                    self.names = folder.names()
            except FileNotFoundError:
                self.names = []
            numbers = self._versions.numbers_among(self.names)
            if numbers and (self._version is None or numbers[-1] > self._version.number):
                self._read()
        return self.state

    def _read(self) -> None:
        version = self._versions.read()
        if version is None or (self._version is not None and version.number < self._version.number):
            return
        self._version = version
        try:
            self.state, self._damage = self._decoded(version), None
        except InputRefused as error:
            raise InputRefused(
                f"{self._versions.path(version.number)}: {error}. Update this installation, or use another egress_dir"
            ) from None
        except ValueError as error:
            if self._damage is None:
                _log.warning("%s: state.%d is damaged (%s): a probe decides", self.folder, version.number, error)
            self.state, self._damage = self._safe(version), error

    def _decoded(self, version: Version) -> EgressState:
        return _within_reason(_decode(version.data), self._written_at(version), self._longest_pause)

    def _written_at(self, version: Version) -> float:
        # Other users may set a file's time to the far future, from which a limited pause would never end.
        return min(version.mtime, version.changed_at, self._now())

    def _now(self) -> float:
        try:
            return self.clock.now()
        except (OSError, UnsafePath):
            return time.time()  # without write permission there is no better clock

    def _safe(self, damaged: Version) -> EgressState:
        """A replacement for a damaged state: the latest valid one, but paused until a probe has passed."""
        known = None
        for version in self._versions.earlier(damaged):
            with contextlib.suppress(ValueError, InputRefused):
                known = self._decoded(version)
                break
        if known is None:
            pauses = read_pauses(self.folder)
            known = EgressState(epoch=len(pauses), grid_number=slots.newest_grid(self.names))
            if pauses and pauses[-1].reopened is None:
                last = pauses[-1]
                paused = dataclasses.replace(known, paused=True, kind=last.kind, detail=last.detail, until=last.until)
                known = _within_reason(paused, self._written_at(damaged), self._longest_pause)
        if not known.paused:
            begun = min(self._written_at(damaged), self._now() - 1.0)
            known = dataclasses.replace(known, paused=True, epoch=known.epoch + 1, since=begun, until=begun)
            known = dataclasses.replace(known, kind="damaged state", detail="the shared state was damaged")
        return dataclasses.replace(known, prober=None)

    def update(self, change: Callable[[EgressState], EgressState | None]) -> bool:
        """Replace the state by `change(state)`, again with the new state if another task was faster.

        Returns False if `change` returns None, which means no change.

        Raises:
            StorageUnusable: it cannot be written.
        """
        self.make_folder()
        with storage(self.folder):
            while True:
                self._read()
                changed = change(self.state)
                if changed is None:
                    return False
                with_burst = changed.grid is not None and changed.grid.burst > 0
                values = {"format": FORMAT if with_burst else _FORMAT_WITHOUT_BURST, **asdict(changed)}
                data = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
                version = self._versions.swap(self._version, data)
                if version is not None:
                    if self._damage is not None and self._version is not None:
                        self._versions.set_aside(self._version, self._damage)
                    self._version, self.state, self._damage = version, changed, None
                    return True

    def log(self, event: str, state: EgressState, at: float) -> None:
        """Append an event to the history.

        Raises:
            StorageUnusable: it cannot be written.
        """
        row = {
            "event": event,
            "epoch": state.epoch,
            "at": at,
            "since": state.since,
            "until": state.until,
            "kind": state.kind,
            "detail": state.detail,
        }
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with storage(self.folder), Folder(self.folder) as folder:
            fd = _open_history(folder)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)


def _open_history(folder: Folder) -> int:
    """Open the history for appending. A link or another kind of file in its place is set aside."""
    try:
        fd = folder.open_or_create(_HISTORY, os.O_WRONLY | os.O_APPEND)
        if os.fstat(fd).st_nlink == 1:
            return fd
        os.close(fd)
        why = f"{folder.path / _HISTORY} has a hard link elsewhere"
    except UnsafePath as error:
        why = str(error)
    if not folder.set_aside(_HISTORY, why):
        raise UnsafePath(why)
    return folder.create(_HISTORY, os.O_WRONLY | os.O_APPEND)


def read_pauses(folder: Path) -> list[Pause]:
    """Read the history of one egress folder, oldest first; damaged lines are left out.

    Raises:
        StorageUnusable: it cannot be read.
    """
    pauses: dict[int, Pause] = {}
    with storage(folder.parent):
        try:
            with Folder(folder) as opened:
                lines = opened.read_end(_HISTORY, _MAX_HISTORY).splitlines()
        except FileNotFoundError:
            return []
        except UnsafePath as error:
            _log.warning("%s", error)
            return []
    for line in lines:
        try:
            row = untrusted.load_object(line)
            epoch = untrusted.whole(row["epoch"], 0, 10**12)
            at, until = (untrusted.number(row[name], 0, _LATEST) for name in ("at", "until"))
            # The first line may be missing after a kill; later lines of the epoch have the start as well.
            begun = Pause(
                started=untrusted.number(row.get("since", at), 0, _LATEST),
                until=until,
                kind=untrusted.text(row["kind"]),
                detail=untrusted.text(row["detail"]),
            )
            known = pauses.setdefault(epoch, begun)
            if row["event"] == "extended":
                pauses[epoch] = dataclasses.replace(known, until=until)
            elif row["event"] == "reopened":
                pauses[epoch] = dataclasses.replace(known, reopened=at)
        except (ValueError, KeyError):
            continue
    return list(pauses.values())
