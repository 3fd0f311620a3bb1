"""Manifests that somebody edited, that a disk damaged, or that lie: never fatal, and read the same by all readers."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.merge import merge
from audioset_batch.model import COLUMNS, ManifestRow, SegmentKey
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import encode_row, replay

SHARD = ShardId("eval_segments", 1)
PLAN = ["aaaaaaaaaaa", "bbbbbbbbbbb", "-cccccccccc"]
GOOD = encode_row(
    ManifestRow(
        subset=SHARD.subset,
        shard=SHARD.number,
        ytid=PLAN[0],
        start_seconds=30.0,
        end_seconds=40.0,
        labels="/m/09x0r",
        status=Status.UNAVAILABLE,
        reason="removed",
    )
)

DEEP = b"[" * 3000

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**20), 1 << 63, float("inf"), float("nan"), 1e308, -0.0, "", "ok", "nan", "\0"]),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A row with some of its values exchanged or gone, with some of its bytes exchanged, or no row at all."""
    row = json.loads(GOOD) | {"ytid": draw(st.sampled_from(PLAN)), "status": draw(st.sampled_from(list(Status)))}
    row |= draw(st.dictionaries(st.sampled_from([*COLUMNS, "unknown"]), odd, max_size=3))
    if isinstance(row.get("subset"), str):
        row["subset"] = SHARD.subset  # merge takes a shard's manifest to be about its own subset
    for name in draw(st.lists(st.sampled_from(COLUMNS), max_size=1)):
        row.pop(name, None)
    line = json.dumps(row).encode()
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(max(0, line.find(b"shard")), len(line)))
        line = line[:at] + draw(st.binary(max_size=4)) + line[at + draw(st.integers(0, 4)) :]
    return draw(st.sampled_from([line, line, line, draw(st.binary(max_size=20)), DEEP])).replace(b"\n", b"")


def write_plan(root: Path) -> DataDir:
    data = DataDir(root)
    rows = "".join(f'{ytid}, 30.000, 40.000, "/m/09x0r"\n' for ytid in PLAN)
    head = f"# plan\n# num_ytids={len(PLAN)}, num_segs={len(PLAN)}\n# YTID, start_seconds, end_seconds\n"
    for path in (data.shard_csv(SHARD), data.segments_csv(SHARD.subset)):
        path.write_text(head + rows)
    data.manifests.mkdir()
    return data


@example(damaged=[GOOD.strip().replace(b'"shard"', b'"\x80shard"').replace(b"unavailable", b"ok")], ended=True)
@settings(max_examples=60, deadline=None)
@given(damaged=st.lists(lines(), max_size=5), ended=st.booleans())
def test_what_is_no_row_is_left_out_by_all_alike(
    tmp_path_factory: pytest.TempPathFactory, damaged: list[bytes], ended: bool
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    data = write_plan(root)
    data.manifest(SHARD).write_bytes(GOOD + b"\n".join(damaged) + b"\n" * ended)
    known = {key: outcome.status for key, outcome in replay(data.manifest(SHARD)).items()}
    expected = {ytid: known.get(SegmentKey(SHARD.subset, ytid, 30_000, 40_000), "pending") for ytid in PLAN}

    merge(root, write_csv=False)
    table = pd.read_parquet(root / "manifest.parquet")
    planned = table[table.ytid.isin(PLAN) & (table.start_seconds == 30) & (table.end_seconds == 40)]
    found = zip(planned.ytid, planned.status, strict=True)
    assert sorted(found) == sorted(expected.items())
