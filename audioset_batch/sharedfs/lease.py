"""Who works on a shard: leases on a filesystem that nodes share. `flock` may hold on one node only; these hold on all.

A lease is a folder with one file per term, `holder.<n>`; the highest n rules. Its content says who holds it, its mtime
when the holder was last seen alive, by the filesystem's own clock. A new term is begun with the compare-and-swap of
`register`, so of many contenders for an expired lease exactly one gets it. The heartbeat goes through an
open file, so a holder that was stopped and wakes up never prolongs the lease of its successor; it learns of its loss
from `check`. Releasing marks the term as over; the file stays, so that numbers are never used twice.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import logging
import math
import os
import secrets
import socket
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from audioset_batch import untrusted
from audioset_batch.errors import ShardHeld, StorageUnusable, UnsafePath
from audioset_batch.sharedfs.clock import boot_time, read_clock
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.publish import storage, unusable
from audioset_batch.sharedfs.versioned_file import DATA_AT, AtomicVersionedFile, Version

_NAME: Final = "holder"
_UNKNOWN_SECONDS: Final = 120.0
_LONGEST: Final = 86400.0
_CLOCKS_DIFFER: Final = 30.0
_PROC: Final = Path("/proc")
_log = logging.getLogger(__name__)


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        namespace = os.readlink(_PROC / "self/ns/pid")  # noqa: PTH115 - no path but "pid:[4026531836]"
        return f"{(_PROC / 'sys/kernel/random/boot_id').read_text().strip()} {namespace}"
    return ""


def _process_start(pid: int) -> str:
    """Start time of a process in clock ticks since boot, field 22 of /proc/PID/stat (proc(5)); "" if unknown.

    Raises:
        ProcessLookupError: there is no such process, or it is a zombie.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        with contextlib.suppress(PermissionError):  # somebody else's, and hidden from us (hidepid)
            os.kill(pid, 0)
        return ""
    fields_after_name = stat.rpartition(")")[2].split()
    if fields_after_name[0] in "ZX":
        raise ProcessLookupError(pid)
    return fields_after_name[19]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lease.

    Attributes:
        boot: Kernel boot and pid namespace, within which `pid` means something; "" if unknown.
        pid_start: When the process started, in the kernel's words: pids are used again.
        token: Unique for each holder.
        started_at: UTC, ISO 8601, by the holder's clock; for people.
    """

    host: str = ""
    pid: int = 0
    job_id: str = ""
    restart_count: int = 0
    started_at: str = ""
    boot: str = ""
    pid_start: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def current(cls, job_id: str = "", restart_count: int = 0) -> Holder:
        """This process."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            job_id=job_id,
            restart_count=restart_count,
            started_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            boot=_boot_id(),
            pid_start=_process_start(os.getpid()),
        )

    @classmethod
    def from_values(cls, values: object) -> Holder:
        """A holder that anybody may have written.

        Raises:
            ValueError: it is none; says why.
        """
        if not isinstance(values, dict):
            raise ValueError("without a holder")
        return cls(**{"token": "", **untrusted.fields_of(cls, values)})

    def is_dead(self) -> bool:
        """True only if it is sure: the process was on this kernel and is gone."""
        if not self.boot or self.boot != _boot_id():
            return False
        try:
            return bool(self.pid_start) and _process_start(self.pid) != self.pid_start
        except ProcessLookupError:
            return True

    def is_succeeded_by(self, other: Holder) -> bool:
        """True if `other` is the same SLURM job after a requeue."""
        return bool(self.job_id) and self.job_id == other.job_id and self.restart_count < other.restart_count

    def __str__(self) -> str:
        job = f"job {self.job_id} (restart {self.restart_count}), " if self.job_id else ""
        return f"{job}host {self.host or 'unknown'}, process {self.pid}, since {self.started_at or 'unknown'}"


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A lease that is not released, as others see it.

    Attributes:
        term: Its number; each holder has a higher one.
        age_seconds: Since the holder was last seen alive, by the filesystem's clock.
        lease_seconds: Age at which it is taken over.
    """

    holder: Holder
    term: int
    age_seconds: float
    lease_seconds: float

    @property
    def alive(self) -> bool:
        """False if the lease has expired or its holder is known to be dead."""
        return self.age_seconds <= self.lease_seconds and not self.holder.is_dead()

    def __str__(self) -> str:
        seen = "at a time to come" if math.isinf(self.age_seconds) else f"{max(0.0, self.age_seconds):.0f} s ago"
        return f"{self.holder}; last seen alive {seen}"


def read_lease(path: Path) -> LeaseInfo | None:
    """The lease at `path`, alive or not; None if there is none or it was released. Changes nothing.

    Raises:
        StorageUnusable: it cannot be read.
    """
    with storage(path):
        version = AtomicVersionedFile(path, _NAME).read()
        return None if version is None else _info(path, version)


def is_held(path: Path) -> bool:
    """True while somebody holds the lease at `path` and is not known to be dead.

    Raises:
        StorageUnusable: it cannot be read.
    """
    info = read_lease(path)
    return info is not None and info.alive


def last_term(path: Path) -> int:
    """Number of the latest term of the lease at `path`, over or not; 0 if there was none. It grows with each holder.

    Raises:
        StorageUnusable: it cannot be read.
    """
    with storage(path.parent):
        return max(AtomicVersionedFile(path, _NAME).numbers(), default=0)


def _info(path: Path, version: Version) -> LeaseInfo | None:
    try:
        values = untrusted.load_object(version.data)
        if untrusted.truth(values.get("released")):
            return None
        lease_seconds = untrusted.number(values.get("lease_seconds"), 0, _LONGEST)
        holder = Holder.from_values(values.get("holder"))
    except ValueError as error:
        # Of another version, or damaged. Somebody may be at work: until it expires it is held, as any lease.
        _log.warning("%s: holder.%d is not a lease that this version understands (%s)", path, version.number, error)
        holder, lease_seconds = Holder(host="unknown", token=""), _UNKNOWN_SECONDS
    try:
        now = read_clock(path)
    except (OSError, UnsafePath):
        now = datetime.datetime.now().timestamp()  # a reader without write permission has no better clock
    age = now - version.mtime
    if age < -_CLOCKS_DIFFER:
        # Nobody was seen alive in the future: somebody has set that time, or the clock. The ctime only the server sets.
        age = now - version.changed_at if version.changed_at <= now + _CLOCKS_DIFFER else math.inf
    return LeaseInfo(holder, version.number, age, lease_seconds)


def _encode(holder: Holder, lease_seconds: float, *, released: bool, width: int = 0) -> bytes:
    text = {"released": released, "lease_seconds": lease_seconds, "holder": asdict(holder)}
    return json.dumps(text).ljust(width).encode("ascii") + b"\n"


class Lease:
    """A lease that this process holds, with a heartbeat; made by `acquire`, a context manager.

    Usable from several threads. A fork does not inherit the heartbeat: only the process that acquired it holds it.
    """

    def __init__(self, path: Path, holder: Holder, lease_seconds: float) -> None:
        self.path = path
        self.holder = holder
        self.lease_seconds = lease_seconds
        self.predecessor_may_live = False
        """True if this lease was taken over from a holder that is not known to be dead: it may wake up and write."""
        self._shard = path.name.removesuffix(".lease")
        self._versions = AtomicVersionedFile(path, _NAME)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._fd = -1
        self._beat_at = 0.0
        self._version: Version | None = None
        self._loss = f"{self._shard} is no longer held: its lease was released"
        self._thread = threading.Thread(target=self._beat_for_ever, name=f"lease {path.name}", daemon=True)

    @classmethod
    def acquire(cls, path: Path, holder: Holder, lease_seconds: float = 120.0) -> Lease:
        """Take the lease at `path` (a folder; made if need be) if it is free, expired, or its holder is dead.

        Args:
            path: E.g. `DataDir.lease(shard)`; the folder two levels up must exist.
            holder: `Holder.current(...)`; a fresh token is given to it.
            lease_seconds: Without a sign of life for so long, others may take the lease.

        Raises:
            ShardHeld: somebody else holds it; says who, and since when.
            StorageUnusable: the lease cannot be read or written.
        """
        lease = cls(path, replace(holder, token=secrets.token_hex(8)), lease_seconds)
        with storage(path.parent):
            with Folder(path.parent.parent, may_be_link=True) as above:
                above.make_folder(path.parent.name)
            with Folder(path.parent, may_be_link=True) as parent:
                parent.make_folder(path.name)
        with storage(path):
            while not lease._try():
                pass
        lease._thread.start()
        return lease

    def _try(self) -> bool:
        version = self._versions.read()
        info = None if version is None else _info(self.path, version)
        if info is not None:
            if info.alive and not info.holder.is_succeeded_by(self.holder):
                raise ShardHeld(f"{self._shard} is being worked on by {info}")
            _log.warning("%s: taking over from %s", self._shard, info)
            self.predecessor_may_live = not info.holder.is_dead()
        return self._begin_term(version)

    def _begin_term(self, basis: Version | None) -> bool:
        started = boot_time()
        version = self._versions.swap(basis, _encode(self.holder, self.lease_seconds, released=False))
        if version is None:
            return False
        try:
            fd = self._open(version, os.O_RDWR)
        except FileNotFoundError:
            return False
        self._close_fd()
        self._fd, self._version, self._beat_at = fd, version, started
        return True

    def check(self) -> None:
        """Make sure that the lease is still ours; call it before each publication. A few metadata operations.

        A lease that ran out while this process was stopped is renewed, if nobody has taken it yet.

        Raises:
            ShardHeld: somebody has taken it over; publish and record nothing more.
            StorageUnusable: the lease cannot be read.
        """
        with self._lock, storage(self.path):
            self._check()

    def _check(self) -> None:
        if self._version is None:
            raise ShardHeld(self._loss)
        if boot_time() - self._beat_at > self.lease_seconds:
            self._renew_expired()
            return
        # Opening makes NFS ask the server; a worker that takes over removes our file.
        try:
            os.close(self._open(self._version, os.O_RDONLY))
        except FileNotFoundError:
            if not self.path.exists():
                raise  # nobody took it: the data directory has gone
            raise self._lost() from None
        if self._versions.numbers()[-1:] != [self._version.number]:
            raise self._lost()

    def _open(self, version: Version, flags: int) -> int:
        """A descriptor of the very file that this holder has made; `FileNotFoundError` if its name has another now."""
        with Folder(self.path) as folder:
            fd = folder.open(f"{_NAME}.{version.number}", flags)
        if os.fstat(fd).st_ino != version.inode:
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, "another file has its name", str(self.path))
        return fd

    def _renew_expired(self) -> None:
        """Anybody may be taking it just now: only a new term of our own is certain."""
        if not self._begin_term(self._version):
            raise self._lost()
        _log.warning("%s: the lease ran out unnoticed and was renewed", self._shard)

    def _lost(self) -> ShardHeld:
        self._version = None
        self._close_fd()
        try:
            version = self._versions.read()
            info = None if version is None else _info(self.path, version)
        except (OSError, UnsafePath):
            info = None
        who = info or "which has finished since"
        self._loss = f"{self._shard}: lost to another worker ({who}); nothing more is recorded"
        return ShardHeld(self._loss)

    def _beat_for_ever(self) -> None:
        while not self._ended.wait(self.lease_seconds / 4):
            with self._lock:
                if self._version is None:
                    return
                try:
                    self._beat()
                except ShardHeld as error:
                    _log.error("%s", error)
                    return
                except (OSError, UnsafePath) as error:
                    _log.warning("%s: heartbeat failed: %s", self._shard, error)

    def _beat(self) -> None:
        started = boot_time()
        if started - self._beat_at > self.lease_seconds:
            self._renew_expired()
            return
        os.utime(self._fd)  # without a time: the server's
        self._beat_at = started

    def release(self) -> None:
        """Let others have it. Releasing twice, or after a loss, is fine.

        Raises:
            StorageUnusable: it could not be marked; it will expire.
        """
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(self.lease_seconds)
        with self._lock:
            version, self._version = self._version, None
            try:
                if version is not None:
                    data = _encode(self.holder, self.lease_seconds, released=True, width=len(version.data) - 1)
                    os.pwrite(self._fd, data, DATA_AT)
            except OSError as error:
                raise unusable(self.path, error) from error
            finally:
                self._close_fd()

    def _close_fd(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        except StorageUnusable as error:
            if value is None:
                raise
            _log.warning("%s", error)  # the error on its way out says more
