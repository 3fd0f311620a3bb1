"""Taking over what another lab found out."""

import json
from pathlib import Path

import pandas as pd
import pytest

from audioset_batch.cli import main
from audioset_batch.errors import InputRefused, ShardHeld
from audioset_batch.export.unavailable import export_unavailable
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.merge import merge
from audioset_batch.model import ManifestRow
from audioset_batch.plan.known import take_over
from audioset_batch.plan.retry import Choice, reset
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import ManifestWriter, read_rows, replay, warn_of_problem
from audioset_batch.record.state import read_state
from audioset_batch.sharedfs.lease import Holder, Lease

SUBSET = "eval_segments"
FATES = [
    (Status.UNAVAILABLE, Reason.REMOVED),
    (Status.UNAVAILABLE, Reason.GEO_BLOCKED),
    (Status.FAILED, Reason.TIMEOUT),
    (Status.OK, ""),
    (Status.UNAVAILABLE, Reason.PRIVATE),
    (Status.UNAVAILABLE, Reason.NONEXISTENT),
]


def tree(root: Path, ids: list[str], shards: int) -> DataDir:
    data = DataDir(root)
    root.mkdir()
    for number in range(1, shards + 1):
        rows = [f'{ytid}, 30.000, 40.000, "/m/09x0r"\n' for ytid in ids[number - 1 :: shards]]
        data.shard_csv(ShardId(SUBSET, number)).write_text(f"# a\n# num_segs={len(rows)}\n# b\n" + "".join(rows))
    return data


@pytest.fixture
def theirs(tmp_path: Path) -> DataDir:
    data = tree(tmp_path / "theirs", [f"-video____{n}" for n in range(6)], 1)
    shard = ShardId(SUBSET, 1)
    data.manifests.mkdir()
    with ManifestWriter(data.manifest(shard)) as manifest:
        for segment, (status, reason) in zip(read_shard(data.shard_csv(shard), SUBSET), FATES, strict=True):
            row = ManifestRow.of(
                segment,
                1,
                status,
                reason=reason,
                detail="as they said",
                finished_at="2026-01-01T00:00:00+00:00",
                host="their-node",
                audio_path="x" if status is Status.OK else "",
            )
            manifest.append(row)
    merge(data.root)
    export_unavailable(data.root, data.root / "gone.jsonl")
    return data


@pytest.mark.parametrize("name", ["gone.jsonl", "manifest.parquet", "manifest.csv", "manifests/eval_segments.01.jsonl"])
def test_permanent_rows_are_taken_over_once(theirs: DataDir, tmp_path: Path, name: str) -> None:
    ours = tree(tmp_path / "ours", [f"-video____{n}" for n in range(5)], 2)
    ours.manifests.mkdir()
    shard = ShardId(SUBSET, 1)
    with ManifestWriter(ours.manifest(shard)) as manifest:
        manifest.append(ManifestRow.of(read_shard(ours.shard_csv(shard), SUBSET)[2], 1, Status.OK))  # their "private"
    report = take_over(ours.root, theirs.root / name)
    assert dict(report.taken) == {"removed": 1} and report.recorded == 1 and report.unplanned == 1
    assert report.passed_over["geo_blocked"] == 1
    found = {key.ytid: one for s in ours.recorded_shards() for key, one in replay(ours.manifest(s)).items()}
    assert found["-video____0"].status == "unavailable" and found["-video____4"].status == "ok" and len(found) == 2
    [row] = [row for row in read_rows(ours.manifest(shard), warn_of_problem) if row["ytid"] == "-video____0"]
    assert row["detail"] == f"known from {Path(name).name}: as they said" and row["host"] == "" and row["requests"] == 0
    assert row["finished_at"].startswith("2026-01-01")
    again = take_over(ours.root, theirs.root / name)
    assert not again.taken and again.recorded == 2
    assert merge(ours.root).summary["totals"] == {"planned": 5, "ok": 1, "unavailable": 1, "failed": 0, "pending": 3}


