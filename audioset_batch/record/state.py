"""The state file of a shard, which `status` shows while a worker runs. Informative only; the manifest is the record."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from audioset_batch import untrusted
from audioset_batch.errors import ShardHeld, StorageUnusable, UnsafePath
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import SegmentKey
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import replay
from audioset_batch.record.shard_counts import HOUR, ShardCounts
from audioset_batch.sharedfs.folders import read_file
from audioset_batch.sharedfs.lease import Holder
from audioset_batch.sharedfs.publish import atomic_write_json, storage

FORMAT: Final = 1
"""Format version of the state file, incremented if older versions would misread it. They skip later formats."""

_MAX_BYTES: Final = 1 << 20
_MAX_COUNTS: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What a worker last reported about its shard.

    Attributes:
        planned: Segments of the shard.
        counts: Segments by status (`ok`, `unavailable`, `failed`), those of earlier runs included; the rest is pending.
        reasons: Unavailable and failed segments by reason.
        words: The most frequent refusals with unrecognized wording, and their counts.
        holder: The worker that has the shard, as text.
        finished_lately: Segments that this worker finished in the last hour, or since it started.
        lately_seconds: Length of that time; at most 3600.
        started_at, updated_at: UTC, ISO 8601, by the worker's clock.
        finished: True once the worker has closed the shard.
        note: Why it stopped early, or what it is waiting for.
    """

    planned: int
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    holder: str = ""
    host: str = ""
    pid: int = 0
    job_id: str = ""
    restart_count: int = 0
    finished_lately: int = 0
    lately_seconds: float = 0.0
    started_at: str = ""
    updated_at: str = ""
    finished: bool = False
    note: str = ""

    @property
    def done(self) -> int:
        """Segments that have a row."""
        return sum(self.counts.values())


def read_state(path: Path) -> ShardState | None:
    """Read the state file at `path`; None if there is none or if it is invalid. Unknown keys are ignored.

    Raises:
        StorageUnusable: the filesystem fails.
    """
    with storage(path.parent):
        try:
            values = untrusted.load_object(read_file(path, _MAX_BYTES))
            if untrusted.whole(values.get("format", FORMAT), 1, 10**6) > FORMAT:
                raise ValueError(f"format {values['format']} of a later version, known here: {FORMAT}")
            found = untrusted.fields_of(ShardState, values)
            for name in ("counts", "reasons", "words"):
                found[name] = _counts(values.get(name, {}))
            return ShardState(**found)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, UnsafePath) as error:
            _log.warning("%s is not a state file (%s); ignored", path, error)
            return None


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > _MAX_COUNTS:
        raise ValueError("expected counts by name")
    return {untrusted.visible(name, 300): untrusted.whole(count, 0, 10**12) for name, count in value.items()}


def update_state(data: DataDir, shard: ShardId, planned: Iterable[SegmentKey]) -> None:
    """Update a shard's state file from its manifest, because `status` and `plan` read only the state file.

    For commands that add rows outside of a worker; what the file says about the last worker is kept. The caller holds
    the lease of the shard.

    Raises:
        StorageUnusable: the manifest cannot be read, or the state file cannot be written.
    """
    counts = ShardCounts(planned, replay(data.manifest(shard)))
    path = data.state(shard)
    _write(path, dataclasses.replace(read_state(path) or ShardState(planned=0, finished=True), **_figures(counts)))


def _figures(counts: ShardCounts) -> dict[str, Any]:
    """The fields of `ShardState` that come from the counts."""
    by_status = counts.by_status()
    del by_status[Status.PENDING]
    return {
        "planned": counts.planned,
        "counts": dict(by_status),
        "reasons": counts.by_reason(),
        "words": counts.unrecognized(),
    }


def _write(path: Path, state: ShardState) -> None:
    atomic_write_json(path, {"format": FORMAT, **dataclasses.asdict(state)})


class StateWriter:
    """Writes the state file of a shard that this process holds: on entry, when `write` is called, and on exit.

    Args:
        path: `DataDir.state(shard)`; its folder must exist.
        counts: Counts of the shard, read at each write.
        every: Seconds after a write until the next one is `due`.
        holder: The holder of the shard's lease.
    """

    def __init__(self, path: Path, counts: ShardCounts, *, every: float, holder: Holder) -> None:
        self._path = path
        self._counts = counts
        self._every = every
        self._written_at = float("-inf")
        self._state = ShardState(
            planned=counts.planned,
            holder=str(holder),
            host=holder.host,
            pid=holder.pid,
            job_id=holder.job_id,
            restart_count=holder.restart_count,
            started_at=_now(),
        )

    @property
    def due(self) -> bool:
        """True if `every` seconds have passed since the last write."""
        return time.monotonic() - self._written_at >= self._every

    def write(self, *, finished: bool = False, note: str = "") -> None:
        """Write the file with the current counts.

        Args:
            finished: The worker closes the shard.
            note: Why it stops early.

        Raises:
            StorageUnusable: the file cannot be written.
        """
        recent, seconds = self._counts.recorded_within(HOUR)
        state = dataclasses.replace(
            self._state,
            **_figures(self._counts),
            finished_lately=recent,
            lately_seconds=round(seconds, 1),
            updated_at=_now(),
            finished=finished,
            note=note,
        )
        _write(self._path, state)
        self._written_at = time.monotonic()

    def __enter__(self) -> Self:
        self.write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if value is None:
            self.write(finished=True)
        elif not isinstance(value, ShardHeld):  # else the file is the other worker's now
            with contextlib.suppress(StorageUnusable):  # the original error is more informative
                self.write(finished=True, note=str(value))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
