"""What all tasks know of one egress: its slots, whether it is paused, who probes it. One small shared file.

The folder `<egress_dir>/<name>/` holds the value (`state.<version>`, changed by compare-and-swap: see
`adapters.register`), the claimed slots (`slot.<grid>.<k>`, empty) and the history (`pauses.jsonl`). A process may be
killed at any instruction: there is no lock that it could leave behind.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from audioset_batch.adapters.fsclock import FsClock
from audioset_batch.adapters.lease import Holder
from audioset_batch.adapters.publish import make_folders, storage
from audioset_batch.adapters.register import Register, Version
from audioset_batch.egress.slots import Grid

_KEPT_VERSIONS: Final = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressState:
    """The shared value. Times are Unix times of the filesystem's clock.

    Attributes:
        grid_number: Grows with each change of the budget; slots of another number are void.
        epoch: Pauses so far. A report about a resolve that was granted in an earlier epoch tells nothing new.
        since, until: Begin and end of the pause, if `paused`; it is over only when a probe has passed.
        streak: Pauses in a row; the length of the next one grows with it.
        reopened_at: When a probe last passed.
        prober, prober_until: Who may probe now, and until when unless it says more.
        probes: Probes so far; chooses the video.
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
    reopened_at: float = 0.0
    prober: Holder | None = None
    prober_until: float = 0.0
    probes: int = 0

    def probed_by_another(self, me: Holder, now: float) -> bool:
        """True while some other living process is to probe."""
        return (
            self.prober is not None
            and self.prober.token != me.token
            and now < self.prober_until
            and not self.prober.is_dead()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One pause of the history; `reopened` is None while it lasts."""

    started: float
    until: float
    kind: str
    detail: str
    reopened: float | None = None


def _known(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that a later version has added: several may share the folder."""
    names = {f.name for f in dataclasses.fields(kind)}
    return {k: v for k, v in values.items() if k in names}


def _decode(data: bytes) -> EgressState:
    values = _known(EgressState, json.loads(data))
    if values.get("grid") is not None:
        values["grid"] = Grid(**_known(Grid, values["grid"]))
    if values.get("prober") is not None:
        values["prober"] = Holder(**_known(Holder, values["prober"]))
    return EgressState(**values)


class SharedEgress:
    """The shared value of one egress, and its history. Not thread-safe.

    Args:
        folder: Made on the first change.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # What is there now is never made anew: a data directory that was moved, a filesystem that was unmounted.
        self._root = next(above for above in folder.absolute().parents[1:] if above.exists())
        self.clock = FsClock(folder)
        self.names: list[str] = []
        self._register = Register(folder, "state", keep=_KEPT_VERSIONS)
        self._version: Version | None = None
        self.state = EgressState()

    def make_folder(self) -> None:
        """Make the folder where it is missing.

        Raises:
            StorageUnusable: it cannot be made.
        """
        with storage(self.folder):
            make_folders(self.folder.absolute(), self._root)

    def refresh(self) -> EgressState:
        """List the folder (into `names`) and read the value if it is a new one.

        Raises:
            StorageUnusable: it cannot be read.
        """
        with storage(self.folder):
            try:
                self.names = os.listdir(self.folder)  # noqa: PTH208 - names alone are wanted
            except FileNotFoundError:
                self.names = []
            numbers = self._register.numbers_among(self.names)
            if numbers and (self._version is None or numbers[-1] > self._version.number):
                self._read()
        return self.state

    def _read(self) -> None:
        version = self._register.read()
        if version is None or (self._version is not None and version.number < self._version.number):
            return
        self._version = version
        try:
            self.state = _decode(version.data)
        except (ValueError, TypeError, AttributeError) as error:
            _log.warning("%s: not a state of an egress (%s); taken as open", self.folder, error)
            self.state = EgressState()

    def update(self, change: Callable[[EgressState], EgressState | None]) -> bool:
        """Replace the value by `change(value)`, again with the new value when somebody was faster.

        Returns False if `change` gives None: nothing is to be changed.

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
                data = json.dumps(asdict(changed), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
                version = self._register.swap(self._version, data)
                if version is not None:
                    self._version, self.state = version, changed
                    return True

    def log(self, event: str, state: EgressState, at: float) -> None:
        """Append to the history.

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
        with storage(self.folder), (self.folder / "pauses.jsonl").open("ab") as file:
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


def read_pauses(folder: Path) -> list[Pause]:
    """The history of one egress folder, oldest first; lines that a kill tore are left out.

    Raises:
        StorageUnusable: it cannot be read.
    """
    pauses: dict[int, Pause] = {}
    with storage(folder.parent):
        try:
            lines = (folder / "pauses.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return []
    for line in lines:
        try:
            row = json.loads(line)
            epoch, at, until = int(row["epoch"]), float(row["at"]), float(row["until"])
            # A kill may have come between a pause and its line: the later lines of its epoch know its begin, too.
            begun = Pause(
                started=float(row.get("since", at)), until=until, kind=str(row["kind"]), detail=str(row["detail"])
            )
            known = pauses.setdefault(epoch, begun)
            if row["event"] == "extended":
                pauses[epoch] = dataclasses.replace(known, until=until)
            elif row["event"] == "reopened":
                pauses[epoch] = dataclasses.replace(known, reopened=at)
        except (ValueError, KeyError, TypeError):
            continue
    return list(pauses.values())
