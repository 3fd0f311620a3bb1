"""Count a shard's planned segments by status and reason, and the rows recorded lately."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

from audioset_batch.model import ManifestRow, SegmentKey
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import Outcome

HOUR: Final = 3600.0
_MAX_WORDINGS: Final = 20

_StatusReasonWords = tuple[Status, str, str]
_NOT_YET: _StatusReasonWords = (Status.PENDING, "", "")


class ShardCounts:
    """Counts of one shard, equal to those of `merge` at any moment. Call `record` once for each row.

    Args:
        planned: Keys of the shard's segments.
        known: Outcomes in its manifest so far.
        rows: Rows of this run by status, over all of its shards, which are incremented as well.

    Attributes:
        planned: Number of the shard's segments.
    """

    def __init__(
        self,
        planned: Iterable[SegmentKey],
        known: Mapping[SegmentKey, Outcome],
        rows: Counter[Status] | None = None,
    ) -> None:
        self._segments: Counter[_StatusReasonWords] = Counter()
        self._earlier: dict[SegmentKey, _StatusReasonWords] = {}
        for key in planned:
            outcome = known.get(key)
            if outcome is None:
                self._segments[_NOT_YET] += 1
                continue
            counted = (Status(outcome.status), outcome.reason, outcome.words)
            self._segments[counted] += 1
            if not outcome.ok:
                self._earlier[key] = counted
        self.planned = self._segments.total()
        self._to_retry = sum(status is Status.FAILED for status, _, _ in self._earlier.values())
        self._rows = Counter() if rows is None else rows
        self._recorded_at: deque[float] = deque()  # within the last hour
        self._started_at = time.monotonic()

    def record(self, row: ManifestRow) -> None:
        """Count a row that was written for a planned segment."""
        before = self._earlier.pop(row.key, _NOT_YET)
        self._segments[before] -= 1
        self._to_retry -= before[0] is Status.FAILED
        self._segments[row.status, row.reason, row.detail if row.reason == Reason.UNRECOGNIZED else ""] += 1
        self._rows[row.status] += 1
        now = time.monotonic()
        self._recorded_at.append(now)
        while self._recorded_at[0] < now - HOUR:
            self._recorded_at.popleft()

    def by_status(self) -> Counter[Status]:
        """Planned segments by status; those that are `pending` have no row, or one that resets them."""
        counts: Counter[Status] = Counter()
        for (status, _, _), count in self._snapshot():
            counts[status] += count
        return +counts

    def of_this_run(self) -> Counter[Status]:
        """As `by_status`, but segments that failed in an earlier run are `pending` until they have been retried."""
        counts = self.by_status()
        counts[Status.FAILED] -= self._to_retry
        counts[Status.PENDING] += self._to_retry
        return counts

    def by_reason(self) -> dict[str, int]:
        """Unavailable and failed segments by reason, the most frequent first."""
        reasons: Counter[str] = Counter()
        for (status, reason, _), count in self._snapshot():
            if status in (Status.UNAVAILABLE, Status.FAILED) and count:
                reasons[reason] += count
        return dict(reasons.most_common())

    def unrecognized(self) -> dict[str, int]:
        """The most frequent refusals with unrecognized wording, and their counts."""
        words = Counter({words: count for (_, _, words), count in self._snapshot() if words and count})
        return dict(words.most_common(_MAX_WORDINGS))

    def _snapshot(self) -> tuple[tuple[_StatusReasonWords, int], ...]:
        return tuple(self._segments.items())  # a copy, because the live display reads it from a thread of its own

    def recorded_within(self, seconds: float) -> tuple[int, float]:
        """Rows recorded in the last `seconds` (at most an hour) or since the start, and the length of that time."""
        now = time.monotonic()
        recent = sum(moment >= now - seconds for moment in tuple(self._recorded_at))  # a copy, as above
        return recent, min(seconds, now - self._started_at)
