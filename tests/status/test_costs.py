"""Core-hours in status, plan, merge and report, of a real worker that believes to be a task of SLURM."""

import json
from pathlib import Path

import pytest

from audioset_batch.cli import main
from audioset_batch.layout import DataDir
from audioset_batch.record.settings import egress_config
from audioset_batch.record.usage import read_usage
from audioset_batch.standin import Catalog, Standin
from tests.support.loopback import Project, make_rows

ROWS = 12


@pytest.mark.slow
def test_costs_are_told_by_every_command(
    tmp_path: Path, media_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(ROWS)
    needs = {row.ytid: row.end_ms / 1000 for row in rows}
    catalog = Catalog.from_ids(needs, seed=1, seconds=(60.0, 60.0), itags=(251,))
    with Standin(catalog, media_cache) as youtube:
        egress = [{"name": "loopback", "proxy": youtube.access().proxy, "videos_per_hour": 100_000}]
        settings = {"egress": egress, "slurm": {"array_parallelism": 5}, "worker": {"processes": 1, "threads": 4}}
        project = Project(tmp_path, {"eval_segments": rows}, youtube, settings)
        project.prep(2)
        job = {"SLURM_JOB_ID": "77", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "1"}
        job |= {"SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_NODE": "8192"}
        argv = ("worker", "--config", str(project.config), "--data-dir", str(project.data), "--task")
        project.run(*argv, "1", env=project.env | job)
    monkeypatch.setenv("PATH", "/nowhere")  # no sacct
    (task,) = read_usage(DataDir(project.data))
    assert (task.job_id, task.cpus, task.mem_mb) == ("70_1", 4, 8192)
    assert task.segments == ROWS // 2
    assert 0.5 < task.cpu_seconds < 60, "the processes of the pool count"
    assert task.core_seconds == pytest.approx(4 * task.seconds, abs=0.1)

    capsys.readouterr()
    assert main(["status", str(project.data)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "GB-hours held (" in said
    assert "core-hours used; by the tasks' own clocks" in said
    assert "what is left: " in said
    assert "core-hours per 1,000 segments" in said

    assert main(["status", str(project.data), "--json"]) == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert (costs["source"], costs["segments"], costs["clips"]) == ("tasks", task.segments, task.clips)
    each = costs["held_core_hours_per_1000_clips"]
    assert each == pytest.approx(1000 * task.core_seconds / 3600 / task.clips, rel=0.01)
    assert costs["expected_core_hours"] is not None
    assert costs["warning"] == ""
    noted = egress_config(DataDir(project.data))
    assert (noted.slurm.array_parallelism, noted.worker.processes, noted.worker.threads) == (5, 1, 4)

    options = ("--config", str(project.config), "--set", "slurm.cpus_per_task=32")
    assert main(["plan", str(project.data), *options]) == 0
    said = capsys.readouterr().out
    assert "warning: 5 tasks of 32 CPUs are asked for" in said and "slurm.cpus_per_task: auto" in said

    assert main(["merge", str(project.data), "--allow-pending"]) == 0
    assert project.summary()["cluster"] == costs
    assert main(["report", str(project.data)]) == 0
    page = (project.data / "report.html").read_text()
    assert "On the cluster" in page
    assert "expected for what is left" in page
