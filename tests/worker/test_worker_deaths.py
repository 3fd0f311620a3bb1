"""Processes that die or hang: what it costs, and what it never does."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audioset_batch.layout import DataDir
from audioset_batch.record.usage import read_usage
from audioset_batch.standin import Fault, Outcome, Trouble
from tests.support.loopback import Project
from tests.support.running import Worker, children_of, stat_fields
from tests.support.verdicts import check_not_asked_again, leftovers, settled_at
from tests.support.waiting import wait_until

MakeProject = Callable[..., Project]


def good_id(project: Project, place: int = -1) -> str:
    """A video that can be had."""
    videos = project.youtube.catalog.videos
    return [row.ytid for row in project.subsets["eval_segments"] if videos[row.ytid].outcome is Outcome.OK][place]


def check_everything(project: Project, worker: Worker) -> None:
    project.check(project.merge(), project.youtube.catalog)
    check_not_asked_again(settled_at(worker.rows()), project.youtube.events())
    assert leftovers(project.data) == []


@pytest.mark.parametrize("number", [signal.SIGSEGV, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_process_that_dies_costs_no_segment(make_project: MakeProject, number: int) -> None:
    project = make_project(14)
    with Worker(project) as worker:
        worker.wait_rows(2)
        server = worker.fork_server()
        scores = [Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in (os.getpid(), server, *worker.decoders())]
        ours, *others = map(int, scores)
        assert others == [min(1000, ours + more) for more in (250, 750, 750)], (
            "where memory runs out, decoders die first"
        )
        os.kill(worker.decoders()[0], number)
        assert worker.end() == 0
        assert f"died of {signal.Signals(number).name}" in worker.log
    (usage,) = read_usage(DataDir(project.data))
    assert (usage.segments, usage.runs) == (len(worker.rows()), 1)
    assert usage.cpu_seconds > 0.5, "also of the process that died"
    check_everything(project, worker)


def test_a_segment_that_crashes_its_process_fails_alone(make_project: MakeProject) -> None:
    project = make_project(8, processes=1, threads=3, retries=1)
    crashing = good_id(project, place=1)
    project.youtube.add_fault(Fault(Trouble.STALL, ytid=crashing, seconds=60))
    with Worker(project) as worker:
        ended = threading.Event()

        def kill_the_process_that_has_it() -> None:
            struck = 0
            while not ended.is_set():
                asked = len(project.youtube.events("resolve", crashing))
                if asked > struck and worker.process.poll() is None:
                    time.sleep(0.4)  # it is in the middle of it now
                    for pid in children_of(worker.fork_server()):
                        os.kill(pid, signal.SIGSEGV)
                    struck = asked
                time.sleep(0.05)

        killer = threading.Thread(target=kill_the_process_that_has_it)
        killer.start()
        try:
            assert worker.end() == 1
        finally:
            ended.set()
            killer.join()
        rows = {row["ytid"]: row for row in worker.rows()}
        assert len(rows) == len(worker.rows()) == 8
        row = rows.pop(crashing)
        assert (row["status"], row["reason"], row["attempts"]) == ("failed", "internal", 2)
        assert "SIGSEGV" in row["detail"]
        assert {other["status"] for other in rows.values()} <= {"ok", "unavailable"}
    assert len(project.youtube.events("resolve", crashing)) == 3, "once with others, then alone for each try"
    project.youtube.clear_faults()
    project.worker(1)
    check_everything(project, worker)


@pytest.mark.slow
def test_a_hang_in_native_code_is_ended(make_project: MakeProject) -> None:
    project = make_project(6, processes=1, threads=2, segment_timeout=2)
    with Worker(project) as worker:
        worker.wait_rows(1)
        hung = worker.decoders()[0]
        os.kill(hung, signal.SIGSTOP)
        wait_until(lambda: not stat_fields(hung), "the end of the stopped process")
        assert worker.end() == 0
        assert "did not end within worker.segment_timeout" in worker.log
    check_everything(project, worker)


@pytest.mark.slow
def test_a_killed_fork_server_is_replaced(make_project: MakeProject) -> None:
    project = make_project(10, processes=1)
    with Worker(project) as worker:
        worker.wait_rows(2)
        decoder = worker.decoders()[0]
        os.kill(worker.fork_server(), signal.SIGKILL)
        os.kill(decoder, signal.SIGKILL)
        assert worker.end() == 0
    check_everything(project, worker)


@pytest.mark.slow
def test_kills_of_the_coordinator_lose_and_double_nothing(make_project: MakeProject) -> None:
    project = make_project(30, delay=0.1)
    rng = random.Random(5)
    for _ in range(7):
        with Worker(project) as worker:
            if rng.random() < 0.7:
                worker.wait_rows(len(worker.rows()) + 1)
                time.sleep(rng.uniform(0, 0.4))
            else:
                time.sleep(rng.uniform(0.2, 1.5))
            decoders = [pid for server in children_of(worker.process.pid) for pid in children_of(server)]
            worker.send(signal.SIGKILL)
            worker.process.wait(5)
            wait_until(lambda pids=decoders: not any(map(stat_fields, pids)), "the end of its processes", 5)
    with Worker(project) as worker:
        assert worker.end() == 0
    keys = [row["ytid"] for row in worker.rows()]
    assert sorted(keys) == sorted(row.ytid for row in project.subsets["eval_segments"]), "each segment has one row"
    check_everything(project, worker)


def test_processes_that_cannot_start_blame_no_segment(make_project: MakeProject) -> None:
    """As on a node that lacks a library: here the module that they need first is not one."""
    project = make_project(4, processes=1)
    broken = project.folder / "broken"
    broken.mkdir()
    (broken / "yt_dlp.py").write_text("raise ImportError('libfoo.so.1: cannot open shared object file')\n")
    with Worker(project, prefix=("env", f"PYTHONPATH={broken}")) as worker:
        worker.process.wait(60)
    assert worker.process.returncode == 75
    assert "died one after the other as they started" in worker.log
    assert worker.rows() == []
