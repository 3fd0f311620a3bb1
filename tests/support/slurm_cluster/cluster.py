"""A real SLURM for one test run: munged, slurmctld and slurmd as child processes, all they need in one temp folder."""

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import CHECKOUT
from tests.support.slurm_cluster import teardown
from tests.support.slurm_cluster.accounting import start_accounting
from tests.support.slurm_cluster.config import Accounting, Ports, slurm_conf
from tests.support.slurm_cluster.others import names_a_cluster
from tests.support.slurm_cluster.processes import (
    ProcessId,
    free_ports,
    wait_until_gone,
    with_environment,
    writing_to,
)
from tests.support.slurm_cluster.queue import FORMAT, Task, parse

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacct")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_ATTEMPTS = 3
READY_SECONDS = 20.0


class SlurmError(RuntimeError):
    """The private cluster did not do what was asked; the text ends with its logs."""


def missing_programs(*, accounting: bool = False) -> list[str]:
    """Return the programs that a private cluster needs and this machine lacks."""
    path = os.environ.get("PATH", "") + ":" + SYSTEM_PATH
    wanted = PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else ())
    return [name for name in wanted if shutil.which(name, path=path) is None]


class PrivateSlurm:
    """A SLURM of its own, beside any other on this machine; a context manager.

    `nodes` nodes (`n1`, `n2`, ...), each with `cpus` pretended CPUs and `memory_mb` MB of pretended memory.
    Partitions: `main` (the default), and `high`, whose jobs preempt those in `main` by requeueing them.
    `user`: as whom daemons and jobs run; root may name another, by default it is the caller.
    `accounting` adds slurmdbd and a database, so that `sacct` answers.

    Whatever ends this process, nothing stays: a guard process waits for its end and then tears the cluster down.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        accounting: bool = False,
        user: str | None = None,
        cpus: int = 8,
        memory_mb: int = 64000,
        max_array_size: int = 1001,
    ) -> None:
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self.user = user or pwd.getpwuid(os.getuid()).pw_name
        self.folder = Path()
        self._accounting = accounting
        self._cpus = cpus
        self._memory_mb = memory_mb
        self._max_array_size = max_array_size
        self._children: list[subprocess.Popen[bytes]] = []
        self._guard: subprocess.Popen[bytes] | None = None

    # -- its own life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when every node is idle; raises SlurmError."""
        if missing := missing_programs(accounting=self._accounting):
            raise SlurmError(f"SLURM is not installed here: no {', '.join(missing)}; apt-get install slurm-wlm munge")
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start()
                return
            except SlurmError:  # another process may have taken a port between its choice and its use
                self.stop()
                if attempt == START_ATTEMPTS:
                    raise
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Cancel all jobs, end every process of the cluster, remove its folder. Safe to repeat."""
        if self.folder == Path():
            return
        for name in self.nodes:
            if f"slurmd-{name}" not in teardown.daemons(self.folder):  # its jobs could not be drained
                self.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=gone", check=False)
        teardown.tear_down(self.folder)
        if self._guard is not None:
            self._guard.terminate()
            self._guard.wait()
        for child in self._children:
            child.wait(timeout=10)
        self._children = []
        self._guard = None
        self.folder = Path()

    def _start(self) -> None:
        # the sockets of job steps have room for 90 characters of path: pytest's tmp_path is too long
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        guard = [sys.executable, "-m", f"{__package__}.guard", str(self.folder), str(os.getpid())]
        env = self._plain_env() | {"PYTHONPATH": str(CHECKOUT)}
        self._guard = subprocess.Popen(guard, stdin=subprocess.DEVNULL, start_new_session=True, env=env)
        host = socket.gethostname().partition(".")[0]
        controller, dbd, database, *ports = free_ports(3 + len(self.nodes))
        accounting = Accounting(dbd, database) if self._accounting else None
        (self.folder / "slurm.conf").write_text(
            slurm_conf(
                self.folder,
                host=host,
                user=self.user,
                names=self.nodes,
                ports=Ports(controller, tuple(ports)),
                cpus=self._cpus,
                memory_mb=self._memory_mb,
                max_array_size=self._max_array_size,
                accounting=accounting,
            )
        )
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for name in ("state", "spool", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        self._own(self.folder, *self.folder.rglob("*"))
        self._start_munged()
        if accounting is not None:
            start_accounting(self.folder, host, self.user, accounting, self._spawn, self._own)
        self._spawn("slurmctld", "slurmctld", "-D", "-c")
        for node in self.nodes:
            self._spawn(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        self.wait_idle(*self.nodes)

    def _start_munged(self) -> None:
        parts = {"socket": "sock", "key-file": "key", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in parts.items()]
        self._spawn("munged", "munged", "-F", "-f", f"--pid-file={self.folder}/munged.pid", *files)
        self._until((self.folder / "munge.sock").exists, "munged's socket", 5)

    def _own(self, *paths: Path) -> None:
        if os.getuid() == 0:
            entry = pwd.getpwnam(self.user)
            for path in paths:
                os.chown(path, entry.pw_uid, entry.pw_gid)

    def _as_user(self) -> list[str]:
        entry = pwd.getpwnam(self.user)
        if entry.pw_uid == os.getuid():
            return []
        return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups", "--"]

    def _plain_env(self) -> dict[str, str]:
        """The environment of daemons and clients: this process's, without any trace of another SLURM."""
        env = {k: v for k, v in os.environ.items() if not names_a_cluster(k)}
        return env | {"PATH": f"{env.get('PATH', '')}:{SYSTEM_PATH}"}

    def _spawn(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            child = subprocess.Popen(
                [*self._as_user(), *command],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._children.append(child)
        with suppress(ProcessLookupError):  # died at once: the ready check tells
            teardown.record(self.folder, name, child.pid)

    # -- commands

    @property
    def env(self) -> dict[str, str]:
        """The environment for any program that is to talk to this cluster, and to no other."""
        env = self._plain_env() | {"SLURM_CONF": f"{self.folder}/slurm.conf"}
        return env | {"HOME": str(self.folder)} if self._as_user() else env

    def run(
        self,
        *command: str | os.PathLike[str],
        check: bool = True,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the cluster's user; `env` adds to the environment.

        Raises SlurmError when it fails and `check` holds.
        """
        done = subprocess.run(
            [*self._as_user(), *command],
            env=self.env | dict(env or {}),
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise SlurmError(f"{' '.join(map(str, command))} ended with {done.returncode}: {said}")
        return done

    def sbatch(
        self,
        *args: str | os.PathLike[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        wrap: str | None = None,
    ) -> int:
        """Submit and return the job's id; logs go to `cwd` (default: the cluster's folder).

        `wrap` is shell text instead of a script.
        """
        tail = [] if wrap is None else ["--wrap", wrap]
        output = self.run("sbatch", "--parsable", *args, *tail, cwd=cwd, env=env).stdout
        return int(output.strip().partition(";")[0])

    def scontrol(self, *args: str) -> str:
        """Run `scontrol` and return what it printed."""
        return self.run("scontrol", *args).stdout

    # -- what the queue says

    def squeue(self, job: int | str | None = None) -> list[Task]:
        """Return the tasks in every state, pending arrays expanded; SLURM remembers finished ones for five minutes."""
        which = [] if job is None else ["--jobs", str(job)]
        done = self.run("squeue", "--noheader", "--array", "--states=all", "--Format", FORMAT, *which)
        return sorted(map(parse, done.stdout.splitlines()), key=lambda task: (task.job_id, task.index or 0))

    def states(self, job: int) -> dict[int, str]:
        """Return the state of each task of a job by its index; a plain job has index 0."""
        return {task.index or 0: task.state for task in self.squeue(job)}

    def task(self, name: int | str) -> Task:
        """Return one job, or one task such as `7_2`."""
        job, _, index = str(name).partition("_")
        for task in self.squeue(job):
            if not index or task.index == int(index):
                return task
        raise SlurmError(f"squeue knows no job {name}")

    def detail(self, name: int | str) -> dict[str, str]:
        """Return what `scontrol show job` says of one job or task; values with spaces are cut at the first."""
        return dict(re.findall(r"(?:^|\s)([\w:/]+)=(\S*)", self.scontrol("-o", "show", "job", str(name))))

    def wait(self, job: int | str, timeout: float = 60) -> dict[int, Task]:
        """Wait until all tasks of a job are finished and return them by index (a plain job: 0); raises SlurmError."""
        found: list[Task] = []

        def finished() -> bool:
            found[:] = self.squeue(job)
            return all(task.finished for task in found)

        self._until(finished, f"the end of job {job}", timeout, lambda: repr(found))
        return {task.index or 0: task for task in found}

    def wait_state(self, name: int | str, *states: str, restarts: int = 0, timeout: float = 30) -> Task:
        """Wait until a job or task is in one of the states, restarted at least `restarts` times; raises SlurmError."""
        found: list[Task] = []

        def reached() -> bool:
            found[:] = [self.task(name)]
            return found[0].state in states and found[0].restarts >= restarts

        self._until(reached, f"job {name} in {' or '.join(states)}", timeout, lambda: repr(found))
        return found[0]

    def wait_idle(self, *nodes: str, timeout: float = READY_SECONDS) -> None:
        """Wait until the nodes (default: all) are idle; raises SlurmError."""
        wanted = set(nodes or self.nodes)
        self._until(
            lambda: {name for name, state in self.node_states().items() if state == "idle"} >= wanted,
            f"idle nodes {sorted(wanted)}",
            timeout,
            lambda: repr(self.node_states()),
        )

    def node_states(self) -> dict[str, str]:
        """Return the state of each node, empty while the controller does not answer."""
        done = self.run("sinfo", "-hN", "-pmain", "-o%N %T", check=False, timeout=90)
        return dict(line.split() for line in done.stdout.splitlines())

    # -- faults and wishes

    def start_now(self, name: int | str) -> None:
        """Let a pending job start within two seconds: a requeued one waits `cred_expire` + 1 s, 6 s here, otherwise.

        Not at once: slurmd refuses a start in the very second in which it ended the job's last run ("Job credential
        revoked"), and the job is then FAILED for good.
        """
        self.scontrol("update", f"JobId={name}", "StartTime=now+1")

    def end_in(self, name: int | str, seconds: int) -> None:
        """Let the time limit of a running job strike in so many seconds; its warning signal is then due at once."""
        self.scontrol("update", f"JobId={name}", f"EndTime=now+{seconds}")

    def requeue(self, name: int | str, *, start_now: bool = True) -> None:
        """Requeue a running or finished job or task."""
        self.scontrol("requeue", str(name))
        if start_now:
            self.wait_state(name, "PENDING", timeout=20)
            self.start_now(name)

    def cancel(self, name: int | str, *options: str) -> None:
        """`scancel`; options such as `--batch`, `--signal=USR1`."""
        self.run("scancel", *options, str(name))

    def preempt(self, *nodes: str, seconds: float = 1) -> int:
        """Take the nodes (default: all) by a job of higher priority, for so many seconds; returns its id."""
        which = nodes or self.nodes
        shape = ["-phigh", f"-N{len(which)}", f"-w{','.join(which)}", "--exclusive", "--output=/dev/null"]
        return self.sbatch(*shape, wrap=f"sleep {seconds}")

    def kill_node(self, name: str) -> None:
        """Kill a node as a power cut does: slurmd, its step daemons and all processes of its jobs, by KILL, at once.

        SLURM notices after about 10 s and requeues; `down` tells it at once.
        """
        self.kill_slurmd(name)
        ours = f"SLURM_CONF={self.folder}/slurm.conf"
        steps = list(writing_to(self.folder / f"slurmd-{name}.log"))  # step daemons inherit slurmd's log
        for process in steps:
            process.signal(signal.SIGKILL)
        while jobs := list(with_environment(ours, f"SLURMD_NODENAME={name}")):  # they may fork meanwhile
            for process in jobs:
                process.signal(signal.SIGKILL)
            wait_until_gone(jobs, patience=5)

    def kill_slurmd(self, name: str) -> None:
        """Kill a node's daemon only: SLURM requeues its jobs elsewhere while the old copies still run."""
        process = teardown.daemons(self.folder).get(f"slurmd-{name}")
        if process is not None:
            process.signal(signal.SIGKILL)
            wait_until_gone([process], patience=5)

    def restart_node(self, name: str, timeout: float = READY_SECONDS) -> None:
        """Start the daemon of a killed node again and wait until the node takes jobs."""
        if f"slurmd-{name}" not in teardown.daemons(self.folder):
            self._spawn(f"slurmd-{name}", "slurmd", "-D", "-N", name)
        self._until(lambda: self.node_states().get(name) in ("idle", "mixed", "allocated"), f"node {name}", timeout)

    @contextmanager
    def controller_away(self, *, restarted: bool = False) -> Iterator[None]:
        """Let slurmctld not answer meanwhile: stopped by SIGSTOP, or ended and started again with its state."""
        process = teardown.daemons(self.folder)["slurmctld"]
        process.signal(signal.SIGTERM if restarted else signal.SIGSTOP)
        try:
            if restarted:
                wait_until_gone([process], patience=10)
            yield
        finally:
            if restarted:
                self._spawn("slurmctld", "slurmctld", "-D")
            else:
                process.signal(signal.SIGCONT)

    def down(self, name: str) -> None:
        """Declare a node dead: its jobs are requeued at once."""
        self.scontrol("update", f"NodeName={name}", "State=DOWN", "Reason=test")

    def resume(self, name: str) -> None:
        """Take a node back that was declared dead."""
        self.scontrol("update", f"NodeName={name}", "State=RESUME")

    def silence_controller(self) -> None:
        """Let slurmctld answer nothing, as one that is overloaded or being restarted, until `wake_controller`."""
        teardown.daemons(self.folder)["slurmctld"].signal(signal.SIGSTOP)

    def wake_controller(self) -> None:
        """End what `silence_controller` began."""
        teardown.daemons(self.folder)["slurmctld"].signal(signal.SIGCONT)

    def drain(self) -> None:
        """Cancel all jobs and wait until they are gone; raises SlurmError."""
        if not teardown.drain(self.folder):
            raise SlurmError(f"jobs do not end: {self.squeue()}\n{self.logs()}")

    def recover(self) -> None:
        """Cancel all jobs and bring every node back, as after the start."""
        for name in self.nodes:
            if f"slurmd-{name}" not in teardown.daemons(self.folder):
                self._spawn(f"slurmd-{name}", "slurmd", "-D", "-N", name)
            elif self.node_states().get(name, "").startswith(("down", "drain")):
                self.resume(name)
        self.drain()
        self.wait_idle()

    def processes_of(self, name: int | str) -> list[ProcessId]:
        """Return the processes of a running job or task, the batch script's among them."""
        job_id = self.detail(name)["JobId"]
        return list(with_environment(f"SLURM_CONF={self.folder}/slurm.conf", f"SLURM_JOB_ID={job_id}"))

    def logs(self, lines: int = 15) -> str:
        """Return the ends of the daemons' logs."""
        texts = []
        names = ["slurmctld", *(f"slurmd-{node}" for node in self.nodes), "slurmdbd", "munge"]
        for path in (self.folder / f"{name}.log" for name in names):
            if not path.exists():
                continue
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            texts.append("\n".join([f"== {path.name}", *tail]))
        return "\n".join(texts)

    def _until(
        self, true: Callable[[], bool], what: str, seconds: float, seen: Callable[[], str] = lambda: "nothing"
    ) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise SlurmError(f"waited {seconds:g} s for {what}, saw {seen()}\n{self.logs()}")
            time.sleep(0.1)
