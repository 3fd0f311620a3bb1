"""What is done to a run while it works. Every fault is a real one; those that last are taken back after a while."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from chaos.cluster_run import ShardJobs
from slurm_cluster import PrivateSlurm, SlurmError, Task

from audioset_batch.standin import Block, Fault, Outage, Standin, Trouble, Where

FLAKY = (
    Fault(Trouble.RESET, probability=0.1),
    Fault(Trouble.SERVER_ERROR, probability=0.1),
    Fault(Trouble.TRUNCATE, probability=0.1),
    Fault(Trouble.FORBIDDEN, probability=0.05),
    Fault(Trouble.HTML, probability=0.05),
    Fault(Trouble.STALL, probability=0.02, seconds=60),
    Fault(Trouble.SERVER_ERROR, where=Where.PLAYER, probability=0.1),
    Fault(Trouble.RESET, where=Where.PLAYER, probability=0.05),
)
_TRIES = 6
DRIFTS = (
    Fault(Trouble.FORBIDDEN),
    Fault(Trouble.NO_ADDRESSES, where=Where.PLAYER),
    Fault(Trouble.NEW_SCREEN, where=Where.PLAYER),
    Fault(Trouble.GARBAGE, where=Where.PLAYER),
)
OUTAGES = (Outage.REFUSED, Outage.DNS, Outage.PORTAL, Outage.TLS)
SHORT_BLOCKS = (Block.BOT_CHECK, Block.RATE_LIMIT, Block.PLAYER_429, Block.MEDIA_429)


class SmallDisk:
    """A tmpfs of its own for the data directory; `mounted` is False where we may not mount."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        size = f"size={megabytes}m"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
        self.mounted = done.returncode == 0
        self._ballast = folder / ".ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def close(self, *, keep: bool = False) -> None:
        """Unmount; `keep` leaves a copy of what was there in its place."""
        if not self.mounted:
            return
        copy = self.folder.with_name("kept")
        if keep:
            shutil.copytree(self.folder, copy, symlinks=True)
        subprocess.run(["umount", "-l", self.folder], check=False)
        if keep:
            self.folder.rmdir()
            copy.rename(self.folder)


