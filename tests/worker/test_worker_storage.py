"""Filesystems that fill up, turn read-only or vanish under a worker."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audioset_batch.layout import DataDir, ShardId
from tests.support.filesystems import mount
from tests.support.loopback import Project
from tests.support.running import Worker
from tests.support.verdicts import leftovers

MakeProject = Callable[..., Project]
STOPPED = 75


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """DATADIR as a filesystem of 2.5 MB."""
    folder = tmp_path / "data"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=2500k", "tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def recorded_is_there(project: Project, worker: Worker) -> None:
    ok = [row["audio_path"] for row in worker.rows() if row["status"] == "ok"]
    assert all((project.data / path).stat().st_size > 0 for path in ok)
    assert all(row["status"] != "failed" for row in worker.rows()), worker.rows()


def test_full_disk(small_disk: Path, make_project: MakeProject) -> None:
    project = make_project(20, delay=0.02)
    with Worker(project) as worker:
        assert worker.end() == STOPPED
    assert "No space left on device" in worker.log
    assert str(project.data) in worker.log
    assert "MB" in worker.log and "free at" in worker.log
    recorded_is_there(project, worker)
    before = len(worker.rows())
    assert 0 < before < 20
    with Worker(project) as worker:
        assert worker.end() == STOPPED, "still full"
    mount(small_disk, "-o", "remount,size=100m")
    project.worker(1)
    project.check(project.merge(), project.youtube.catalog)
    assert leftovers(project.data) == []


@pytest.mark.slow
def test_a_limit_on_file_sizes_stands_for_a_quota(make_project: MakeProject) -> None:
    """RLIMIT_FSIZE makes write(2) fail in the middle of a file, as a quota does, without any right to mount."""
    project = make_project(10, delay=0.02)
    with Worker(project, prefix=("bash", "-c", 'ulimit -f 100; exec "$@"', "bash")) as worker:
        assert worker.end() == STOPPED
    assert "File too large" in worker.log
    assert str(project.data) in worker.log
    assert "free at" in worker.log
    recorded_is_there(project, worker)
    project.worker(1)
    project.check(project.merge(), project.youtube.catalog)
    assert leftovers(project.data) == []


def test_read_only(small_disk: Path, make_project: MakeProject) -> None:
    project = make_project(4)
    mount(small_disk, "-o", "remount,ro")
    with Worker(project) as worker:
        assert worker.end() == STOPPED
    assert "Read-only file system" in worker.log
    assert str(project.data) in worker.log
    assert project.youtube.events("resolve") == []


def test_data_directory_vanishes(make_project: MakeProject) -> None:
    project = make_project(20)
    elsewhere = project.folder / "elsewhere"
    with Worker(project) as worker:
        worker.wait_rows(3)
        shutil.move(project.data, elsewhere)
        assert worker.end(20) == STOPPED, worker.log
    assert str(project.data) in worker.log
    assert "lost to another worker" not in worker.log
    assert not project.data.exists(), "nothing is made anew where the data directory was"
    shutil.move(elsewhere, project.data)
    recorded_is_there(project, worker)
    project.worker(1)
    project.check(project.merge(), project.youtube.catalog)
    assert leftovers(project.data) == []


def test_what_a_killed_worker_left_is_cleared(make_project: MakeProject) -> None:
    """Killed between making a temporary file and renaming it, whatever the file is."""
    project = make_project(4)
    data = DataDir(project.data)
    settings = data.settings / ".abc.json.0123.tmp"
    left = [data.states / ".eval_segments.01.json.0123.tmp", data.tmp(ShardId("eval_segments", 1)) / "x.flac", settings]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    os.utime(settings, (time.time() - 3600,) * 2)
    project.worker(1)
    assert leftovers(project.data) == []
