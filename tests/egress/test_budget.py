"""The budget holds for all processes together, whatever dies; without one no file is touched."""

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.egress import EgressPool, Grant, Wait, read_egress_status
from audioset_batch.errors import Interrupted, StorageUnusable
from audioset_batch.sharedfs.clock import boot_time
from tests.support.egress import FORK, egress, most_in_a_window, probe


def spend(folder: Path, log: Path, seconds: float, config: Any, delay: float = 0.0) -> None:
    """Take what one can get for some seconds; one line per resolve, written when it starts."""
    stop_at = time.monotonic() + seconds
    fd = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    with EgressPool([config], probe(), folder) as pool:
        while time.monotonic() < stop_at:
            answer = pool.try_acquire()
            if isinstance(answer, Wait):
                time.sleep(min(answer.seconds, 0.2))
                continue
            time.sleep(random.uniform(0, delay))
            if boot_time() >= answer.start_by:
                answer.release()
                continue
            os.write(fd, f"{time.time()}\n".encode())
            answer.answered("")


def times(log: Path) -> list[float]:
    return sorted(float(line) for line in log.read_text().splitlines())


def test_every_window_of_several_processes_keeps_the_budget(tmp_path: Path) -> None:
    config = egress(videos_per_hour=20, window_seconds=2.0, concurrent=2)
    log = tmp_path / "log"
    processes = [FORK.Process(target=spend, args=(tmp_path / "egress", log, 6.5, config, 0.02)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    starts = times(log)
    assert most_in_a_window(starts, 2.0) <= 20
    assert len(starts) >= 35, "much of the budget was not used"
    # Evenly: no quarter of a window has a burst.
    assert most_in_a_window(starts, 0.5) <= 8
    names = [p.name for p in (tmp_path / "egress" / "one").iterdir()]
    assert len(names) < 40
    assert not [n for n in names if n.endswith(".tmp")]


@pytest.mark.slow
def test_killed_and_stopped_processes_break_nothing(tmp_path: Path) -> None:
    config = egress(videos_per_hour=30, window_seconds=2.0)
    log = tmp_path / "log"
    rng = random.Random(5)
    running = []
    end = time.monotonic() + 6
    while time.monotonic() < end:
        while len(running) < 4:
            process = FORK.Process(target=spend, args=(tmp_path / "egress", log, 60, config))
            process.start()
            running.append(process)
        time.sleep(rng.uniform(0.05, 0.3))
        victim = running.pop(rng.randrange(len(running)))
        if rng.random() < 0.3:
            os.kill(victim.pid, signal.SIGSTOP)
            time.sleep(0.25)
            os.kill(victim.pid, signal.SIGCONT)
            running.append(victim)
        else:
            victim.kill()
            victim.join()
    for process in running:
        process.kill()
        process.join()
    before = len(times(log))
    assert most_in_a_window(times(log), 2.0) <= 30
    spend(tmp_path / "egress", log, 2.5, config)
    assert len(times(log)) > before + 15


def test_without_a_budget_no_file_is_touched(tmp_path: Path) -> None:
    with EgressPool([egress(concurrent=3)], probe(), tmp_path / "egress") as pool:
        grants = [pool.try_acquire() for _ in range(3)]
        assert all(isinstance(grant, Grant) for grant in grants)
        assert isinstance(pool.try_acquire(), Wait)
        for grant in grants:
            assert isinstance(grant, Grant)
            grant.answered("")
            grant.answered("")
        assert isinstance(pool.try_acquire(), Grant)
        assert pool.probe_due() is None
    assert list(tmp_path.iterdir()) == []


def test_concurrency_is_per_egress_and_round_robin(tmp_path: Path) -> None:
    with EgressPool([egress(name="a", concurrent=2), egress(name="b", concurrent=1)], probe(), tmp_path) as pool:
        grants = []
        while isinstance(answer := pool.try_acquire(), Grant):
            grants.append(answer)
        assert [grant.name for grant in grants] == ["a", "b", "a"]
        assert [grant.index for grant in grants] == [0, 1, 0]
        grants[1].release()
        grants[1].release()
        again = pool.try_acquire()
        assert isinstance(again, Grant) and again.name == "b"


def test_want_limits_the_slots_that_wait(tmp_path: Path) -> None:
    many = [egress(name=f"e{i}", videos_per_hour=1, window_seconds=50.0) for i in range(3)]
    for config in many:  # spend the first slots, so that nothing is due at once
        with EgressPool([config], probe(), tmp_path) as pool:
            while isinstance(pool.try_acquire(), Wait):
                time.sleep(0.05)
    with EgressPool(many, probe(), tmp_path) as pool:
        for _ in range(5):
            assert isinstance(pool.try_acquire(want=1), Wait)
        assert len(list(tmp_path.glob("e*/slot.*"))) == 3 + 1
    assert len(list(tmp_path.glob("e*/slot.*"))) == 3, "closing gives back what was not used"


def test_a_changed_budget_holds_for_running_tasks_too(tmp_path: Path) -> None:
    fast = egress(videos_per_hour=40, window_seconds=2.0)
    slow = egress(videos_per_hour=10, window_seconds=2.0)
    old = EgressPool([fast], probe(), tmp_path)
    starts: list[float] = []

    def take(pool: EgressPool, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = pool.try_acquire()
            if isinstance(answer, Grant):
                starts.append(time.time())
                answer.answered("")
            else:
                time.sleep(min(0.05, answer.seconds))

    take(old, 1.5)
    with EgressPool([slow], probe(), tmp_path) as new:
        new.try_acquire()
        changed = time.time()
        take(old, 4.5)
    assert most_in_a_window(starts, 2.0) <= 40
    late = [s for s in starts if s > changed]
    assert len(late) >= 8
    assert most_in_a_window(late, 2.0) <= 10
    status = read_egress_status(tmp_path, [fast])[0]
    assert status.budget == 10


def test_status_counts_what_is_used(tmp_path: Path) -> None:
    config = egress(videos_per_hour=20, window_seconds=2.0, proxy="http://me:secret@proxy.example:3128")
    before = read_egress_status(tmp_path / "egress", [config])[0]
    assert (before.state, before.used, before.left) == ("open", 0.0, 20.0)
    assert not (tmp_path / "egress").exists()
    spend(tmp_path / "egress", tmp_path / "log", 1.0, config)
    after = read_egress_status(tmp_path / "egress", [config])[0]
    assert after.used is not None and after.used >= 4
    assert after.left == pytest.approx(20 - after.used)
    assert after.proxy == "http://***@proxy.example:3128"
    written = [path.read_bytes() for path in (tmp_path / "egress").rglob("*") if path.is_file()]
    assert written and not [content for content in written if b"secret" in content]


def test_what_is_used_is_a_count_from_the_first_minute_on(tmp_path: Path) -> None:
    config = egress(videos_per_hour=36_000)
    spend(tmp_path / "egress", tmp_path / "log", 1.5, config)
    granted = len((tmp_path / "log").read_text().splitlines())
    status = read_egress_status(tmp_path / "egress", [config])[0]
    assert status.used is not None and 0 < status.used <= granted + 1


def test_a_grant_says_until_when_it_is_good(tmp_path: Path) -> None:
    with EgressPool([egress(videos_per_hour=10, window_seconds=2.0)], probe(), tmp_path) as pool:
        assert pool.poll_interval(5) == 5
        while isinstance(grant := pool.try_acquire(), Wait):
            assert pool.poll_interval(5) <= 0.35
            time.sleep(pool.poll_interval(5))
        assert 0 < grant.start_by - boot_time() <= 0.2
        while isinstance(pool.try_acquire(), Grant) or pool.poll_interval(5) == 5:
            pass
        time.sleep(0.5)
        assert pool.poll_interval(5) == 5, "a slot that is missed is nothing to wake up for"
    with EgressPool([egress()], probe(), tmp_path) as pool:
        assert pool.acquire(threading.Event(), lambda grant: None).start_by == float("inf")


def test_waiting_ends_when_asked_to_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    with EgressPool([egress(videos_per_hour=1, window_seconds=20.0)], probe(), tmp_path) as pool:
        pool.acquire(threading.Event(), lambda grant: None).answered("")
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(Interrupted):  # rather than a grant, in twenty seconds
            pool.acquire(stop, lambda grant: None)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        EgressPool([egress(videos_per_hour=5)], probe(), tmp_path / "file" / "egress") as pool,
        pytest.raises(StorageUnusable, match="file"),
    ):
        pool.try_acquire()
