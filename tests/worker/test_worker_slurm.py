"""The life of an array task on a real SLURM: warnings, preemption, dead nodes, requeues and their end."""

import datetime
import itertools
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.layout import DataDir
from audioset_batch.record.manifest import read_rows
from audioset_batch.standin import Block
from tests.support import CHECKOUT, ytdlp_wheels
from tests.support.loopback import Project
from tests.support.loopback.project import GOOD_VIDEO
from tests.support.slurm_cluster import PrivateSlurm, Task
from tests.support.verdicts import check_not_asked_again, leftovers, settled_at
from tests.support.waiting import wait_until

MakeProject = Callable[..., Project]
STOPPED = 75


class Array:
    """One task of the job script, with what it wrote."""

    def __init__(self, slurm: PrivateSlurm, project: Project, *options: str) -> None:
        self.slurm = slurm
        self.project = project
        env = project.env | {
            "AUDIOSET_CONFIG": str(project.config),
            "DATADIR": str(project.data),
            "SRCDIR": str(CHECKOUT),
        }
        script = str(CHECKOUT / "audiosetdl-job-array.s")
        shape = ("--array=1", "--cpus-per-task=2", "--mem=500M", *options)
        self.job = slurm.sbatch(*shape, script, cwd=project.folder, env=env)
        self.name = f"{self.job}_1"

    @property
    def log(self) -> str:
        path = self.project.folder / f"audiosetdl-{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def rows(self) -> list[dict[str, Any]]:
        data = DataDir(self.project.data)
        return [row for shard in data.recorded_shards() for row in read_rows(data.manifest(shard), lambda _: None)]

    def wait_rows(self, count: int) -> None:
        wait_until(lambda: len(self.rows()) >= count, f"{count} rows", 60)

    def restarted(self, restarts: int = 1) -> None:
        """Wait for the next run; a requeued task waits six seconds here unless told otherwise."""
        self.slurm.wait_state(self.name, "PENDING", "RUNNING", "COMPLETED", restarts=restarts)
        if self.slurm.task(self.name).state == "PENDING":
            self.slurm.start_now(self.name)

    def finish(self, timeout: float = 90) -> Task:
        return self.slurm.wait(self.job, timeout=timeout)[1]


def check_finished(array: Array) -> None:
    """All is there, told of once, by two runs of the task that say so."""
    rows = array.rows()
    project = array.project
    project.check(project.merge(), project.youtube.catalog)
    check_not_asked_again(settled_at(rows), project.youtube.events())
    assert leftovers(project.data) == []
    assert {row["restart_count"] for row in rows} == {0, 1}
    assert {row["job_id"] for row in rows} == {array.name}
    for restart in (0, 1):
        assert f"[job {array.name} restart {restart}]" in array.log
    assert "Traceback" not in array.log


