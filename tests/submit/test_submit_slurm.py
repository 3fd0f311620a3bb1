"""`submit` on a real SLURM: the chain, what a second submit says, chunks, failed tasks, the time limit."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.loopback import Project
from tests.support.slurm_cluster import PrivateSlurm
from tests.support.waiting import wait_until


def submit(project: Project, *more: str, status: int = 0) -> dict[str, list[int]]:
    """Submit and return the ids of the jobs by role."""
    done = project.run("submit", "--config", str(project.config), *more, status=status)
    jobs: dict[str, list[int]] = {}
    for role, job in re.findall(r"(?m)^(\w+) +job (\d+)", done.stdout):
        jobs.setdefault(role, []).append(int(job))
    return jobs


def logs(project: Project) -> str:
    return "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted((project.data / "logs").glob("*.log")))


def test_prep_array_and_merge_in_one_go_then_nothing_left(
    slurm: PrivateSlurm, on_slurm: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the site passes no variable on to jobs, into a folder with an odd name."""
    project = on_slurm
    project.data = project.folder / "50% of the data"
    project.settings |= {"data_dir": str(project.data), "youtube": {"args": ["--no-check-certificates"]}}
    project.write_config()
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    jobs = submit(project, "--subsets", "eval_segments", "--split", "3")
    assert list(jobs) == ["prep", "array", "merge", "report"]
    slurm.wait(jobs["merge"][0], timeout=120)
    assert slurm.states(jobs["prep"][0]) == {0: "COMPLETED"}, logs(project)
    assert slurm.states(jobs["array"][0]) == dict.fromkeys((1, 2, 3), "COMPLETED"), logs(project)
    assert slurm.states(jobs["merge"][0]) == {0: "COMPLETED"}, logs(project)
    project.check(project.merge(), project.youtube.catalog)
    assert {f"{jobs['array'][0]}_{task}" for task in (1, 2, 3)} == set(project.merge().job_id)
    slurm.wait(jobs["report"][0])

    again = submit(project)
    assert list(again) == ["merge", "report"], "shards without work left were submitted"


@pytest.mark.slow
def test_one_job_for_all_shards(slurm: PrivateSlurm, on_slurm: Project) -> None:
    project = on_slurm
    project.youtube.board.set_delay(30)
    jobs = submit(project, "--subsets", "eval_segments", "--split", "3", "--single-job")
    assert list(jobs) == ["prep", "download", "merge", "report"]
    job = jobs["download"][0]
    slurm.wait_state(job, "RUNNING", timeout=90)
    first = project.data / "state" / "eval_segments.01.json"
    wait_until(lambda: first.exists() and json.loads(first.read_text())["job_id"] == str(job), "the job")
    shown = json.loads(project.run("status", str(project.data), "--json").stdout)
    assert {line["job_id"] for line in shown["shards"]} == {str(job)}
    assert {line["activity"] for line in shown["shards"]} <= {"running", "queued"}
    refused = project.run("submit", "--config", str(project.config), "--single-job", status=75)
    assert f"download: {job} running" in refused.stderr
    project.youtube.board.set_delay(0)
    assert slurm.wait(job, timeout=120)[0].state == "COMPLETED", logs(project)
    assert slurm.wait(jobs["merge"][0], timeout=60)[0].state == "COMPLETED", logs(project)
    assert set(project.merge().job_id) == {str(job)}
    project.check(project.merge(), project.youtube.catalog)
    assert (project.data / "logs" / f"audiosetdl-{job}.log").exists()
    assert list(submit(project, "--single-job")) == ["merge", "report"], "nothing is left"


@pytest.mark.slow
def test_only_shards_with_work_left_and_not_twice_at_a_time(slurm: PrivateSlurm, on_slurm: Project) -> None:
    project = on_slurm
    project.prep(4)
    project.worker(2)
    slurm.scontrol("update", "PartitionName=main", "State=DOWN")
    try:
        jobs = submit(project)
        assert list(slurm.states(jobs["array"][0])) == [1, 3, 4]
        refused = project.run("submit", "--config", str(project.config), status=75)
        assert f"array: {jobs['array'][0]}_" in refused.stderr
        assert f"scancel {jobs['array'][0]} {jobs['merge'][0]} {jobs['report'][0]}" in refused.stderr
        shown = project.run("submit", "--config", str(project.config), "--dry-run").stdout
        assert "--array=1,3-4%4" in shown
        slurm.cancel(jobs["array"][0])
    finally:
        slurm.scontrol("update", "PartitionName=main", "State=UP")
    # merge and report run although the array was cancelled
    merge = slurm.wait(jobs["merge"][0])[0]
    assert merge.exit_code == 1
    assert project.summary()["totals"]["pending"] > 0


