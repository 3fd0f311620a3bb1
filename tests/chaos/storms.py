"""What is done to a run while it works. Every fault is a real one; those that last are taken back after a while."""

import os
import random
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from audioset_batch.layout import ShardId
from audioset_batch.standin import Block, Fault, Outage, Standin, Trouble, Where
from tests.chaos.cluster_run import ShardJobs, decode_rows
from tests.chaos.memory import MemoryLimit, kill_as_the_kernel
from tests.chaos.neighbour import Neighbour, Victim
from tests.support.slurm_cluster import PrivateSlurm, SlurmError, Task

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
_HUGE = 1 << 30
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
            shutil.copytree(self.folder, copy, symlinks=True, ignore=_not_to_be_copied)
        subprocess.run(["umount", "-l", self.folder], check=False)
        if keep:
            self.folder.rmdir()
            copy.rename(self.folder)


def _not_to_be_copied(folder: str, names: list[str]) -> list[str]:
    """What a hostile neighbour has left: FIFOs, and files that are huge where they are not sparse."""
    facts = {name: Path(folder, name).lstat() for name in names}
    return [name for name, one in facts.items() if stat.S_ISFIFO(one.st_mode) or one.st_size > _HUGE]


class Storms:
    """The faults. Each returns what it did, or None where there was nothing to hit just now."""

    def __init__(
        self, jobs: ShardJobs, youtube: Standin, disk: SmallDisk, rng: random.Random, *, longest: float, victim: Victim
    ) -> None:
        self._jobs = jobs
        self._slurm: PrivateSlurm = jobs.slurm
        self._youtube = youtube
        self._disk = disk
        self._rng = rng
        self._longest = longest
        self._victim_files = victim
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.drifts: list[tuple[float, float]] = []
        """From when to when, Unix times."""
        self.flaky: list[tuple[float, float]] = []
        self.soft_bans: list[tuple[float, float]] = []
        self.long_bans: list[tuple[float, float]] = []
        self.silences: list[tuple[float, float]] = []
        self.disturbed: list[float] = []
        """When a process was killed, stopped or told to end."""
        self.alone_until = 0.0
        """By the monotonic clock: nothing else is done to the run until then."""

    def plan(self, rounds: int, *, short: bool = False) -> list[Callable[[], str | None]]:
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
        wider = [self.outage_of_one, self.manifest_removed, self.manifest_replaced, self.memory_shortage]
        wider += [self.earlier_version, self.later_version, self.hostile_neighbour]
        storms += [self.drift, self.outage, *wider]
        if not short:
            storms += [self.ban_beyond_requeues, self.silent_controller]
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

    def _alone(self, seconds: float) -> None:
        self.alone_until = time.monotonic() + seconds

    def _victim(self) -> Task | None:
        """One of the tasks that run, for something that may end or stop its processes."""
        self.disturbed.append(time.time())
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

        def go_on() -> None:
            self.disturbed.append(time.time())
            process.signal(signal.SIGCONT)

        self._after(8, go_on)
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
        self.flaky.append((time.time(), time.time() + 8))
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
        self.soft_bans.append((time.time(), time.time() + 12))
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
        self._jobs.patience = True
        self._after(5, self._free_disk)
        return f"filesystem full ({os.statvfs(self._disk.folder).f_bavail} blocks free) for 5 s"

    def _free_disk(self) -> None:
        self._disk.free()
        self._jobs.patience = False

    def outage_of_one(self) -> str | None:
        """One proxy of two is dead; the other goes on."""
        if not self._jobs.running():
            return None
        how, name = self._rng.choice(OUTAGES), self._rng.choice(self._youtube.egresses)
        self._youtube.cut(how, name)
        self._after(12, lambda: self._youtube.cut(None, name))
        return f"outage of egress {name} alone ({how}) for 12 s"

    def ban_beyond_requeues(self) -> str | None:
        """A ban through which a task comes back more often than `max_requeues` restarts for nothing would allow."""
        if self.lasting or not self._jobs.running():
            return None
        mode = self._rng.choice(SHORT_BLOCKS)
        self._youtube.block(mode, seconds=self._longest)
        self.long_bans.append((time.time(), time.time() + self._longest))
        self._alone(self._longest)
        return f"all egresses blocked ({mode}) for {self._longest:g} s, beyond worker.max_requeues"

    def silent_controller(self) -> str | None:
        """slurmctld does not answer while a worker asks to be requeued."""
        task = None if self.lasting else self._victim()
        process = None if task is None else self._jobs.coordinator(task)
        if task is None or process is None:
            return None
        self._slurm.silence_controller()
        process.signal(signal.SIGUSR1)
        self.silences.append((time.time(), time.time() + self._longest))
        self._after(self._longest, self._wake_controller)
        self._alone(self._longest + 10)
        return f"slurmctld silent for {self._longest:g} s, and the warning before the time limit to task {task.name}"

    def _wake_controller(self) -> None:
        self.disturbed.append(time.time())
        self._slurm.wake_controller()
        for node in self._slurm.nodes:  # which it may hold for dead
            with suppress(SlurmError, subprocess.TimeoutExpired):
                self._bring_back(node)

    def manifest_removed(self) -> str | None:
        """Somebody removes the manifest of a shard that is being worked on."""
        return self._lose_manifest(kept=0.0)

    def manifest_replaced(self) -> str | None:
        """Somebody puts an older copy in place of the manifest of a shard that is being worked on."""
        return self._lose_manifest(kept=0.5)

    def _lose_manifest(self, kept: float) -> str | None:
        task = None if self._jobs.patience else self._victim()
        if task is None or task.index is None:
            return None
        path = self._jobs.data.manifest(ShardId("eval_segments", task.index))
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        lines = file.read().splitlines(keepends=True)
        if len(lines) < 4:
            file.close()
            return None
        older = b"".join(lines[: int(kept * len(lines))])
        self._jobs.doubted.add(task.index)
        if older:
            copy = self._jobs.data.root / ".older"
            copy.write_bytes(older)
            copy.replace(path)
        else:
            path.unlink()
        known = {row["ytid"] for row in decode_rows(older)}
        settled = {row["ytid"] for row in decode_rows(older) if row["status"] in ("ok", "unavailable")}

        def forget() -> None:
            file.seek(0)
            lost = {row["ytid"]: row["status"] for row in decode_rows(file.read())}
            # A clip whose file is there is found by it, unless the older copy says that it failed.
            asked = {ytid for ytid, status in lost.items() if status != "ok" or ytid in known}
            self._jobs.sightings.forget(asked - settled)

        def forget_the_last() -> None:
            forget()
            file.close()

        forget()
        self._after(3, forget_the_last)
        return f"manifest of task {task.name} {'replaced by an older copy' if older else 'removed'}"

    def memory_shortage(self) -> str | None:
        """The kernel's OOM killer, where we may make a control group; else the KILL that it would send."""
        task = self._victim()
        processes = [] if task is None else self._jobs.processes(task)
        if task is None or not processes:
            return None
        limit = MemoryLimit(processes)
        if not limit.made:
            killed = kill_as_the_kernel(processes)
            return killed and f"process {killed.pid} of task {task.name} killed as the OOM killer would"

        def lift() -> None:
            self.disturbed.append(time.time())
            print(f"    the kernel killed {limit.lift()} processes of task {task.name} for their memory")

        self._after(5, lift)
        return f"no more memory for task {task.name} for 5 s"

    def _neighbour(self) -> Neighbour | None:
        if self._jobs.patience:  # a full disk takes nothing of a neighbour's either
            return None
        data = self._jobs.data
        return Neighbour(data.egress / self._rng.choice(self._youtube.egresses), data.states, self._victim_files)

    def earlier_version(self) -> str | None:
        """An earlier version works in the same folders."""
        neighbour = self._neighbour()
        if neighbour is None:
            return None
        neighbour.work_as_earlier_version()
        return "an earlier version writes its state into egress_dir and state/"

    def later_version(self) -> str | None:
        """A later version works in the same folders for a while: this one refuses, and touches nothing."""
        neighbour = None if self.lasting else self._neighbour()
        if neighbour is None:
            return None
        self.disturbed.append(time.time())
        self._jobs.patience = True
        self._alone(7)
        leave = neighbour.work_as_later_version()

        def make_peace() -> None:
            leave()
            self._jobs.patience = False

        self._after(6, make_peace)
        return "a later version writes its state into egress_dir and state/ for 6 s"

    def hostile_neighbour(self) -> str | None:
        """Somebody in the group puts into the shared folders what he likes."""
        neighbour = self._neighbour()
        if neighbour is None:
            return None
        acts = list(neighbour.acts().items())
        self._rng.shuffle(acts)
        for _, act in acts:
            act()
        return f"hostile neighbour: {', '.join(name for name, _ in acts)}"