@pytest.mark.parametrize("reason", ["no_audio", "no_video", "format_unavailable"])
def test_what_depends_on_their_config_is_not_taken(theirs: DataDir, tmp_path: Path, reason: str) -> None:
    ours = tree(tmp_path / "ours", ["-video____1"], 1)
    row = {"ytid": "-video____1", "start_seconds": 0, "end_seconds": 10, "status": "unavailable", "reason": reason}
    (tmp_path / "gone.jsonl").write_text(json.dumps(row))
    report = take_over(ours.root, tmp_path / "gone.jsonl", geo_blocked=True)
    assert not report.taken and report.passed_over == {reason: 1}


def test_geo_blocked_is_taken_when_asked_for(theirs: DataDir, tmp_path: Path) -> None:
    ours = tree(tmp_path / "ours", ["-video____1"], 1)
    report = take_over(ours.root, theirs.root / "gone.jsonl", geo_blocked=True)
    assert dict(report.taken) == {"geo_blocked": 1} and "geo_blocked" not in report.passed_over
    assert main(["adopt", str(ours.root), "--known-geo-blocked"]) == 2
    assert main(["prep", str(ours.root), "--known-geo-blocked"]) == 2


def test_a_held_shard_is_left_alone(theirs: DataDir, tmp_path: Path) -> None:
    ours = tree(tmp_path / "ours", ["-video____0"], 1)
    ours.manifests.mkdir()
    with Lease.acquire(ours.lease(ShardId(SUBSET, 1)), Holder.current(), 60), pytest.raises(ShardHeld):
        take_over(ours.root, theirs.root / "gone.jsonl")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", "not json\n", "a.jsonl:1: expected a manifest row"),
        ("a.jsonl", "[" * 5000, "a.jsonl:1: expected a manifest row"),
        ("a.jsonl", "[1]\n", "an object; got list"),
        ("a.jsonl", '{"ytid": "x"}\n', "row 1 is not a row of a manifest"),
        ("a.csv", "ytid,when\nx,3\n", "start_seconds, end_seconds, status, reason are missing"),
        ("a.parquet", "not parquet", "cannot be read as a table"),
        ("a.txt", "", "expected .jsonl"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    ours = tree(tmp_path / "ours", ["-video____0"], 1)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputRefused, match=words.replace("(", r"\(")):
        take_over(ours.root, tmp_path / name)
    with pytest.raises(InputRefused, match=r"[Nn]o such file"):
        take_over(ours.root, tmp_path / "none.jsonl")


def test_the_commands(theirs: DataDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = tree(tmp_path / "ours", ["-video____0", "-video____4"], 1)
    assert main(["adopt", str(ours.root), "--known", str(theirs.root / "gone.jsonl")]) == 0
    assert "2 taken over (removed 1, private 1)" in capsys.readouterr().out
    assert main(["adopt", str(ours.root), "--known", "none.jsonl"]) == 1
    assert main(["prep", str(tmp_path / "new"), "--known", "none.jsonl"]) == 2
    assert not (tmp_path / "new").exists()
    frame = pd.read_parquet(theirs.root / "manifest.parquet")
    assert len(frame) == 6


def test_what_was_taken_over_is_counted_without_reading_rows(theirs: DataDir, tmp_path: Path) -> None:
    ours = tree(tmp_path / "ours", [f"-video____{n}" for n in range(5)], 1)
    take_over(ours.root, theirs.root / "gone.jsonl")
    state = read_state(ours.state(ShardId(SUBSET, 1)))
    assert state is not None and state.finished and not state.note
    assert (state.planned, state.counts, state.reasons) == (5, {"unavailable": 2}, {"removed": 1, "private": 1})
    reset(ours, Choice(reasons=("private",)))
    state = read_state(ours.state(ShardId(SUBSET, 1)))
    assert state is not None and state.counts == {"unavailable": 1}