@pytest.mark.slow
def test_failed_task_does_not_hold_merge_back(slurm: PrivateSlurm, on_slurm: Project) -> None:
    project = on_slurm
    project.prep(2)
    (project.data / "eval_segments.csv.02").write_text("this is no shard\n")
    project.settings["slurm"]["setup"] = ['[ "${SLURM_ARRAY_TASK_ID:-1}" != 2 ] || exit 3']
    project.write_config()
    refused = project.run("submit", "--config", str(project.config), status=1)
    assert "eval_segments.csv.02" in refused.stderr
    project.prep(2)
    jobs = submit(project)
    merge = slurm.wait(jobs["merge"][0], timeout=90)[0]
    assert {i: task.exit_code for i, task in slurm.wait(jobs["array"][0]).items()} == {1: 0, 2: 3}
    assert merge.exit_code == 1, logs(project)
    assert project.summary()["totals"]["pending"] == 4
    slurm.wait(jobs["report"][0])


def test_failed_prep_ends_the_chain_instead_of_blocking_it(slurm: PrivateSlurm, on_slurm: Project) -> None:
    on_slurm.settings["source"]["base_url"] = str(on_slurm.folder / "nowhere")
    on_slurm.write_config()
    jobs = submit(on_slurm, "--subsets", "eval_segments", "--split", "2")
    slurm.wait(jobs["report"][0], timeout=60)
    assert slurm.states(jobs["prep"][0]) == {0: "FAILED"}
    assert set(slurm.states(jobs["array"][0]).values()) == {"CANCELLED"}


@pytest.mark.slow
def test_pieces_of_an_array_for_a_small_cluster(
    make_slurm: Callable[..., PrivateSlurm], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_slurm(max_array_size=3)
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    monkeypatch.setenv("PATH", cluster.env["PATH"])
    project.prep(5)
    jobs = submit(project)
    assert len(jobs["array"]) == 3
    cluster.wait(jobs["merge"][0], timeout=120)
    assert [cluster.states(job) for job in jobs["array"]] == [
        {1: "COMPLETED", 2: "COMPLETED"}, {1: "COMPLETED", 2: "COMPLETED"}, {1: "COMPLETED"}
    ], logs(project)  # fmt: skip
    project.check(project.merge(), project.youtube.catalog)


@pytest.mark.slow
def test_warned_task_requeues_itself_and_merge_waits_for_it(slurm: PrivateSlurm, on_slurm: Project) -> None:
    project = on_slurm
    project.settings["worker"]["grace_seconds"] = 0
    project.write_config()
    project.prep(1)
    project.youtube.board.set_delay(30)
    jobs = submit(project)
    array, merge = jobs["array"][0], jobs["merge"][0]
    manifest = project.data / "state" / "eval_segments.01.json"
    wait_until(lambda: manifest.exists() and not json.loads(manifest.read_text())["finished"], "a worker")
    slurm.cancel(f"{array}_1", "--batch", "--signal=USR1")
    slurm.wait_state(f"{array}_1", "PENDING", restarts=1)
    assert slurm.task(merge).state == "PENDING"
    project.youtube.board.set_delay(0)
    slurm.start_now(f"{array}_1")
    assert slurm.wait(array, timeout=90)[1].state == "COMPLETED", logs(project)
    assert slurm.wait(merge)[0].state == "COMPLETED"
    table = project.merge()
    project.check(table, project.youtube.catalog)
    assert table.restart_count.max() == 1


def test_refusal_of_sbatch_is_shown_and_leaves_no_job(slurm: PrivateSlurm, on_slurm: Project) -> None:
    on_slurm.prep(1)
    on_slurm.settings["slurm"]["partition"] = "nowhere"
    on_slurm.write_config()
    refused = on_slurm.run("submit", "--config", str(on_slurm.config), status=1)
    assert "invalid partition specified: nowhere" in refused.stderr
    assert not [task for task in slurm.squeue() if not task.finished]


def test_shards_of_chosen_rows_are_not_split_again(on_slurm: Project) -> None:
    on_slurm.prep(1, "--limit", "4")
    refused = on_slurm.run("submit", "--config", str(on_slurm.config), "--split=2", status=2)
    assert "chosen rows only" in refused.stderr
    assert not Path(on_slurm.data / "logs").exists()
