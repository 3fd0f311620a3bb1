"""Leases between real processes: one gets it, a dead one's is taken over once, a woken one notices."""

import itertools
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.errors import ShardHeld
from audioset_batch.sharedfs import lease as leases
from audioset_batch.sharedfs.lease import Holder, Lease, is_held, read_lease
from tests.support.waiting import wait_until

SPAWN = multiprocessing.get_context("fork")


def unknown_host() -> Holder:
    """A holder about which nothing can be found out from here, as on another node."""
    return replace(Holder.current(), host="node7", boot="another boot")


def current_file(path: Path) -> Path:
    return max(path.glob("holder.*"), key=lambda p: int(p.suffix[1:]))


def test_one_holds_and_the_other_learns_who(tmp_path: Path) -> None:
    path = tmp_path / "eval_segments.01.lease"
    assert read_lease(path) is None
    assert not is_held(path)
    with Lease.acquire(path, Holder.current("77_1", 2), 10) as lease:
        lease.check()
        with pytest.raises(ShardHeld) as caught:
            Lease.acquire(path, Holder.current(), 10)
        text = str(caught.value)
        for part in ("eval_segments.01", "job 77_1 (restart 2)", str(os.getpid()), Holder.current().host, "since 20"):
            assert part in text
        assert caught.value.exit_code == 75
        assert is_held(path)
        info = read_lease(path)
        assert info is not None and info.holder.job_id == "77_1"
    assert not is_held(path)
    with pytest.raises(ShardHeld):
        lease.check()
    with Lease.acquire(path, Holder.current(), 10) as second:
        second.check()
    assert len(list(path.iterdir())) == 1


def test_the_heartbeat_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "x.lease"
    with Lease.acquire(path, unknown_host(), 0.4) as lease:
        begun = current_file(path).stat().st_mtime
        wait_until(lambda: current_file(path).stat().st_mtime > begun + 0.8, "signs of life")
        assert is_held(path)
        with pytest.raises(ShardHeld):
            Lease.acquire(path, Holder.current(), 0.4)
        lease.check()


def test_expiry_is_by_the_filesystems_clock_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.lease"
    old = Lease.acquire(path, unknown_host(), 50)
    old._ended.set()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 1e6)
    with pytest.raises(ShardHeld):
        Lease.acquire(path, Holder.current(), 50)
    file = current_file(path)
    stale = file.stat().st_mtime - 51
    os.utime(file, (stale, stale))
    with Lease.acquire(path, Holder.current(), 50) as new:
        new.check()
        with pytest.raises(ShardHeld, match="lost to another worker"):
            old.check()
        old.release()
        new.check()
        assert is_held(path)


def test_a_requeued_job_succeeds_itself_at_once_but_not_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "x.lease"
    first = Lease.acquire(path, replace(unknown_host(), job_id="9_3", restart_count=0), 100)
    with pytest.raises(ShardHeld):
        Lease.acquire(path, replace(unknown_host(), job_id="9_4", restart_count=1), 100)
    second = Lease.acquire(path, replace(unknown_host(), job_id="9_3", restart_count=1), 100)
    with pytest.raises(ShardHeld):
        first.check()
    with pytest.raises(ShardHeld):
        Lease.acquire(path, replace(unknown_host(), job_id="9_3", restart_count=0), 100)
    second.check()
    second.release()
    first.release()


def hold(path: Path, seconds: float, pipe: Connection) -> None:
    """Hold the lease, then answer each message with the outcome of `check`."""
    lease = Lease.acquire(path, unknown_host() if seconds < 50 else Holder.current(), seconds)
    pipe.send("held")
    while pipe.recv() == "check":
        try:
            lease.check()
            pipe.send("ours")
        except ShardHeld as error:
            pipe.send(str(error))


def start_holder(path: Path, seconds: float) -> tuple[Any, Connection]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=hold, args=(path, seconds, theirs), daemon=True)
    process.start()
    assert ours.poll(20)
    assert ours.recv() == "held"
    return process, ours


def test_a_killed_holder_on_this_host_is_succeeded_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.lease"
    process, _ = start_holder(path, 1000)
    with pytest.raises(ShardHeld):
        Lease.acquire(path, Holder.current(), 1000)
    process.kill()
    process.join()
    with Lease.acquire(path, Holder.current(), 1000) as lease:
        lease.check()


def test_a_pid_that_was_used_again_is_not_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.lease"
    ghost = replace(Holder.current(), pid_start="1")
    Lease.acquire(path, ghost, 1000)._ended.set()
    with Lease.acquire(path, Holder.current(), 1000) as lease:
        lease.check()


@pytest.mark.parametrize("contended", [True, False])
def test_a_stopped_holder_notices_when_it_wakes(tmp_path: Path, contended: bool) -> None:
    path = tmp_path / "x.lease"
    process, pipe = start_holder(path, 0.5)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: not is_held(path), "the end of the lease")
    new = Lease.acquire(path, Holder.current(), 30) if contended else None
    pipe.send("check")
    os.kill(process.pid, signal.SIGCONT)
    assert pipe.poll(20)
    answer = pipe.recv()
    if new is not None:
        assert "lost to another worker" in answer
        time.sleep(0.4)
        new.check()
        new.release()
    else:
        assert answer == "ours"
        assert is_held(path)
    process.kill()
    process.join()


