"""On the login node of a real cluster, no test, no chaos and no demo reaches it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.slurm_cluster.others import names_a_cluster

DECOY = "/decoy/" in os.environ["PATH"]
CLIENTS = ("sbatch", "squeue", "scontrol", "sinfo", "sacct", "scancel", "srun", "salloc")


def test_this_process_knows_no_cluster() -> None:
    """Run by itself, and once more below where there is one."""
    assert not [name for name in os.environ if names_a_cluster(name)]
    command = "sinfo || echo none"
    client = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True) if DECOY else None
    assert client is None or client.stdout == "none\n"


class Decoy:
    """A cluster that must not be asked: clients that tell, and a `slurm.conf` with a controller that listens."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0)
        conf = folder / "slurm.conf"
        port = self.listener.getsockname()[1]
        conf.write_text(f"ClusterName=decoy\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort={port}\n")
        programs = folder / "decoy" / "bin"
        programs.mkdir(parents=True)
        for name in CLIENTS:
            client = programs / name
            client.write_text(f'#!/bin/sh\n[ -n "$SLURM_CONF" ] || exit 1\necho "$0 $SLURM_CONF" >> {self.calls}\n')
            client.chmod(0o755)
        self.env = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
            "SLURM_CONF": str(conf),
            "SBATCH_PARTITION": "theirs",
            "SLURM_JOB_ID": "4711",
            "SLURM_ARRAY_TASK_ID": "7",
            "SQUEUE_FORMAT": "%i",
        }

    def was_asked(self) -> str:
        """What was; "" if nothing."""
        try:
            self.listener.accept()
        except BlockingIOError:
            return self.calls.read_text() if self.calls.exists() else ""
        return "its controller"

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.env, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def decoy(tmp_path: Path) -> Decoy:
    decoy = Decoy(tmp_path)
    subprocess.run(["sinfo"], env=decoy.env, check=True, capture_output=True)
    assert decoy.was_asked(), "the decoy would not tell"
    decoy.calls.unlink()
    return decoy


def test_tests_reach_no_cluster_of_the_environment(decoy: Decoy) -> None:
    name = f"{__file__}::{test_this_process_knows_no_cluster.__name__}"
    out = decoy.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", name)
    assert "1 passed" in out and not decoy.was_asked()


def test_nor_do_chaos_and_the_demo(decoy: Decoy) -> None:
    code = (
        "import json, os, sys; sys.argv = ['run']\n"
        "from tests.chaos import run\nfrom tests.support.slurm_cluster import __main__ as demo\n"
        "run.missing_programs = lambda: ['x']; assert run.main() == 1\n"
        "first = dict(os.environ)\n"
        "os.environ['SLURM_CONF'] = 'theirs'\n"
        "class Fails:\n    def __init__(self): raise FileNotFoundError\n"
        "demo.PrivateSlurm = Fails; assert demo.main([]) == 2\n"
        "print(json.dumps([first, dict(os.environ)]))"
    )
    for environ in json.loads(decoy.run(sys.executable, "-c", code)):
        assert not [name for name in environ if names_a_cluster(name)]
    assert not decoy.was_asked()
