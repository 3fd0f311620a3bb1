"""The counts that follow the rows agree with those that replay would give."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.model import ManifestRow, Segment
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import ManifestWriter, replay
from audioset_batch.record.standing import Standing

SEGMENTS = [Segment("eval_segments", f"video_____{n}", 0, 10_000, ("/m/09x0r",)) for n in range(4)]
FATES = [
    (Status.OK, ""),
    (Status.UNAVAILABLE, Reason.PRIVATE),
    (Status.FAILED, Reason.TIMEOUT),
    (Status.FAILED, Reason.UNRECOGNIZED),
    (Status.PENDING, "retry"),
]
STEPS = st.lists(st.tuples(st.sampled_from(range(4)), st.sampled_from(FATES)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(before=STEPS, run=st.permutations(range(4)), fates=st.lists(st.sampled_from(FATES[:4]), min_size=4, max_size=4))
def test_counts_are_those_of_a_replay(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[int, tuple[Status, str]]],
    run: list[int],
    fates: list[tuple[Status, str]],
) -> None:
    path = tmp_path_factory.mktemp("m") / "x.jsonl"
    keys = [segment.key for segment in SEGMENTS]
    with ManifestWriter(path) as writer:
        for index, (status, reason) in before:
            writer.append(ManifestRow.of(SEGMENTS[index], 1, status, reason=reason, detail=f"words {index % 2}"))
        known = replay(path)
        standing = Standing(keys, known)
        agrees(standing, path)
        for index, (status, reason) in zip(run, fates, strict=True):
            if index >= 3 or ((outcome := known.get(keys[index])) is not None and outcome.ok):
                continue  # left pending, or settled before
            words = f"words {index % 2}"
            writer.append(ManifestRow.of(SEGMENTS[index], 1, status, reason=reason, detail=words))
            standing.record(keys[index], status, str(reason), words)
            agrees(standing, path)


def agrees(standing: Standing, path: Path) -> None:
    found = list(replay(path).values())
    counts = {word: sum(o.status == word for o in found) for word in ("ok", "unavailable", "failed")}
    assert standing.counts() == {word: count for word, count in counts.items() if count}
    bad = [o.reason for o in found if o.status in ("unavailable", "failed")]
    assert standing.reasons() == {reason: bad.count(reason) for reason in bad}
    words = [o.words for o in found if o.reason == Reason.UNRECOGNIZED]
    assert standing.words() == {one: words.count(one) for one in words}
