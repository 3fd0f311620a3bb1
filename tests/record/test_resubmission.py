"""Notes of tasks that SLURM did not requeue: one command for all of a kind, none from what others may have written."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.record.resubmission import (
    Resubmission,
    command,
    commands,
    forget_resubmissions,
    note_resubmission,
    read_resubmissions,
)
from audioset_batch.sharedfs import folders as sharedfs


def note(number: int, **values: Any) -> Resubmission:
    common: dict[str, Any] = {"index": number, "job_id": f"7_{number}", "why": "SLURM was silent", "at": 1.8e9}
    common |= {"folder": "/the checkout", "script": "/the checkout/audiosetdl-job-array.s", "parallel": 2}
    common |= {
        "ours": True,
        "options": ("--mem=600M",),
        "arguments": ("--config", "/my site.yaml", "--data-dir", "/data/50%"),
    }
    return Resubmission(shard=f"eval_segments.{number:02d}", number=number, **common | values)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    (tmp_path / "state").mkdir()
    return DataDir(tmp_path)


def test_one_command_for_the_shards_of_one_array(data: DataDir) -> None:
    written = [note(3), note(7), note(12, arguments=("--data-dir", "/other"))]
    for one in written:
        note_resubmission(data, one)
    assert read_resubmissions(data) == written
    told = commands(read_resubmissions(data))
    assert len(told) == 4
    assert "no task will continue eval_segments.03, eval_segments.07: job 7_3 was not requeued" in told[0]
    assert told[1] == (
        "  cd '/the checkout' && sbatch --array=3,7%2 --mem=600M '/the checkout/audiosetdl-job-array.s' "
        "--config '/my site.yaml' --data-dir /data/50%"
    )
    forget_resubmissions(data, [ShardId("eval_segments", 7)])
    forget_resubmissions(data, [ShardId("eval_segments", 8)])
    assert [one.number for one in read_resubmissions(data)] == [3, 12]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"number": 1503, "index": 503}, "sbatch --array=503%2 --mem=600M "),
        ({"number": 1503, "index": 503}, "audiosetdl-job-array.s' --shard-offset 1000 --config "),
        ({"index": None}, "sbatch --mem=600M '/the checkout/audiosetdl-job-array.s' --config "),
        ({"index": None}, " --task 3"),
        ({"index": None, "ours": False, "script": "/my own.s", "arguments": ("x",)}, "sbatch --mem=600M '/my own.s' x"),
        ({"script": "", "folder": ""}, "audioset-batch submit --config '/my site.yaml'"),
    ],
)  # fmt: skip
def test_other_kinds_of_jobs(values: dict[str, Any], expected: str) -> None:
    number = values.pop("number", 3)
    assert expected in command([note(number, **values)])


@pytest.mark.parametrize(
    "damage",
    [
        {"options": ["--wrap=\x1b[2Jrm"]},
        {"options": "--wrap=rm"},
        {"options": [["--wrap"]]},
        {"options": ["x"] * 300},
        {"script": 7},
        {"at": 1e300},
        {"index": -1},
        {"number": "x"},
        {"format": 2},
        {"shard": "eval_segments.04"},
        {"why": None},
    ],
)
def test_what_is_no_note_is_passed_over(data: DataDir, damage: dict[str, Any]) -> None:
    note_resubmission(data, note(3))
    path = data.resubmission("eval_segments.03")
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    assert read_resubmissions(data) == []


def test_no_command_from_what_others_could_have_written(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    data.states.chmod(0o2775)
    os.umask(os.umask(0o002))
    note_resubmission(data, note(3))
    path = data.resubmission("eval_segments.03")
    assert path.stat().st_mode & 0o777 == 0o644, "the group could change what a user is going to run"
    assert commands(read_resubmissions(data))[1].startswith("  cd ")
    path.chmod(0o664)
    assert "submit it again" in commands(read_resubmissions(data))[1]
    assert "sbatch" not in "".join(commands(read_resubmissions(data)))
    path.chmod(0o644)
    monkeypatch.setattr(sharedfs.os, "geteuid", lambda: path.stat().st_uid + 1)
    monkeypatch.setattr(sharedfs, "_trusted", frozenset())
    assert "sbatch" not in "".join(commands(read_resubmissions(data)))


def test_a_note_that_is_a_link_is_not_followed(data: DataDir, tmp_path: Path) -> None:
    note_resubmission(data, note(3))
    path = data.resubmission("eval_segments.03")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert read_resubmissions(data) == []
    path.unlink()
    path.write_bytes(b" " * 100_000)
    assert read_resubmissions(data) == []
