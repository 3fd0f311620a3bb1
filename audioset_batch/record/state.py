"""The state file of one shard: what `status` shows while a worker runs. A hint for people, never a record."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from audioset_batch.adapters import untrusted
from audioset_batch.adapters.lease import Holder
from audioset_batch.adapters.publish import atomic_write_json, storage
from audioset_batch.adapters.sharedfs import read_file
from audioset_batch.errors import ShardHeld, StorageUnusable, UnsafePath

FORMAT: Final = 1
"""Of the state file; grows when older versions of this package would misread it. They pass over a later one."""

_MOST_BYTES: Final = 1 << 20
_MOST_COUNTS: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What a worker last said of its shard.

    Attributes:
        planned: Segments of the shard.
        counts: Segments by status (`ok`, `unavailable`, `failed`), those of earlier runs included; the rest is pending.
        reasons: Unavailable and failed segments by reason.
        words: The most frequent refusals in words that are not known.
        holder: Who works on it, for people.
        finished_lately: Segments that this worker finished in the last hour, or since it began.
        lately_seconds: How long that is; 3600 at most.
        started_at, updated_at: UTC, ISO 8601, by the worker's clock.
        finished: True once the worker has let go of the shard.
        note: Why it stopped early, or what it waits for.
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
    """The state file at `path`; None if there is none or it is not one. Unknown keys are left out.

    Raises:
        StorageUnusable: the filesystem fails.
    """
    with storage(path.parent):
        try:
            values = untrusted.load_object(read_file(path, _MOST_BYTES))
            if untrusted.whole(values.get("format", FORMAT), 1, 10**6) > FORMAT:
                raise ValueError(f"format {values['format']} of a later version, known here: {FORMAT}")
            found = untrusted.fields_of(ShardState, values)
            for name in ("counts", "reasons", "words"):
                found[name] = _counts(values.get(name, {}))
            return ShardState(**found)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, UnsafePath) as error:
            _log.warning("%s is no state file (%s); passed over", path, error)
            return None


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > _MOST_COUNTS:
        raise ValueError("expected counts by name")
    return {untrusted.visible(name, 300): untrusted.whole(count, 0, 10**12) for name, count in value.items()}


def renew_counts(
    path: Path, planned: int, counts: Mapping[str, int], reasons: Mapping[str, int], words: Mapping[str, int]
) -> None:
    """Put other counts into a state file, for who changes rows without being a worker. Whoever worked last stays in it.

    Raises:
        StorageUnusable: the file cannot be written.
    """
    state = read_state(path) or ShardState(planned=planned, finished=True)
    state = dataclasses.replace(state, planned=planned, counts=dict(counts), reasons=dict(reasons), words=dict(words))
    atomic_write_json(path, {"format": FORMAT, **dataclasses.asdict(state)})


class StateWriter:
    """Writes the state file of a shard that this process holds: at once, then at most every `every` seconds.

    Args:
        path: `DataDir.state(shard)`; its folder must exist.
        every: Seconds between two writes, at least.
        planned: Segments of the shard.
        holder: Who holds its lease.
    """

    def __init__(self, path: Path, *, every: float, planned: int, holder: Holder) -> None:
        self._path = path
        self._every = every
        self._lock = threading.Lock()
        self._written_at = float("-inf")
        self._state = ShardState(
            planned=planned,
            holder=str(holder),
            host=holder.host,
            pid=holder.pid,
            job_id=holder.job_id,
            restart_count=holder.restart_count,
            started_at=_now(),
        )

    @property
    def due(self) -> bool:
        """True if `update` would write."""
        return time.monotonic() - self._written_at >= self._every

    def update(
        self,
        counts: Mapping[str, int],
        reasons: Mapping[str, int] | None = None,
        finished_lately: int = 0,
        lately_seconds: float = 0.0,
        words: Mapping[str, int] | None = None,
    ) -> None:
        """Note the figures; writes them when it is time.

        Raises:
            StorageUnusable: the file cannot be written.
        """
        with self._lock:
            self._state = dataclasses.replace(
                self._state,
                counts=dict(counts),
                reasons=dict(reasons or {}),
                words=dict(words or {}),
                finished_lately=finished_lately,
                lately_seconds=round(lately_seconds, 1),
            )
            if self.due:
                self._write()

    def close(self) -> None:
        """Write the last figures, marked as finished.

        Raises:
            StorageUnusable: the file cannot be written.
        """
        with self._lock:
            self._state = dataclasses.replace(self._state, finished=True)
            self._write()

    def _write(self) -> None:
        self._state = dataclasses.replace(self._state, updated_at=_now())
        atomic_write_json(self._path, {"format": FORMAT, **dataclasses.asdict(self._state)})
        self._written_at = time.monotonic()

    def __enter__(self) -> Self:
        with self._lock:
            self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if value is None:
            self.close()
            return
        if isinstance(value, ShardHeld):
            return  # the file is the other worker's now
        with self._lock:
            self._state = dataclasses.replace(self._state, note=str(value))
        with contextlib.suppress(StorageUnusable):  # the error on its way out says more
            self.close()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
