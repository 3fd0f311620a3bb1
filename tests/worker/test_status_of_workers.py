"""What `status`, `logs` and `clip` tell of real workers: at work, stopped, dead, finished; and of a real SLURM."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from audioset_batch.layout import DataDir
from audioset_batch.model import ManifestRow
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import ManifestWriter, read_rows, warn_of_problem
from tests.support import CHECKOUT
from tests.support.loopback import Project
from tests.support.running import Worker
from tests.support.slurm_cluster import PrivateSlurm
from tests.support.waiting import wait_until

MakeProject = Callable[..., Project]


def status(project: Project, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.run("status", str(project.data), "--json", *more).stdout)
    return found


def shard(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = status(project)["shards"][0]
    return found


def test_from_untouched_to_done(make_project: MakeProject) -> None:
    project = make_project(24)
    before = status(project)
    assert before["totals"]["pending"] == before["left"] == 24 and before["shards"][0]["activity"] == "open"
    with Worker(project) as worker:
        worker.wait_rows(4)
        seen = wait_until(lambda: (now := status(project))["totals"]["ok"] > 1 and now, "a count")
        line = seen["shards"][0]
        assert line["activity"] == "running" and line["exact"] and line["segments_per_hour"] > 0
        assert seen["segments_per_hour"] == line["segments_per_hour"] and seen["seconds_left_at_pace"] > 0
        assert seen["seconds_left_at_budget"] is None, "this egress has no budget"
        assert [one["name"] for one in seen["egresses"]] == ["loopback"], "as the workers noted, without --config"
        shown = project.run("status", str(project.data)).stdout
        assert "1 running" in shown and "segments an hour" in shown
        assert worker.end() == 0
    project.merge()
    summary = json.loads((project.data / "summary.json").read_text())
    done = status(project)
    totals = {key: done["totals"][key] for key in ("planned", "ok", "unavailable", "failed", "pending")}
    assert totals == {key: summary["totals"][key] for key in totals}
    assert done["totals"]["reasons"] == summary["reasons"]
    assert done["shards"][0]["activity"] == "done"
    assert "Nothing is left to do" in project.run("status", str(project.data)).stdout
    assert "no task stopped" in project.run("logs", str(project.data)).stdout


def test_stopped_and_why(make_project: MakeProject) -> None:
    project = make_project(24)
    with Worker(project) as worker:
        worker.wait_rows(3)
        worker.send(signal.SIGTERM)
        assert worker.end(13) == 75
    line = shard(project)
    assert (line["activity"], line["note"]) == ("stopped", "stopped by signal SIGTERM")
    assert line["counts"]["ok"] + line["counts"]["unavailable"] == len(worker.rows())
    assert "stopped by signal SIGTERM" in project.run("status", str(project.data)).stdout
    logs = project.run("logs", str(project.data), "--folder", str(project.folder)).stdout
    assert "   eval_segments.01 stopped; stopped by signal SIGTERM" in logs and "no log found" in logs


@pytest.mark.slow
def test_killed_with_a_state_file_that_is_behind(make_project: MakeProject) -> None:
    project = make_project(24, state_seconds=1000)
    with Worker(project) as worker:
        worker.wait_rows(6)
        worker.process.kill()
        worker.process.wait(10)
    manifest = DataDir(project.data).manifest(next(iter(DataDir(project.data).recorded_shards())))
    os.utime(manifest, (manifest.stat().st_mtime + 60,) * 2)
    line = shard(project)
    assert line["activity"] == "lost" and "gave no sign of life" in line["note"]
    assert line["exact"] and line["counts"]["ok"] + line["counts"]["unavailable"] == len(worker.rows()) >= 6


def test_clip_tells_every_row_and_what_is_missing(make_project: MakeProject) -> None:
    project = make_project(8)
    project.worker(1)
    data = DataDir(project.data)
    [name] = data.recorded_shards()
    done = next(row for row in read_rows(data.manifest(name), warn_of_problem) if row["status"] == "ok")
    project.run("retry", str(project.data), f"--ytid={done['ytid']}", "--reset")
    facts = json.loads(project.run("clip", str(project.data), "--json", "--", done["ytid"]).stdout)
    assert len(facts) == 1 and facts[0]["planned"] and facts[0]["rows"][0] == done
    assert facts[0]["files"][0]["found"] == done["audio_bytes"]
    (data.root / done["audio_path"]).unlink()
    text = project.run("clip", str(project.data), "--", done["audio_path"]).stdout
    assert "MISSING" in text and done["audio_sha256"] in text
    project.run("clip", str(project.data), "--", "AAAAAAAAAAA", status=1)


@pytest.mark.slurm
def test_tasks_of_a_real_slurm(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    project = make_project(24)
    project.prep(2)
    env = project.env | {
        "AUDIOSET_CONFIG": str(project.config),
        "DATADIR": str(project.data),
        "SRCDIR": str(CHECKOUT),
    }
    script = str(CHECKOUT / "audiosetdl-job-array.s")
    job = slurm.sbatch("--array=1-2%1", "--cpus-per-task=1", "--mem=500M", script, cwd=project.folder, env=env)
    look = env | slurm.env

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(project.run("status", str(project.data), "--json", env=look).stdout)
        return found

    running = wait_until(lambda: (now := seen())["shards"][0]["activity"] == "running" and now, "a running task")
    assert running["slurm"] == "answered" and running["shards"][0]["job_id"] == f"{job}_1"
    assert (running["shards"][1]["activity"], running["shards"][1]["job_id"]) == ("queued", f"{job}_2")
    slurm.cancel(job)
    slurm.wait(job)
    ended = seen()["shards"][0]
    assert ended["activity"] == "stopped", ended
    logs = project.run("logs", str(project.data), env=look).stdout
    assert f"job {job}_1" in logs and f"audiosetdl-{job}_1.log" in logs and "stopped by signal SIGTERM" in logs


def test_failed_segments_point_to_their_log(make_project: MakeProject) -> None:
    project = make_project(4)
    data = DataDir(project.data)
    project.worker(1)
    [name] = data.recorded_shards()
    segment = read_shard(data.shard_csv(name), name.subset)[0]
    with ManifestWriter(data.manifest(name)) as writer:
        writer.append(ManifestRow.of(segment, 1, Status.PENDING, reason="retry"))
        writer.append(ManifestRow.of(segment, 1, Status.FAILED, reason=Reason.TIMEOUT))
    os.utime(data.manifest(name), (data.manifest(name).stat().st_mtime + 60,) * 2)
    log = data.logs / "audiosetdl-local.log"
    data.logs.mkdir()
    log.write_text("".join(f"line {n}\n" for n in range(40)))
    text = project.run("logs", str(project.data), "--lines", "3").stdout
    assert "1 failed" in text and "line 39" in text and "line 36" not in text
    assert status(project)["totals"]["failed"] == 1


@pytest.mark.slow
@pytest.mark.slurm
def test_accounting_tells_how_a_task_ended(make_slurm: Callable[..., PrivateSlurm], make_project: MakeProject) -> None:
    project = make_project(4)
    data = DataDir(project.data)
    cluster = make_slurm(accounting=True)
    job = cluster.sbatch("--array=1", "--wrap=exit 7", cwd=project.folder)
    cluster.wait(job)
    name = data.shards("eval_segments")[0]
    data.states.mkdir(exist_ok=True)
    data.state(name).write_text(json.dumps({"planned": 4, "job_id": f"{job}_1"}))
    look = project.env | cluster.env

    def line() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(project.run("status", str(project.data), "--json", env=look).stdout)
        shown: dict[str, Any] = found["shards"][0]
        return shown

    ended = wait_until(lambda: (now := line())["activity"] == "stopped" and now, "accounting, which lags")
    assert ended["note"] == "SLURM: FAILED, exit 7:0"

    twice = 'sleep 2; [ -n "$SLURM_RESTART_COUNT" ] || { scontrol requeue $SLURM_JOB_ID; sleep 9; }'
    job = cluster.sbatch("--cpus-per-task=2", "--mem=300M", wrap=twice, cwd=project.folder)
    data.usage.mkdir(exist_ok=True)
    noted = {"job_id": str(job), "cpus": 2, "core_seconds": 1.0, "segments": 4, "clips": 4}
    data.usage_of(name).write_text(json.dumps({"format": 1, "tasks": [noted]}))

    def held() -> float:
        costs = json.loads(project.run("status", str(project.data), "--json", env=look).stdout)["costs"]
        return costs["held_core_hours"] * 3600 if costs["source"] == "sacct" else 0.0

    wait_until(lambda: held() > 6, "both runs of a job of two CPUs, two seconds each", seconds=60)
    assert held() < 60
