"""`submit --cluster local`: the same chain on this machine."""

import signal
import subprocess
import sys

import pytest

from tests.support.loopback import Project
from tests.support.waiting import wait_until

ARGV = (sys.executable, "-m", "audioset_batch", "submit", "--cluster", "local")


@pytest.mark.slow
def test_whole_chain_then_nothing_left(project: Project) -> None:
    argv = ("submit", "--cluster", "local", "--config", str(project.config))
    done = project.run(*argv, "--subsets", "eval_segments", "--split", "2")
    assert "segments left: 0" in done.stdout
    project.check(project.merge(), project.youtube.catalog)
    asked = len(project.youtube.journal.events())
    again = project.run(*argv)
    assert "0 segments left in 0 of 2 array tasks" in again.stdout
    assert len(project.youtube.journal.events()) == asked
    assert sorted(path.name for path in (project.data / "logs").iterdir()) == [
        f"{name}-local.log" for name in ("audioset-merge", "audioset-prep", "audioset-report", "audiosetdl")
    ]


@pytest.mark.slow
def test_stopped_chain_ends_its_workers_and_refuses_a_second_meanwhile(project: Project) -> None:
    project.prep(1)
    project.settings["worker"]["grace_seconds"] = 0
    project.write_config()
    project.youtube.board.set_delay(60)
    argv = [*ARGV, "--config", str(project.config)]
    first = subprocess.Popen(argv, env=project.env, cwd=project.folder, stderr=subprocess.PIPE, text=True)
    try:
        wait_until((project.data / "state" / "eval_segments.01.json").exists, "a worker")
        second = project.run("submit", "--cluster", "local", "--config", str(project.config), status=75)
        assert f"process {first.pid}," in second.stderr
    finally:
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 75, said
    assert "stopped by signal SIGINT" in said
    assert "stopped by signal SIGTERM" in (project.data / "logs" / "audiosetdl-local.log").read_text()
    assert not (project.data / "manifest.parquet").exists()

    project.youtube.board.set_delay(0)
    project.run("submit", "--cluster", "local", "--config", str(project.config))
    project.check(project.merge(), project.youtube.catalog)


def test_commands_are_shown_and_not_run(project: Project) -> None:
    done = project.run("submit", "--cluster", "local", "--config", str(project.config), "--split", "2", "--dry-run")
    commands = [line.split() for line in done.stdout.splitlines()]
    assert [command[:2] for command in commands] == [
        ["audioset-batch", what] for what in ("prep", "worker", "merge", "report")
    ]
    assert commands[1][-2:] == ["--task", "1-2"], "one worker does all shards"
    assert not project.data.exists()
