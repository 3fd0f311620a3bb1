"""What tasks note of what they hold and use, and what is made of it."""

import json
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from audioset_batch.config import Config
from audioset_batch.config.reservation import needed, reserved
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.reasons import Status
from audioset_batch.record import costs as costs_module
from audioset_batch.record.costs import Costs, cost_so_far, read_costs, too_much_held
from audioset_batch.record.usage import TaskUsage, UsageNote, measured_cpu_seconds, read_usage

SHARD = ShardId("eval_segments", 7)
IN_SLURM = {"SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_NODE": "8192"}


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path)


def note(data: DataDir, job_id: str, ok: int = 0, environ: dict[str, str] = IN_SLURM) -> None:
    """One run of a task that takes a moment and makes `ok` clips."""
    with UsageNote(data, SHARD, job_id, estimated_cpu_seconds=0.3, every=60, pids=list, environ=environ) as usage:
        usage.rows.update({Status.OK: ok, Status.UNAVAILABLE: ok})
        time.sleep(0.05 if ok > 1 else 0)


def write(data: DataDir, *tasks: dict[str, object]) -> None:
    data.usage.mkdir(parents=True, exist_ok=True)
    data.usage_of(SHARD).write_text(json.dumps({"format": 1, "tasks": tasks}))


def test_runs_of_a_task_are_added_up_and_other_tasks_kept(data: DataDir) -> None:
    note(data, "12_7", ok=3)
    note(data, "12_7", ok=2)
    note(data, "15_7", ok=1)
    note(data, "", ok=1)
    first, second, local = read_usage(data)
    assert (first.job_id, first.runs, first.clips, first.segments) == ("12_7", 2, 5, 10)
    assert (first.cpus, first.mem_mb) == (4, 8192)
    assert first.seconds >= 0.1, "of both runs"
    assert first.core_seconds == pytest.approx(4 * first.seconds, abs=0.02)
    assert first.mb_seconds == pytest.approx(8192 * first.seconds, rel=0.05)
    assert first.cpu_seconds > 0
    assert (second.job_id, second.runs) == ("15_7", 1)
    assert (local.job_id, local.cpus, local.core_seconds) == ("", 0, 0), "one machine holds nothing"


def test_memory_by_cpu_and_what_slurm_does_not_say(data: DataDir) -> None:
    note(data, "1", environ={"SLURM_CPUS_PER_TASK": "2", "SLURM_MEM_PER_CPU": "300"})
    note(data, "2", environ={"SLURM_CPUS_ON_NODE": "²", "SLURM_MEM_PER_NODE": "-1"})
    assert [(task.cpus, task.mem_mb) for task in read_usage(data)] == [(2, 600), (0, 0)]


def test_a_file_stays_small(data: DataDir) -> None:
    for job in range(40):
        note(data, str(job + 1), ok=1)
    tasks = read_usage(data)
    assert len(tasks) == 32
    assert sum(task.clips for task in tasks) == 40
    assert data.usage_of(SHARD).stat().st_size < 20_000


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": 2, "tasks": []}',
        '{"tasks": 5}',
        '{"tasks": [5]}',
        '{"tasks": [{"job_id": "--help"}]}',
        '{"tasks": [{"job_id": "1\\n2"}]}',
        '{"tasks": [{"cpu_seconds": -5}]}',
        '{"tasks": [{"cpu_seconds": NaN}]}',
        '{"tasks": [{"cpus": 1e300}]}',
        json.dumps({"tasks": [{}] * 1000}),
        " " * 100_000,
    ],
)
def test_what_is_no_usage_is_passed_over(data: DataDir, content: str) -> None:
    data.usage.mkdir(parents=True)
    data.usage_of(SHARD).write_text(content)
    assert read_usage(data) == []
    assert read_costs(data).source == ""
    note(data, "3", ok=1)
    assert [task.job_id for task in read_usage(data)] == ["3"]


def test_a_link_is_not_followed_and_a_full_disk_is_no_error(data: DataDir, tmp_path: Path) -> None:
    data.usage.mkdir(parents=True)
    other = tmp_path / "other.json"
    other.write_text('{"tasks": [{"job_id": "9"}]}')
    data.usage_of(SHARD).symlink_to(other)
    assert read_usage(data) == []
    data.usage_of(SHARD).unlink()
    data.usage.rmdir()
    data.usage.symlink_to(tmp_path / "nowhere")
    note(data, "3", ok=1)
    assert read_usage(data) == []


