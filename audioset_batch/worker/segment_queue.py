"""The queue of one shard: its remaining segments, their order, and retries that have to wait."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from audioset_batch.egress import Grant
from audioset_batch.model import Segment, SegmentKey

_MAX_PUT_BACK: Final = 64
"""Entries at the front of the queue among which all that were put back are: a worker has no more in flight."""


@dataclass(slots=True)
class QueueEntry:
    """A segment in the queue, with the cost of its attempts so far.

    Attributes:
        failures: Grants of its attempts that failed with a transient reason, without those that the egress caused.
        blocks: Number of answers to it that were about the egress.
        suspect: True after its process has crashed: it runs alone from then on.
    """

    segment: Segment
    attempts: int = 0
    elapsed: float = 0.0
    requests: int = 0
    fetched_bytes: int = 0
    failures: list[Grant] = field(default_factory=list)
    blocks: int = 0
    suspect: bool = False


class SegmentQueue:
    """A queue that also holds retries until they are due. Times are those of `time.monotonic`."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._ready = deque(QueueEntry(segment) for segment in segments)
        self._later: list[tuple[float, int, QueueEntry]] = []
        self._tie_breaker = itertools.count()

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def peek(self, now: float) -> QueueEntry | None:
        """The next entry that may run now, without removing it; None if there is none."""
        while self._later and self._later[0][0] <= now:
            self._ready.appendleft(heapq.heappop(self._later)[2])
        return self._ready[0] if self._ready else None

    def ready(self, now: float) -> int:
        """Number of entries that may run now."""
        self.peek(now)
        return len(self._ready)

    def tried(self) -> list[QueueEntry]:
        """Entries that are to be tried again, and perhaps some that are not."""
        return [*(entry for _, _, entry in self._later), *itertools.islice(self._ready, _MAX_PUT_BACK)]

    def pop(self) -> QueueEntry:
        """Remove and return the entry that `peek` returns."""
        return self._ready.popleft()

    def put_back(self, entry: QueueEntry) -> None:
        """Put an entry at the front, because its attempt does not count."""
        self._ready.appendleft(entry)

    def put_last(self, entry: QueueEntry) -> None:
        """Put an entry at the end: its attempt does not count, but it must not block the others."""
        self._ready.append(entry)

    def put_later(self, entry: QueueEntry, due: float) -> None:
        """Put an entry back that must not run before `due`."""
        heapq.heappush(self._later, (due, next(self._tie_breaker), entry))


@dataclass(frozen=True, slots=True)
class QueueOrder:
    """The order of a shard's queue.

    Attributes:
        order: `csv`: as in the CSV; `rare-first`: by the rarest label of each segment; `random`: the same in every run.
        seed: Seed of `random`, for example the name of the shard.
        counts: Label -> segments in the whole plan, for `rare-first`.
        failed: Segments that failed in earlier runs; they come after those that were never tried.
        hints: Video -> False if it is probably gone; these come last.
    """

    order: str
    seed: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    failed: Collection[SegmentKey] = frozenset()
    hints: Mapping[str, bool] = field(default_factory=dict)

    def apply(self, segments: Sequence[Segment]) -> list[Segment]:
        """Sort `segments` in this order."""
        ordered = list(segments)
        if self.order == "random":
            random.Random(self.seed).shuffle(ordered)
        elif self.order == "rare-first":
            ordered.sort(key=lambda segment: min((self.counts.get(label, 0) for label in segment.labels), default=0))
        ordered.sort(key=lambda segment: (not self.hints.get(segment.ytid, True), segment.key in self.failed))
        return ordered


def backoff(attempt: int, first: float, longest: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): doubling, times a random factor from 0.5 to 1."""
    return min(longest, first * 2.0 ** min(attempt - 1, 60)) * random.uniform(0.5, 1.0)
