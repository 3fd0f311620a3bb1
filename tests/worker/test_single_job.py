"""One job for all shards on a real SLURM: beside another one, requeued, and killed."""

from collections.abc import Callable
from typing import Any

import pytest

from audioset_batch.layout import DataDir
from audioset_batch.record.manifest import read_rows
from tests.support import CHECKOUT
from tests.support.loopback import Project
from tests.support.slurm_cluster import PrivateSlurm
from tests.support.verdicts import check_not_asked_again, leftovers, settled_at
from tests.support.waiting import wait_until

MakeProject = Callable[..., Project]


def submit(slurm: PrivateSlurm, project: Project, *arguments: str) -> int:
    script = str(CHECKOUT / "jobs" / "download.s")
    places = ("--config", str(project.config), "--data-dir", str(project.data))
    shape = ("--cpus-per-task=1", "--mem=500M")
    return slurm.sbatch(*shape, script, *places, *arguments, cwd=project.folder, env=project.env)


def rows_of(project: Project) -> list[dict[str, Any]]:
    data = DataDir(project.data)
    return [row for shard in data.recorded_shards() for row in read_rows(data.manifest(shard), lambda _: None)]


def wait_rows(project: Project, count: int, job: int | None = None) -> None:
    def found() -> bool:
        return sum(job is None or row["job_id"] == str(job) for row in rows_of(project)) >= count

    wait_until(found, f"{count} rows of job {job}", 90)


@pytest.mark.slow
def test_two_jobs_share_the_shards_through_a_requeue_and_a_kill(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    project = make_project(40, delay=0.8, threads=3, lease_seconds=6)
    project.prep(10)
    first, second = submit(slurm, project), submit(slurm, project)
    logs = {job: project.folder / f"audiosetdl-{job}.log" for job in (first, second)}
    wait_rows(project, 3, first)
    wait_rows(project, 3, second)
    slurm.cancel(second, "--batch", "--signal=KILL")
    slurm.cancel(first, "--batch", "--signal=USR1")
    slurm.wait_state(first, "PENDING", "RUNNING", "COMPLETED", restarts=1)
    if slurm.task(first).state == "PENDING":
        slurm.start_now(first)
    task = slurm.wait(first, timeout=120)[0]
    assert (task.state, task.restarts) == ("COMPLETED", 1), logs[first].read_text()
    assert slurm.wait(second)[0].state != "COMPLETED"
    rows = rows_of(project)
    assert {row["job_id"] for row in rows} == {str(first), str(second)}
    project.check(project.merge(), project.youtube.catalog)
    check_not_asked_again(settled_at(rows), project.youtube.events())
    assert leftovers(project.data) == []
    assert "is being worked on by job" in logs[first].read_text() + logs[second].read_text()
    assert f"taking over from job {second}" in logs[first].read_text()


@pytest.mark.slow
def test_a_job_beside_an_array_and_a_list_of_shards(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    project = make_project(12, delay=0.1)
    project.prep(4)
    job = submit(slurm, project, "--task", "2-4")
    array = slurm.sbatch(
        *("--array=1", "--cpus-per-task=1", "--mem=500M", str(CHECKOUT / "audiosetdl-job-array.s")),
        *("--config", str(project.config), "--data-dir", str(project.data)),
        cwd=project.folder,
        env=project.env,
    )
    assert slurm.wait(job, timeout=120)[0].state == "COMPLETED"
    assert slurm.wait(array, timeout=120)[1].state == "COMPLETED"
    project.check(project.merge(), project.youtube.catalog)
    by = {row["shard"]: row["job_id"] for row in rows_of(project)}
    assert by == {1: f"{array}_1", 2: str(job), 3: str(job), 4: str(job)}