def test_measured_seconds_are_of_the_same_kind_of_work_and_within_reason(data: DataDir) -> None:
    audio, video = Config(), Config.model_validate({"video": {"mode": "bestvideoaudio"}})
    task = {"job_id": "1", "cpu_seconds": 100.0, "segments": 200, "estimated_cpu_seconds": 0.3}
    write(data, task)
    assert measured_cpu_seconds(data, audio) == 0.5
    assert measured_cpu_seconds(data, video) is None, "rows of audio say nothing of pictures"
    write(data, task | {"segments": 99})
    assert measured_cpu_seconds(data, audio) is None, "too few"
    write(data, task | {"cpu_seconds": 1e9})
    assert needed(audio, measured_cpu_seconds(data, audio)).cpu_seconds == 3.0, "ten times the estimate at most"
    many = Config.model_validate({"egress": [{"name": str(n), "videos_per_hour": 300} for n in range(30)]})
    assert reserved(many).cpus == 1
    assert reserved(many, 0.9).cpus == 3


SACCT = """#!/bin/sh
echo "$@" >> {log}
{act}
"""


@pytest.fixture
def sacct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A sacct that does what the test says; the real one is asked in tests/slurm."""

    def make(act: str) -> Path:
        program, log = tmp_path / "bin" / "sacct", tmp_path / "asked"
        program.parent.mkdir(exist_ok=True)
        program.write_text(SACCT.format(log=log, act=act))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        return log

    return make


TASKS = (
    {"job_id": "12_1", "cpus": 1, "seconds": 3600.0, "core_seconds": 3600.0, "mb_seconds": 3600 * 600.0, "clips": 200,
     "segments": 250, "began_at": "2026-01-01T00:00:00+00:00", "updated_at": "2026-01-01T01:00:00+00:00"},
    {"job_id": "13", "cpus": 1, "seconds": 3600.0, "core_seconds": 3600.0, "cpu_seconds": 360.0},
)  # fmt: skip


def test_accounting_counts_before_the_tasks_own_clocks(data: DataDir, sacct) -> None:  # type: ignore[no-untyped-def]
    write(data, *TASKS)
    lines = [
        "12_1|1800|2|billing=2,cpu=2,mem=1G,node=1",
        "12_1|1800|2|cpu=2,mem=1024M",
        "12_2|3600|1|",
        "7|9|9|",
        "x|y",
    ]
    asked = sacct("\n".join(f"echo '{line}'" for line in lines))
    costs = read_costs(data)
    assert (costs.source, costs.held_core_hours, costs.held_gb_hours) == ("sacct", 4, 1), "3 of job 12, 1 of job 13"
    assert (costs.clips, costs.segments, costs.used_core_hours) == (200, 250, 0.1)
    assert "--jobs=12,13" in asked.read_text()
    assert "--duplicates" in asked.read_text()
    assert cost_so_far(costs) == (
        "4 core-hours and 1 GB-hours held (20 core-hours per 1,000 clips), 0.1 core-hours used; by sacct"
    )


@pytest.mark.parametrize(
    "act", ["exit 1", "echo 'Slurm accounting storage is disabled' >&2; exit 1", "sleep 5", "echo"]
)
def test_without_an_answer_the_tasks_tell(  # type: ignore[no-untyped-def]
    data: DataDir, sacct, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs_module, "_SACCT_TIMEOUT_SECONDS", 0.2)
    write(data, *TASKS)
    sacct(act)
    costs = read_costs(data)
    assert (costs.source, costs.held_core_hours) == ("tasks", 2)
    assert cost_so_far(costs).endswith("by the tasks' own clocks")


def test_twice_the_need_is_told_with_the_line_to_change() -> None:
    need = needed(Config())  # 300 an hour
    began, ended = "2026-01-01T00:00:00+00:00", "2026-01-01T10:00:00+00:00"
    task = TaskUsage(job_id="1_1", cpus=4, mem_mb=8192, seconds=36000, began_at=began, updated_at=ended)
    held = Costs("tasks", 160, 320, 0.2, segments=3000, clips=2500, tasks=[task] * 4)
    assert too_much_held(held, need) == (
        "160 core-hours were held and 10 needed, 320 GB-hours were held and 5.9 needed: --cpus-per-task=1 "
        "(slurm.cpus_per_task: auto), --mem=600M (slurm.mem: auto), --array=...%1 (slurm.array_parallelism: auto)"
    )
    changed = TaskUsage(job_id="2_1", cpus=1, mem_mb=600, began_at=ended, updated_at="2026-01-02T00:00:00+00:00")
    assert too_much_held(replace(held, tasks=[task] * 4 + [changed]), need) == "", "it has been changed since"
    small = TaskUsage(job_id="1_1", cpus=1, mem_mb=600, seconds=36000, began_at=began, updated_at=ended)
    assert too_much_held(Costs("tasks", 40, 24, segments=3000, tasks=[small]), need) == "", "a ban: nothing to change"
    assert too_much_held(Costs("tasks", 1, 1, segments=10, tasks=[task]), need) == "", "start-up is no matter"
    unlimited = needed(Config.model_validate({"egress": [{"name": "x", "videos_per_hour": None}]}))
    assert too_much_held(held, unlimited) == ""
    assert too_much_held(Costs(), need) == ""