@pytest.mark.slow
def test_time_limit(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    """SLURM looks at time limits every 30 s, so there has to be work for longer."""
    array = Array(slurm, make_project(50, delay=1.2))
    array.wait_rows(3)
    slurm.end_in(array.name, 60)
    slurm.wait_state(array.name, "PENDING", restarts=1, timeout=60)
    array.project.youtube.set_delay(0)
    array.restarted()
    assert array.finish().state == "COMPLETED"
    assert re.search(r"restart 0\] I requeued job", array.log)
    assert "stopped by signal SIGUSR1" in array.log
    check_finished(array)


def test_warning_before_the_time_limit_reaches_python_alone(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    array = Array(slurm, make_project(24))
    array.wait_rows(3)
    slurm.cancel(array.name, "--batch", "--signal=USR1")
    array.restarted()
    assert array.finish().state == "COMPLETED"
    assert "stopped by signal SIGUSR1" in array.log
    assert "died of" not in array.log
    check_finished(array)


@pytest.mark.slow
def test_preemption(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    array = Array(slurm, make_project(24))
    array.wait_rows(3)
    slurm.preempt("n1", seconds=1)
    array.restarted()
    assert array.finish().state == "COMPLETED"
    assert "I requeued job" not in array.log, "SLURM does that itself"
    check_finished(array)


@pytest.mark.slow
def test_scancel_is_the_end(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    array = Array(slurm, make_project(24))
    array.wait_rows(3)
    slurm.cancel(array.name)
    assert array.finish().state == "CANCELLED"
    time.sleep(3)
    assert slurm.task(array.name).state == "CANCELLED", "it must not come back"
    assert "I requeued job" not in array.log
    assert leftovers(array.project.data) == []
    array.project.worker(1)
    array.project.check(array.project.merge(), array.project.youtube.catalog)


@pytest.mark.slow
def test_node_dies(slurm_three: PrivateSlurm, make_project: MakeProject) -> None:
    array = Array(slurm_three, make_project(24))
    array.wait_rows(3)
    node = slurm_three.task(array.name).node
    slurm_three.kill_node(node)
    slurm_three.down(node)
    array.restarted()
    task = array.finish()
    assert (task.state, task.node != node) == ("COMPLETED", True)
    assert "taking over from job" in array.log
    check_finished(array)


@pytest.mark.slow
def test_node_is_cut_off_while_the_copy_there_still_runs(slurm_three: PrivateSlurm, make_project: MakeProject) -> None:
    array = Array(slurm_three, make_project(70, delay=0.5))
    array.wait_rows(2)
    node = slurm_three.task(array.name).node
    slurm_three.kill_slurmd(node)
    array.restarted()
    assert array.finish().state == "COMPLETED"
    assert "lost to another worker" in array.log
    keys = [row["ytid"] for row in array.rows()]
    assert len(keys) - len(set(keys)) <= 1, "at most what was between the look at the lease and the row"
    assert "restart 0] I requeued job" not in array.log, "the old copy must not requeue the new one"
    check_finished(array)


def blocked_for_long(make_project: MakeProject, pause: float, **worker: Any) -> Project:
    project = make_project(6, **worker)
    project.settings["egress"][0] |= {
        "pause_seconds": pause,
        "pause_max_seconds": pause,
        "max_wait": 200 if "hold_seconds" in worker else 0.5,
    }
    project.write_config()
    project.youtube.block(Block.BOT_CHECK)
    return project


def test_a_long_ban_delays_the_next_start(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    array = Array(slurm, blocked_for_long(make_project, 300, hold_seconds=0.5))
    began = datetime.datetime.now()
    slurm.wait_state(array.name, "PENDING", restarts=1)
    wait_until(lambda: "I requeued job" in array.log, "the requeue")
    start = datetime.datetime.fromisoformat(slurm.detail(array.name)["StartTime"])
    assert 280 < (start - began).total_seconds() < 340
    assert "every egress is paused for longer than worker.hold_seconds" in array.log
    assert array.rows() == []


@pytest.mark.slow
def test_requeues_without_progress_end(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    array = Array(slurm, make_project(6, delay=20, max_requeues=1, grace_seconds=0))

    def stop(run: int) -> None:
        wait_until(lambda: array.log.count("segments to do") == run, "a worker at work", 60)
        slurm.cancel(array.name, "--batch", "--signal=USR1")

    stop(1)
    array.restarted()
    stop(2)
    task = array.finish()
    assert (task.state, task.exit_code, task.restarts) == ("FAILED", STOPPED, 1)
    assert "not requeued: this task was restarted 1 times without finishing a segment" in array.log
    assert "worker.max_requeues" in array.log
    assert array.rows() == []


@pytest.mark.slow
def test_with_a_burst_the_task_is_away_while_slots_are_saved_up(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    """A slot in 8.8 s, good for 40 s longer: the node is held for the few seconds in which the old ones are used."""
    project = make_project(9, delay=0, burst=40, hold_seconds=15)
    project.settings["egress"][0] |= {"videos_per_hour": 12, "window_seconds": 60}
    project.write_config()
    array = Array(slurm, project)
    for restart in (1, 2):
        slurm.wait_state(array.name, "PENDING", restarts=restart, timeout=150)
    assert "closed for longer than worker.hold_seconds" in array.log
    slurm.cancel(array.name)
    rows = array.rows()
    assert [row["restart_count"] for row in rows].count(1) >= 3, "several in one go after the sleep"
    asked = sorted(event["time"] for event in project.youtube.events("resolve"))
    assert all(b - a >= 2 for a, b in itertools.pairwise(asked))


@pytest.mark.slow
@pytest.mark.parametrize("restarted", [False, True], ids=["silent", "restarted"])
def test_slurmctld_is_away_while_the_task_asks_to_be_requeued(
    slurm: PrivateSlurm, make_project: MakeProject, restarted: bool
) -> None:
    array = Array(slurm, make_project(24, delay=1))
    array.wait_rows(3)
    command = re.compile(rb"audioset-batch\0worker\0")
    worker = next(
        process
        for process in slurm.processes_of(array.name)
        if command.search(Path(f"/proc/{process.pid}/cmdline").read_bytes())
    )
    with slurm.controller_away(restarted=restarted):
        worker.signal(signal.SIGUSR1)
        wait_until(lambda: "it is asked again" in array.log, "a try without an answer", 60)
        notes = list(array.project.data.glob("state/*.resubmit.json"))
        assert len(notes) == 1, "a kill now must not leave users without a message"
        time.sleep(20)
    wait_until(lambda: "I requeued job" in array.log, "the requeue", 60)
    array.project.youtube.set_delay(0)
    array.restarted()
    assert array.finish().state == "COMPLETED"
    assert list(array.project.data.glob("state/*.resubmit.json")) == []
    assert "no task will continue" not in array.log
    check_finished(array)


@pytest.mark.slow
def test_yt_dlp_is_updated_in_the_middle_of_a_run(
    slurm: PrivateSlurm, make_project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First to one that is broken, which nobody takes, then to one that works, which the next start takes."""
    (versions := tmp_path / "versions").mkdir(mode=0o755)
    (registry := tmp_path / "registry").mkdir()
    monkeypatch.setenv("AUDIOSET_YTDLP_DIR", str(versions))
    ytdlp_wheels.write_wheels(registry, ytdlp_wheels.NEWER)
    ytdlp_wheels.write_broken_wheel(registry, ytdlp_wheels.BROKEN)
    array = Array(slurm, make_project(160, delay=1.5))
    array.wait_rows(1)
    (before,) = {row["ytdlp_version"] for row in array.rows()}

    project = array.project
    pip = project.env | ytdlp_wheels.pip_environment(registry)
    refused = project.run("update-yt-dlp", status=1, env=pip)
    assert f"yt-dlp {ytdlp_wheels.BROKEN} does not work here, {before} stays in use" in refused.stderr
    next(registry.glob(f"*{ytdlp_wheels.BROKEN}*")).unlink()
    project.run("update-yt-dlp", env=pip)

    array.wait_rows(len(array.rows()) + 5)
    assert slurm.task(array.name).state == "RUNNING"
    assert {row["ytdlp_version"] for row in array.rows()} == {before}, "a worker keeps its version for life"
    slurm.cancel(array.name, "--batch", "--signal=USR1")
    project.youtube.set_delay(0)
    array.restarted()
    assert array.finish().state == "COMPLETED"
    check_finished(array)
    by_restart = {(row["restart_count"], row["ytdlp_version"]) for row in array.rows()}
    assert by_restart == {(0, before), (1, ytdlp_wheels.NEWER)}


@pytest.mark.slow
def test_a_ban_that_outlasts_all_requeues_is_waited_out(slurm: PrivateSlurm, make_project: MakeProject) -> None:
    project = blocked_for_long(make_project, 2, max_requeues=0)
    array = Array(slurm, project)
    for restart in (1, 2):
        array.restarted(restart)
    probes = len(project.youtube.events("resolve", GOOD_VIDEO))
    assert probes <= 2, "one for each pause"
    project.youtube.unblock()
    assert array.finish().state == "COMPLETED"
    project.check(project.merge(), project.youtube.catalog)
