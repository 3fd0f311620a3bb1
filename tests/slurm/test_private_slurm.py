"""The private cluster itself: what other tests rely on when they cause faults."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.slurm_cluster import PrivateSlurm, SlurmError
from tests.support.slurm_cluster.processes import ProcessId, free_ports, with_environment
from tests.support.waiting import wait_until


def lines_of(path: Path, count: int, timeout: float = 10) -> list[str]:
    """Wait until a job has written so many lines, not counted what SLURM and bash say of its end."""
    deadline = time.monotonic() + timeout
    while True:
        text = path.read_text() if path.exists() else ""
        lines = [line for line in text.splitlines() if "slurmstepd" not in line and "Terminated" not in line]
        if len(lines) >= count or time.monotonic() > deadline:
            return lines
        time.sleep(0.05)


def test_array_runs_every_task_once_and_reports_its_exit_status(slurm: PrivateSlurm, tmp_path: Path) -> None:
    job = slurm.sbatch("--array=1-4%2", wrap="echo task $SLURM_ARRAY_TASK_ID; exit $SLURM_ARRAY_TASK_ID", cwd=tmp_path)
    tasks = slurm.wait(job)
    assert {index: task.exit_code for index, task in tasks.items()} == {1: 1, 2: 2, 3: 3, 4: 4}
    assert slurm.states(job) == dict.fromkeys((1, 2, 3, 4), "FAILED")
    logs = {path.name: path.read_text() for path in tmp_path.glob("slurm-*.out")}
    assert logs == {f"slurm-{job}_{k}.out": f"task {k}\n" for k in (1, 2, 3, 4)}


def test_commands_see_no_other_slurm(slurm: PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/nowhere/slurm.conf")
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "9")
    job = slurm.sbatch("--output=out.txt", wrap="echo [$SLURM_ARRAY_TASK_ID] $SLURM_JOB_PARTITION")
    assert slurm.wait(job)[0].state == "COMPLETED"
    assert (slurm.folder / "out.txt").read_text() == "[] main\n"


def test_refused_submission_says_why(slurm: PrivateSlurm) -> None:
    with pytest.raises(SlurmError, match="Invalid job array specification"):
        slurm.sbatch("--array=1001", wrap="true")


def test_time_limit_signals_the_batch_process_only(slurm: PrivateSlurm, tmp_path: Path) -> None:
    script = tmp_path / "job.s"
    script.write_text(
        "#!/bin/bash\n#SBATCH --signal=B:USR1@10 --open-mode=append --output=out.txt\n"
        "exec python3 -c '\n"
        "import signal, subprocess, sys\n"
        'helper = subprocess.Popen(["sleep", "60"])\n'
        "caught = []\n"
        "signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))\n"
        'print("ready", flush=True)\n'
        "signal.pause()\n"
        'print("caught", len(caught), "helper", helper.poll(), flush=True)\n'
        "helper.kill(); sys.exit(7)'\n"
    )
    job = slurm.sbatch(script, cwd=tmp_path)
    assert lines_of(tmp_path / "out.txt", 1) == ["ready"]
    slurm.cancel(job, "--batch", "--signal=USR1")
    assert slurm.wait(job)[0].exit_code == 7
    assert lines_of(tmp_path / "out.txt", 2) == ["ready", "caught 1 helper None"]


@pytest.mark.slow
def test_time_limit_ends_a_job(slurm: PrivateSlurm, tmp_path: Path) -> None:
    trap = "trap 'echo warned' USR1; trap 'echo term; exit 1' TERM; echo ready; while :; do sleep 0.2; done"
    job = slurm.sbatch("--signal=B:USR1@10", "-t5", "--output=out.txt", wrap=trap, cwd=tmp_path)
    assert lines_of(tmp_path / "out.txt", 1) == ["ready"]
    slurm.end_in(job, 3)  # SLURM looks every 30 s
    assert slurm.wait(job, timeout=90)[0].state == "TIMEOUT"
    assert {"ready", "term", "warned"} <= set(lines_of(tmp_path / "out.txt", 4))


def test_requeue_restarts_with_a_count(slurm: PrivateSlurm, tmp_path: Path) -> None:
    wrap = 'echo run ${SLURM_RESTART_COUNT:-none}; test -n "$SLURM_RESTART_COUNT" || sleep 60'
    job = slurm.sbatch("--array=2", "--open-mode=append", "--output=out.txt", wrap=wrap, cwd=tmp_path)
    assert lines_of(tmp_path / "out.txt", 1) == ["run none"]
    time.sleep(-time.time() % 1)  # early in a second: a start in the same one would be refused
    slurm.requeue(f"{job}_2")
    task = slurm.wait(job)[2]
    assert (task.state, task.restarts) == ("COMPLETED", 1), task
    assert lines_of(tmp_path / "out.txt", 2) == ["run none", "run 1"]


def test_preemption_requeues(slurm: PrivateSlurm, tmp_path: Path) -> None:
    wrap = "trap 'echo term; exit 1' TERM; echo run ${SLURM_RESTART_COUNT:-0}; sleep 60 & wait"
    job = slurm.sbatch("--open-mode=append", "--output=out.txt", wrap=wrap, cwd=tmp_path)
    assert lines_of(tmp_path / "out.txt", 1) == ["run 0"]
    high = slurm.preempt()
    assert slurm.wait(high)[0].state == "COMPLETED"
    slurm.wait_state(job, "PENDING")
    slurm.start_now(job)
    slurm.wait_state(job, "RUNNING", restarts=1)
    assert lines_of(tmp_path / "out.txt", 3) == ["run 0", "term", "run 1"]


def test_killed_node_takes_its_processes_along_and_no_other(slurm_three: PrivateSlurm, tmp_path: Path) -> None:
    slurm = slurm_three
    wrap = "echo $SLURMD_NODENAME ${SLURM_RESTART_COUNT:-0} >> $SLURM_ARRAY_TASK_ID.txt; setsid sleep 60 & sleep 60"
    job = slurm.sbatch("--array=1-3", "--exclusive", wrap=wrap, cwd=tmp_path)
    for index in (1, 2, 3):
        assert lines_of(tmp_path / f"{index}.txt", 1)
    victim = slurm.task(f"{job}_2").node
    dying, staying = slurm.processes_of(f"{job}_2"), slurm.processes_of(f"{job}_1")
    assert len(dying) >= 2
    slurm.kill_node(victim)
    assert not any(process.alive for process in dying)
    assert all(process.alive for process in staying)
    slurm.down(victim)  # else SLURM takes 10 s to notice
    slurm.wait_state(f"{job}_2", "PENDING")
    slurm.restart_node(victim)
    slurm.start_now(f"{job}_2")
    slurm.wait_state(f"{job}_2", "RUNNING", restarts=1)
    assert lines_of(tmp_path / "2.txt", 2)[1].endswith(" 1")


def test_killed_slurmd_leaves_the_job_running(slurm_three: PrivateSlurm, tmp_path: Path) -> None:
    slurm = slurm_three
    job = slurm.sbatch("-wn3", "--output=out.txt", wrap="echo ready; sleep 60", cwd=tmp_path)
    assert lines_of(tmp_path / "out.txt", 1) == ["ready"]
    processes = slurm.processes_of(job)
    slurm.kill_slurmd("n3")
    assert processes and all(process.alive for process in processes)
    slurm.restart_node("n3")
    assert slurm.task(job).state == "RUNNING"


def still_there(folder: str) -> list[ProcessId]:
    return list(with_environment(f"SLURM_CONF={folder}/slurm.conf"))


@pytest.mark.slow
def test_nothing_stays_after_the_end(make_slurm: Callable[..., PrivateSlurm]) -> None:
    cluster = make_slurm(nodes=2)
    folder = cluster.folder
    cluster.wait_state(cluster.sbatch(wrap="trap '' TERM; setsid sleep 60 & sleep 60"), "RUNNING")
    assert still_there(str(folder))
    cluster.stop()
    assert not still_there(str(folder))
    assert not folder.exists()


@pytest.mark.usefixtures("slurm")
def test_nothing_stays_when_the_maker_is_killed() -> None:
    program = (
        "import time\nfrom tests.support.slurm_cluster import PrivateSlurm\ncluster = PrivateSlurm()\ncluster.start()\n"
        "cluster.wait_state(cluster.sbatch(wrap='sleep 60'), 'RUNNING')\nprint(cluster.folder, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        folder = maker.stdout.readline().strip()
        assert still_there(folder)
        maker.send_signal(signal.SIGKILL)
    wait_until(lambda: not still_there(folder) and not Path(folder).exists(), "the end of the cluster")


@pytest.mark.skipif(
    os.getuid() != 0, reason="only root can become another user; here all other tests run as an ordinary one"
)
def test_runs_as_an_ordinary_user(make_slurm: Callable[..., PrivateSlurm]) -> None:
    cluster = make_slurm(user="nobody")
    job = cluster.sbatch("--array=1-2", "--output=%a.txt", wrap="id -un")
    assert {task.state for task in cluster.wait(job).values()} == {"COMPLETED"}
    assert (cluster.folder / "2.txt").read_text() == "nobody\n"
    cluster.kill_node("n1")
    cluster.restart_node("n1")
    cluster.stop()


def test_ports_are_distinct_and_outside_the_range_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32768


@pytest.mark.slow
def test_accounting_answers(make_slurm: Callable[..., PrivateSlurm]) -> None:
    cluster = make_slurm(accounting=True)
    job = cluster.sbatch("--array=1-2", "--output=/dev/null", wrap="exit 3")
    cluster.wait(job)
    question = ["sacct", "-j", str(job), "--allocations", "--noheader", "--parsable2", "--format=JobID,State,ExitCode"]
    wait_until(lambda: cluster.run(*question).stdout.count("FAILED") == 2, "both tasks in the accounts")
    assert cluster.run(*question).stdout.splitlines() == [f"{job}_{k}|FAILED|3:0" for k in (1, 2)]
    cluster.stop()
