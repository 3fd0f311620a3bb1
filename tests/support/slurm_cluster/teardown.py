"""End a private cluster, given nothing but its folder.

The order matters: without the drain slurmstepd hangs for as long as its controller does not answer.
"""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.support.slurm_cluster.processes import ProcessId, end, with_environment

DRAIN_SECONDS = 12.0
STOP_ORDER = ("slurmd-", "slurmctld", "slurmdbd", "mariadbd", "munged")


def record(folder: Path, name: str, pid: int) -> None:
    """Note a daemon, so that the tear-down finds it: munged hides its environment from an ordinary user."""
    process = ProcessId.of(pid)
    (folder / "pids").mkdir(exist_ok=True)
    (folder / "pids" / name).write_text(f"{process.pid} {process.started}")


def daemons(folder: Path) -> dict[str, ProcessId]:
    """Return the noted daemons that still run, by name."""
    found = {}
    for note in sorted((folder / "pids").glob("*")):
        pid, started = note.read_text().split()
        process = ProcessId(int(pid), int(started))
        if process.alive:
            found[note.name] = process
    return found


def tear_down(folder: Path) -> None:
    """Cancel and drain all jobs, end all daemons, end every process left over, remove the folder. Safe to repeat."""
    running = daemons(folder)
    if "slurmctld" in running and any(name.startswith("slurmd-") for name in running):
        drain(folder)
    for prefix in STOP_ORDER:
        end((process for name, process in running.items() if name.startswith(prefix)), patience=5)
    end(with_environment(f"SLURM_CONF={folder}/slurm.conf"), patience=0.5)
    # a process that dies may still be writing its log
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def drain(folder: Path, *, patience: float = DRAIN_SECONDS) -> bool:
    """Cancel all jobs and wait until none is left; False when some are after `patience` seconds.

    Runs as the calling user: root, or SlurmUser, may cancel every job.
    """
    environment = {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": os.environ.get("PATH", "") + ":/usr/bin"}
    deadline = time.monotonic() + patience

    def ask(*command: str) -> str | None:
        with suppress(subprocess.SubprocessError):
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
                stdin=subprocess.DEVNULL,
            )
            return done.stdout.strip()
        return None

    # several states, because `scancel` without a user or state asks nothing but refuses to cancel everything
    ask("scancel", "--state=PENDING")
    ask("scancel", "--state=RUNNING")
    ask("scancel", "--state=SUSPENDED")
    while time.monotonic() < deadline:
        if ask("squeue", "--noheader", "--all") == "":
            return True
        time.sleep(0.1)
    return False
