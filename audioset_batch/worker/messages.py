"""What the coordinator and its worker processes send each other. Plain values: they are pickled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from audioset_batch.model import Clip, Segment

READY: Final = "ready"
"""The first thing that a worker process says: it has started and will take jobs."""


class Kind(StrEnum):
    """How one try at a segment, or at a probe, ended."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    TRANSIENT = "transient"
    BLOCKED = "blocked"
    STORAGE = "storage"
    REFUSED = "refused"
    LATE = "late"
    """It came too late to begin: the slot of the egress is over."""


@dataclass(frozen=True, slots=True)
class Job:
    """One try at one segment, or a probe of an egress.

    Attributes:
        number: Unique within the worker; names the temporary files.
        segment: What to make; None for a probe.
        probe: Id of a video known to be good, for a probe.
        egress: Index into `Config.egress`.
        tmp_dir: Folder for the temporary files.
        timeout: Seconds for this try.
        start_by: A time of `boot_time` after which it must not begin.
    """

    number: int
    segment: Segment | None
    probe: str
    egress: int
    tmp_dir: Path
    timeout: float
    start_by: float = math.inf


@dataclass(frozen=True, slots=True)
class Attempt:
    """The answer to a `Job`.

    Attributes:
        reason: A `Reason`, or "" where the kind says all.
        proven: Whether the answer itself says so, and not the user's `youtube.wordings`.
        clip: Present when `kind` is OK and the job was a segment.
        elapsed: Seconds.
        requests: HTTP requests of every sort.
        fetched_bytes: Bytes of media.
    """

    number: int
    kind: Kind
    reason: str = ""
    proven: bool = True
    detail: str = ""
    clip: Clip | None = None
    elapsed: float = 0.0
    requests: int = 0
    fetched_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A try waits until an ad is over, `seconds` from now; its time is longer by that."""

    number: int
    seconds: float
