"""The counts that follow the rows agree with those that replay would give."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.model import ManifestRow, Segment
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import ManifestWriter, replay
from audioset_batch.record.shard_counts import ShardCounts

SEGMENTS = [Segment("eval_segments", f"video_____{n}", 0, 10_000, ("/m/09x0r",)) for n in range(4)]
OUTCOMES = [
    (Status.OK, ""),
    (Status.UNAVAILABLE, Reason.PRIVATE),
    (Status.FAILED, Reason.TIMEOUT),
    (Status.FAILED, Reason.UNRECOGNIZED),
    (Status.PENDING, "retry"),
]
STEPS = st.lists(st.tuples(st.sampled_from(range(4)), st.sampled_from(OUTCOMES)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    before=STEPS,
    run=st.permutations(range(4)),
    outcomes=st.lists(st.sampled_from(OUTCOMES[:4]), min_size=4, max_size=4),
)
def test_counts_are_those_of_a_replay(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[int, tuple[Status, str]]],
    run: list[int],
    outcomes: list[tuple[Status, str]],
) -> None:
    path = tmp_path_factory.mktemp("m") / "x.jsonl"
    keys = [segment.key for segment in SEGMENTS]
    with ManifestWriter(path) as writer:
        for index, (status, reason) in before:
            writer.append(ManifestRow.of(SEGMENTS[index], 1, status, reason=reason, detail=f"words {index % 2}"))
        known = replay(path)
        rows: Counter[Status] = Counter()
        counts = ShardCounts(keys, known, rows)
        agrees(counts, path)
        retried = set()
        for index, (status, reason) in zip(run, outcomes, strict=True):
            if index >= 3 or ((outcome := known.get(keys[index])) is not None and outcome.ok):
                continue  # left pending, or settled before
            row = ManifestRow.of(SEGMENTS[index], 1, status, reason=reason, detail=f"words {index % 2}")
            writer.append(row)
            counts.record(row)
            retried.add(keys[index])
            agrees(counts, path)
    failed_before = sum(outcome.status == "failed" and key not in retried for key, outcome in known.items())
    left = counts.by_status()[Status.PENDING] + failed_before
    assert counts.of_this_run()[Status.PENDING] == left and counts.of_this_run().total() == counts.planned == 4
    assert rows.total() == len(retried) == counts.recorded_within(60)[0]


def agrees(counts: ShardCounts, path: Path) -> None:
    found = list(replay(path).values())
    by_status = {word: sum(o.status == word for o in found) for word in ("ok", "unavailable", "failed")}
    by_status["pending"] = 4 - sum(by_status.values())
    assert counts.by_status() == {word: count for word, count in by_status.items() if count}
    bad = [o.reason for o in found if o.status in ("unavailable", "failed")]
    assert counts.by_reason() == {reason: bad.count(reason) for reason in bad}
    words = [o.words for o in found if o.reason == Reason.UNRECOGNIZED]
    assert counts.unrecognized() == {one: words.count(one) for one in words}
