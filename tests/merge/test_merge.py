"""The merged table: every planned segment once, by the last word that counts."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audioset_batch.errors import InputRefused, PlanChanging, ShardHeld
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.merge import merge, run
from audioset_batch.model import COLUMNS, ManifestRow
from audioset_batch.plan.swap import Swap, splitting
from audioset_batch.record.manifest import ManifestWriter, replay

SHARD = ShardId("eval_segments", 1)
PLAN = ["aaaaaaaaaaa", "bbbbbbbbbbb", "-cccccccccc"]


def write_plan(root: Path, ytids: list[str], shard: ShardId = SHARD) -> DataDir:
    data = DataDir(root)
    lines = ["# plan", f"# num_ytids={len(ytids)}, num_segs={len(ytids)}", "# YTID, start_seconds, end_seconds"]
    lines += [f'{ytid}, 30.000, 40.000, "/m/09x0r,/m/0bt9lr"' for ytid in ytids]
    data.shard_csv(shard).write_text("\n".join(lines) + "\n")
    return data


def row(ytid: str, status: str, reason: str = "", **more: object) -> ManifestRow:
    return ManifestRow(
        subset=SHARD.subset,
        shard=SHARD.number,
        ytid=ytid,
        start_seconds=30.0,
        end_seconds=40.0,
        labels="/m/09x0r,/m/0bt9lr",
        status=status,  # type: ignore[arg-type]
        reason=reason,
        **more,  # type: ignore[arg-type]
    )


def write_rows(data: DataDir, rows: list[ManifestRow], shard: ShardId = SHARD) -> None:
    with ManifestWriter(data.manifest(shard)) as manifest:
        for one in rows:
            manifest.append(one)


def statuses(root: Path) -> dict[str, tuple[str, str]]:
    table = pd.read_parquet(root / "manifest.parquet")
    assert list(table.columns) == list(COLUMNS)
    return {one.ytid: (one.status, one.reason) for one in table.itertuples()}


def test_every_planned_segment_once(tmp_path: Path) -> None:
    data = write_plan(tmp_path, PLAN)
    write_rows(data, [row(PLAN[0], "ok", frames=480000), row(PLAN[1], "failed", "network")])
    result = merge(tmp_path)
    assert statuses(tmp_path) == {
        PLAN[0]: ("ok", ""),
        PLAN[1]: ("failed", "network"),
        PLAN[2]: ("pending", ""),
    }
    totals = {"planned": 3, "ok": 1, "unavailable": 0, "failed": 1, "pending": 1}
    assert result.summary["totals"] == totals
    assert json.loads((tmp_path / "summary.json").read_text())["totals"] == totals
    assert not result.finished
    assert not result.differences


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("failed", "network"), ("ok", "")], ("ok", "")),
        ([("ok", ""), ("failed", "network")], ("ok", "")),
        ([("ok", ""), ("pending", "retry")], ("pending", "retry")),
        ([("ok", ""), ("pending", "retry"), ("failed", "timeout")], ("failed", "timeout")),
        ([("unavailable", "private"), ("pending", "retry"), ("unavailable", "removed")], ("unavailable", "removed")),
    ],
)
def test_the_row_that_counts(tmp_path: Path, rows: list[tuple[str, str]], expected: tuple[str, str]) -> None:
    data = write_plan(tmp_path, PLAN[:1])
    write_rows(data, [row(PLAN[0], *one) for one in rows])
    merge(tmp_path)
    assert statuses(tmp_path) == {PLAN[0]: expected}


WORDS = st.sampled_from([("ok", ""), ("failed", "network"), ("unavailable", "removed"), ("pending", "retry")])


@given(st.lists(st.tuples(st.sampled_from(PLAN), WORDS), max_size=30))
def test_same_verdict_as_the_replay_that_resume_uses(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, tuple[str, str]]]
) -> None:
    root = tmp_path_factory.mktemp("history")
    data = write_plan(root, PLAN)
    write_rows(data, [row(ytid, *words) for ytid, words in history])
    merge(root, write_csv=False)
    known = {key.ytid: (o.status, o.reason) for key, o in replay(data.manifest(SHARD)).items()}
    assert statuses(root) == {ytid: known.get(ytid, ("pending", "")) for ytid in PLAN}


@pytest.mark.parametrize("tail", [b'{"subset":"eval_seg', b"\0\0\0", b'{"subset": 1}\n', b"not json\n"])
def test_lines_that_are_no_rows_are_left_out(tmp_path: Path, tail: bytes) -> None:
    data = write_plan(tmp_path, PLAN[:2])
    write_rows(data, [row(PLAN[0], "ok")])
    with data.manifest(SHARD).open("ab") as file:
        file.write(tail)
    result = merge(tmp_path)
    assert statuses(tmp_path) == {PLAN[0]: ("ok", ""), PLAN[1]: ("pending", "")}
    assert result.unreadable_lines == (1 if tail.endswith(b"\n") else 0), "a line being written is no damage"


def test_rows_outside_the_plan_are_kept_and_counted(tmp_path: Path) -> None:
    data = write_plan(tmp_path, PLAN[:1])
    write_rows(data, [row(PLAN[0], "ok"), row(PLAN[1], "ok")])
    write_rows(data, [row(PLAN[2], "unavailable", "removed")], ShardId("eval_segments", 7))
    result = merge(tmp_path)
    assert result.summary["outside_plan"] == 2
    assert result.summary["totals"]["planned"] == 1
    assert set(statuses(tmp_path)) == set(PLAN)


def test_a_segment_planned_twice_is_said(tmp_path: Path) -> None:
    data = write_plan(tmp_path, PLAN[:1])
    write_plan(tmp_path, PLAN[:1], ShardId("eval_segments", 2))
    write_rows(data, [row(PLAN[0], "ok")])
    result = merge(tmp_path)
    assert len(result.differences) == 1
    assert PLAN[0] in result.differences[0]
    assert list(statuses(tmp_path)) == [PLAN[0]]


def test_a_manifest_larger_than_one_block_is_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ytids = [f"abcdefgh{n:03}" for n in range(40)]
    data = write_plan(tmp_path, ytids)
    write_rows(data, [row(ytid, "failed", "network") for ytid in ytids] + [row(ytid, "ok") for ytid in ytids[:30]])
    at_once = merge(tmp_path).summary["totals"]
    monkeypatch.setattr("audioset_batch.merge.shard_table._BLOCK", 2048)
    assert merge(tmp_path).summary["totals"] == at_once
    assert (at_once["ok"], at_once["failed"]) == (30, 10)


def test_a_split_that_was_cut_short_is_ended_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_plan(tmp_path, ["abcdefghijk"])
    write_rows(data, [row("abcdefghijk", "ok")])
    with splitting(data):
        swap = Swap(data)
        swap.stage(data.manifest(SHARD), [data.manifest(SHARD).read_bytes()])
        with monkeypatch.context() as killed:
            killed.setattr("audioset_batch.plan.swap.finish_or_roll_back", lambda data: False)
            swap.commit([])
        data.manifest(SHARD).unlink()
        with pytest.raises(ShardHeld, match="splitting"):
            merge(tmp_path)
    assert merge(tmp_path).summary["totals"]["ok"] == 1


def test_csv_and_labels(tmp_path: Path) -> None:
    data = write_plan(tmp_path, PLAN)
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/0bt9lr,"Dog"\n'
    )
    detail = 'with "quotes", commas\nand a line end'
    write_rows(data, [row(PLAN[0], "ok", duration_seconds=10.0), row(PLAN[1], "failed", "network", detail=detail)])
    summary = merge(tmp_path).summary
    with (tmp_path / "manifest.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    assert [record["ytid"] for record in records] == PLAN
    assert records[1]["detail"] == detail
    assert {label["name"]: (label["planned"], label["ok"]) for label in summary["labels"]} == {
        "Speech": (3, 1),
        "Dog": (3, 1),
    }
    assert summary["hours"] == pytest.approx(10 / 3600, abs=1e-3)


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="no shards"):
        merge(tmp_path)


def test_a_split_in_the_middle_of_it_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_plan(tmp_path, PLAN)
    data.manifests.mkdir()
    merge(tmp_path)
    before = data.merged_parquet.read_bytes()
    real = run.shard_table

    def split_meanwhile(*argv: Any) -> Any:
        with splitting(data):
            return real(*argv)

    monkeypatch.setattr(run, "shard_table", split_meanwhile)
    with pytest.raises(PlanChanging, match="run this again"):
        merge(tmp_path)
    assert data.merged_parquet.read_bytes() == before