def contend(path: Path, log: Path, enough: Any) -> None:
    """Take the lease over and over, abandoning it without release half of the time; log each reign."""
    turn = 0
    while not enough.is_set():
        turn += 1
        try:
            lease = Lease.acquire(path, unknown_host(), 0.05)
        except ShardHeld:
            continue
        lease._ended.set()
        version = lease._version
        if version is None:  # on a busy machine the lease may be lost before it was looked at
            continue
        term = version.number
        with log.open("a") as file:
            file.write(f"{term} {os.getpid()}\n")
        if turn % 2:
            lease.release()
        else:
            lease._close_fd()


def test_many_contenders_never_share_a_term(tmp_path: Path) -> None:
    path = tmp_path / "x.lease"
    enough = SPAWN.Event()
    processes = [SPAWN.Process(target=contend, args=(path, tmp_path / f"log{i}", enough)) for i in range(8)]

    def terms() -> list[int]:
        """Of all processes, as soon as each had some."""
        logs = [[int(line.split()[0]) for line in log.read_text().splitlines()] for log in tmp_path.glob("log*")]
        return list(itertools.chain(*logs)) if len(logs) == len(processes) else []

    for process in processes:
        process.start()
    try:
        wait_until(lambda: len(terms()) > 40, "forty terms of eight processes")
    finally:
        enough.set()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert len(set(terms())) == len(terms())
    assert len([p for p in path.iterdir() if p.suffix == ".tmp"]) == 0


def race_once(path: Path, gate: Any, results: Any, all_told: Any) -> None:
    gate.wait()
    try:
        Lease.acquire(path, Holder.current(), 60)
        results.put("won")
    except ShardHeld:
        results.put("lost")
    results.close()
    results.join_thread()
    all_told.wait(60)  # who has won lives on: the lease of a dead holder would be there to be had again


def test_of_many_contenders_for_a_dead_holders_lease_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "x.lease"
    Lease.acquire(path, unknown_host(), 60)._ended.set()
    file = current_file(path)
    os.utime(file, (1, 1))
    gate, results, all_told = SPAWN.Barrier(12), SPAWN.Queue(), SPAWN.Event()
    processes = [SPAWN.Process(target=race_once, args=(path, gate, results, all_told), daemon=True) for _ in range(12)]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=30) for _ in processes]
    all_told.set()
    assert outcomes.count("won") == 1
    for process in processes:
        process.kill()
        process.join()


FOREIGN = (
    b"something else altogether",
    b"[" * 5000,
    b"{}",
    json.dumps({"released": "no", "lease_seconds": 60, "holder": {}}).encode(),
    json.dumps({"released": False, "lease_seconds": 1e300, "holder": {}}).encode(),
    json.dumps({"released": False, "lease_seconds": 60, "holder": {"pid": "../1", "host": ["x"]}}).encode(),
    json.dumps({"released": False, "lease_seconds": 60, "holder": {"pid": 1 << 70}}).encode(),
)


@pytest.mark.parametrize("content", FOREIGN)
def test_a_lease_that_is_not_understood_is_held_until_it_expires(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.lease"
    path.mkdir()
    foreign = path / "holder.3"
    foreign.write_bytes(b"0123456789abcdef " + content + b"\n")
    with pytest.raises(ShardHeld, match="host unknown"):
        Lease.acquire(path, Holder.current(), 60)
    os.utime(foreign, (1, 1))
    with Lease.acquire(path, Holder.current(), 60) as lease:
        assert lease._version is not None and lease._version.number == 4


def test_a_sign_of_life_in_the_future_counts_as_when_it_was_set(tmp_path: Path) -> None:
    path = tmp_path / "x.lease"
    Lease.acquire(path, unknown_host(), 60)._ended.set()
    file = current_file(path)
    os.utime(file, (4e9, 4e9))
    info = read_lease(path)
    assert info is not None and info.alive and 0 <= info.age_seconds < 30
    short = json.loads(file.read_bytes()[17:]) | {"lease_seconds": 0.01}
    file.write_bytes(file.read_bytes()[:17] + json.dumps(short).encode() + b"\n")
    os.utime(file, (4e9, 4e9))
    time.sleep(0.05)
    with Lease.acquire(path, Holder.current(), 60) as lease:
        lease.check()


def test_texts_of_a_lease_cannot_steer_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.lease"
    path.mkdir()
    values = {"released": False, "lease_seconds": 60, "holder": {"host": "\x1b[2Jn1\n\u202e", "job_id": "7" * 9000}}
    (path / "holder.1").write_bytes(b"0123456789abcdef " + json.dumps(values).encode() + b"\n")
    with pytest.raises(ShardHeld) as raised:
        Lease.acquire(path, Holder.current(), 60)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 1000


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(leases.os, "link", refuse)
    path = tmp_path / "x.lease"
    (path).mkdir()
    (path / "holder.1").write_bytes(b"")  # a writer that died between making and filling it
    with Lease.acquire(path, Holder.current(), 60) as lease:
        lease.check()
        with pytest.raises(ShardHeld):
            Lease.acquire(path, Holder.current(), 60)
    with Lease.acquire(path, Holder.current(), 60) as lease:
        lease.check()
    assert len(list(path.iterdir())) == 1