class Storms:
    """The faults. Each returns what it did, or None where there was nothing to hit just now."""

    def __init__(self, jobs: ShardJobs, youtube: Standin, disk: SmallDisk, rng: random.Random) -> None:
        self._jobs = jobs
        self._slurm: PrivateSlurm = jobs.slurm
        self._youtube = youtube
        self._disk = disk
        self._rng = rng
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.drifts: list[tuple[float, float]] = []
        """From when to when, Unix times."""

    def plan(self, rounds: int) -> list[Callable[[], str | None]]:
        """The faults of one run in random order, each ban of the egress once only."""
        each = [
            self.kill_worker,
            self.kill_child,
            self.stop_worker,
            self.kill_slurmd,
            self.kill_node,
            self.cancel,
            self.requeue,
            self.preempt,
            self.time_limit,
            self.make_flaky,
        ]
        storms: list[Callable[[], str | None]] = each * rounds + [self.block_short, self.block_long, self.soft_ban]
        storms += [self.drift, self.outage]
        storms += [self.kill_worker] * rounds
        if self._disk.mounted:
            storms.append(self.fill_disk)
        self._rng.shuffle(storms)
        return storms

    def undo_due(self, *, everything: bool = False) -> None:
        """Take back what has lasted long enough."""
        now = time.monotonic()
        due = [undo for when, undo in self._later if everything or when <= now]
        self._later = [(when, undo) for when, undo in self._later if not everything and when > now]
        for undo in due:
            undo()

    @property
    def lasting(self) -> bool:
        """True while something is still to be taken back."""
        return bool(self._later)

    def _after(self, seconds: float, undo: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, undo))

    def _victim(self) -> Task | None:
        running = self._jobs.running()
        return self._rng.choice(running) if running else None

    def kill_worker(self) -> str | None:
        """KILL to the coordinator of a task: nothing is tidied up."""
        task = self._victim()
        process = None if task is None else self._jobs.coordinator(task)
        if task is None or process is None:
            return None
        process.signal(signal.SIGKILL)
        return f"worker of task {task.name} on {task.node} killed (KILL)"

    def kill_child(self) -> str | None:
        """KILL to a process that decodes."""
        task = self._victim()
        process = None if task is None else self._jobs.child(task, self._rng)
        if task is None or process is None:
            return None
        process.signal(signal.SIGKILL)
        return f"decoding process of task {task.name} killed (KILL)"

    def stop_worker(self) -> str | None:
        """STOP a coordinator until its lease has run out, then let it go on."""
        task = self._victim()
        process = None if task is None else self._jobs.coordinator(task)
        if task is None or process is None:
            return None
        process.signal(signal.SIGSTOP)
        self._after(8, lambda: process.signal(signal.SIGCONT))
        return f"worker of task {task.name} stopped for 8 s, longer than its lease"

    def kill_slurmd(self) -> str | None:
        """Kill a node's daemon: SLURM starts its tasks elsewhere while the old copies still run."""
        task = self._victim()
        if task is None:
            return None
        self._slurm.kill_slurmd(task.node)
        self._after(16, lambda: self._bring_back(task.node))
        return f"slurmd of {task.node} killed, its tasks run on"

    def kill_node(self) -> str | None:
        """A power cut."""
        task = self._victim()
        if task is None:
            return None
        self._slurm.kill_node(task.node)
        self._slurm.down(task.node)
        self._after(6, lambda: self._revive(task.node))
        return f"node {task.node} died with all its processes"

    def _revive(self, node: str) -> None:
        self._slurm.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)  # it may be back already
        self._bring_back(node)

    def _bring_back(self, node: str) -> None:
        """As an admin would: SLURM drains a node on which an old copy of a task still runs ("Duplicate jobid")."""
        for _ in range(_TRIES):
            try:
                self._slurm.restart_node(node, timeout=15)
                return
            except SlurmError:
                self._slurm.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        self._slurm.restart_node(node, timeout=15)

    def cancel(self) -> str | None:
        """scancel: the task ends for good; somebody submits it again."""
        task = self._victim()
        if task is None:
            return None
        self._slurm.cancel(task.name)
        return f"task {task.name} cancelled"

    def requeue(self) -> str | None:
        """scontrol requeue."""
        task = self._victim()
        if task is None:
            return None
        self._slurm.run("scontrol", "requeue", task.name, check=False)
        return f"task {task.name} requeued"

    def preempt(self) -> str | None:
        """A job of higher priority takes a whole node."""
        task = self._victim()
        if task is None:
            return None
        self._slurm.preempt(task.node, seconds=3)
        return f"node {task.node} preempted for 3 s"

    def time_limit(self) -> str | None:
        """The time limit comes near: USR1 when SLURM looks next, every 30 s, before TERM at the limit itself."""
        task = self._victim()
        if task is None:
            return None
        try:
            self._slurm.end_in(task.name, 60)
        except SlurmError:
            return None  # it ended since we looked
        return f"time limit of task {task.name} set to 60 s from now"

    def make_flaky(self) -> str | None:
        """A third of all answers go wrong for a while."""
        for fault in FLAKY:
            self._youtube.add_fault(fault)
        self._after(8, self._youtube.clear_faults)
        return "server flaky for 8 s"

    def block_short(self) -> str | None:
        """A ban that ends before the first pause does."""
        mode = self._rng.choice(SHORT_BLOCKS)
        self._youtube.block(mode, seconds=2)
        return f"egress blocked ({mode}) for 2 s"

    def block_long(self) -> str | None:
        """A ban that outlasts `max_wait`."""
        mode = self._rng.choice(SHORT_BLOCKS)
        self._youtube.block(mode, seconds=12)
        return f"egress blocked ({mode}) for 12 s, longer than max_wait"

    def soft_ban(self) -> str | None:
        """A ban that says nothing of itself: every video is said to be unavailable."""
        if not self._jobs.running():
            return None
        self._youtube.block(Block.SOFT_BAN, seconds=12)
        return "soft ban for 12 s: every video is said to be unavailable"

    def drift(self) -> str | None:
        """YouTube changes, so that nothing comes of a resolve, and changes back."""
        if not self._jobs.running():
            return None
        fault = self._rng.choice(DRIFTS)
        self._youtube.add_fault(fault)
        self.drifts.append((time.time(), time.time() + 12))
        self._after(12, self._youtube.clear_faults)
        return f"drift ({fault.trouble}) for 12 s: no resolve brings a clip"

    def outage(self) -> str | None:
        """No connection for a while."""
        if not self._jobs.running():
            return None
        how = self._rng.choice(OUTAGES)
        self._youtube.cut(how)
        self._after(10, lambda: self._youtube.cut(None))
        return f"outage of the egress ({how}) for 10 s"

    def fill_disk(self) -> str | None:
        """No room left on the data directory's filesystem."""
        self._disk.fill()
        self._jobs.storage_full = True
        self._after(5, self._free_disk)
        return f"filesystem full ({os.statvfs(self._disk.folder).f_bavail} blocks free) for 5 s"

    def _free_disk(self) -> None:
        self._disk.free()
        self._jobs.storage_full = False
