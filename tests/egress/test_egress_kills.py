"""kill -9 and a full disk at arbitrary points: nothing is left that anybody would wait for."""

import errno
import os
import random
import time
from pathlib import Path

import pytest

from audioset_batch.egress import EgressPool, Grant, Wait
from audioset_batch.errors import StorageUnusable
from audioset_batch.sharedfs import versioned_file as register
from tests.support.egress import FORK, egress, probe

CONFIG = egress(videos_per_hour=200, window_seconds=2.0, pause_seconds=0.05, pause_factor=1.0)


def be_busy(folder: Path, seed: int) -> None:
    """Claim, be blocked, probe, fail and succeed, as fast as possible, for ever."""
    rng = random.Random(seed)
    pool = EgressPool([CONFIG], probe(), folder)
    while True:
        answer = pool.probe_due() or pool.try_acquire()
        if isinstance(answer, Wait):
            time.sleep(min(0.005, answer.seconds))
        elif rng.random() < 0.5:
            answer.blocked("bot check")
        else:
            answer.answered("")


@pytest.mark.slow
def test_kills_at_arbitrary_points_stop_nobody(tmp_path: Path) -> None:
    rng = random.Random(7)
    for seed in range(25):
        processes = [FORK.Process(target=be_busy, args=(tmp_path, 10 * seed + i)) for i in range(2)]
        for process in processes:
            process.start()
        time.sleep(rng.uniform(0.02, 0.25))
        for process in processes:
            assert process.is_alive(), "it failed by itself"
            process.kill()
            process.join()
    pool = EgressPool([CONFIG], probe(), tmp_path)
    granted, end = 0, time.monotonic() + 5
    while time.monotonic() < end and granted < 5:
        answer = pool.probe_due() or pool.try_acquire()
        if isinstance(answer, Grant):
            granted += not answer.probe_ytid
            answer.answered("")
        else:
            time.sleep(min(0.05, answer.seconds))
    assert granted == 5


def test_a_full_disk_ends_the_run_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = EgressPool([egress()], probe(), tmp_path)
    grant = pool.try_acquire()
    assert isinstance(grant, Grant)

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(register.os, "write", full)
        with pytest.raises(StorageUnusable, match="No space left"):
            grant.blocked("bot check")
    assert not list((tmp_path / "one").glob("state.*"))
