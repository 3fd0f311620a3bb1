"""Messages between the coordinator and its worker processes: plain values, because they are pickled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from audioset_batch.model import Clip, Segment

READY: Final = "ready"
"""The first message of a worker process: it has started and accepts jobs."""


class AttemptResult(StrEnum):
    """How an attempt at a segment or a probe ended."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    TRANSIENT = "transient"
    BLOCKED = "blocked"
    STORAGE = "storage"
    USAGE_ERROR = "usage_error"
    SLOT_EXPIRED = "slot_expired"
    """It was not begun: the slot of the egress had expired."""


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a segment, or a probe of an egress.

    Attributes:
        number: Unique within the worker; also the name of the temporary files.
        segment: What to make; None for a probe.
        probe: For a probe, the id of a video known to be good; else "".
        egress: Index into `Config.egress`.
        tmp_dir: Folder for the temporary files.
        timeout: Seconds for this attempt.
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
        number: The number of the job.
        result: How it ended.
        reason: A `Reason`; "" if the result says everything.
        proven: False if only the user's `youtube.wordings` say so.
        detail: Text for the `detail` column.
        clip: Present when `result` is OK and the job was a segment.
        elapsed: Seconds.
        requests: HTTP requests of every sort.
        fetched_bytes: Bytes of media.
    """

    number: int
    result: AttemptResult
    reason: str = ""
    proven: bool = True
    detail: str = ""
    clip: Clip | None = None
    elapsed: float = 0.0
    requests: int = 0
    fetched_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WaitNotice:
    """An attempt waits `seconds` for an ad to end; its timeout is extended by as much."""

    number: int
    seconds: float
