"""How a shard stands: its planned segments by status and reason, as merge would count them at this moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import SegmentKey
from audioset_batch.reasons import Reason
from audioset_batch.record.manifest import Outcome, replay
from audioset_batch.record.state import renew_counts

_Fate = tuple[str, str, str]
_NOT_YET: _Fate = ("pending", "", "")
_MOST_WORDINGS: Final = 20


class Standing:
    """Counts that follow the rows as they are written.

    Args:
        planned: Keys of the shard's segments.
        known: What the manifest says so far.
    """

    def __init__(self, planned: Iterable[SegmentKey], known: Mapping[SegmentKey, Outcome]) -> None:
        self._fates: Counter[_Fate] = Counter()
        self._open: dict[SegmentKey, _Fate] = {}
        for key in planned:
            outcome = known.get(key)
            fate = _NOT_YET if outcome is None else (outcome.status, outcome.reason, outcome.words)
            self._fates[fate] += 1
            if outcome is not None and not outcome.ok:
                self._open[key] = fate

    def record(self, key: SegmentKey, status: str, reason: str, detail: str = "") -> None:
        """A row was written for a planned segment."""
        self._fates[self._open.pop(key, _NOT_YET)] -= 1
        self._fates[status, reason, detail if reason == Reason.UNRECOGNIZED else ""] += 1

    def counts(self) -> dict[str, int]:
        """Segments by `ok`, `unavailable` and `failed`; the rest of the plan is pending."""
        counts: Counter[str] = Counter()
        for (status, _, _), count in self._fates.items():
            if status != "pending" and count:
                counts[status] += count
        return dict(counts)

    def reasons(self) -> dict[str, int]:
        """Unavailable and failed segments by reason."""
        reasons: Counter[str] = Counter()
        for (status, reason, _), count in self._fates.items():
            if status in ("unavailable", "failed") and count:
                reasons[reason] += count
        return dict(reasons.most_common())

    def words(self) -> dict[str, int]:
        """The most frequent refusals in words that are not known."""
        words = Counter({words: count for (_, _, words), count in self._fates.items() if words and count})
        return dict(words.most_common(_MOST_WORDINGS))


def note_standing(data: DataDir, shard: ShardId, planned: Iterable[SegmentKey]) -> None:
    """Let the state file of a shard say what its manifest says now: `status` and `plan` read the one, not the other.

    The caller holds the lease of the shard.

    Raises:
        StorageUnusable: the manifest cannot be read, or the state file not written.
    """
    keys = list(planned)
    standing = Standing(keys, replay(data.manifest(shard)))
    renew_counts(data.state(shard), len(keys), standing.counts(), standing.reasons(), standing.words())
