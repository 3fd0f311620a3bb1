"""What a clip costs the filesystem of the data directory (figures of docs/layouts.md), and where clips are made."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from audioset_batch.config.schema import Audio
from audioset_batch.layout import DataDir
from audioset_batch.media.cut_audio import AudioClip
from audioset_batch.media.write import write_audio
from audioset_batch.model import Clip
from audioset_batch.worker.sink import FilesSink
from audioset_batch.worker.tar_sink import TarSink
from tests.support.loopback import Project
from tests.support.running import Worker
from tests.support.tar_checks import all_rows, check_tars, ok_rows
from tests.support.tar_writer import SHARD, segment

MakeProject = Callable[..., Project]


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another filesystem than the test's."""
    for base in ("/dev/shm", "/run", "/tmp"):
        if os.access(base, os.W_OK) and Path(base).stat().st_dev != tmp_path.stat().st_dev:
            folder = Path(mkdtemp(dir=base))
            yield folder
            shutil.rmtree(folder)
            return
    pytest.skip("NOT TESTED: one filesystem only")


def calls(action: Callable[[], object]) -> int:
    """System calls of the write family that `action` makes (proc(5), /proc/PID/io, syscw)."""

    def count() -> int:
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("syscw")))

    before = count()
    action()
    return count() - before


def ten_seconds(folder: Path, name: str) -> Path:
    """A FLAC file of two channels at 48 kHz, as a worker writes it."""
    path = folder / f"{name}.flac"
    samples = np.random.default_rng(1).normal(0, 0.1, (480_000, 2)).astype(np.float32)
    write_audio(AudioClip(samples, 48000, 48000, "opus"), path, Audio())
    return path


def test_a_file_is_one_write_and_a_rename(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    staging = data.tmp(SHARD)
    staging.mkdir(parents=True)
    sink = FilesSink(data, staging)
    sink.put(segment(0), Clip(ten_seconds(staging, "0"), None, {}))
    assert calls(lambda: ten_seconds(staging, "1")) == 1
    assert calls(lambda: sink.put(segment(1), Clip(staging / "1.flac", None, {}))) == 0


def test_a_file_made_on_the_node_is_copied_in_one_go(tmp_path: Path, other_disk: Path) -> None:
    data = DataDir(tmp_path / "data")
    staging = data.tmp(SHARD)
    staging.mkdir(parents=True)
    sink = FilesSink(data, staging)
    sink.put(segment(0), Clip(ten_seconds(other_disk, "0"), None, {}))
    made = ten_seconds(other_disk, "1")
    content = made.read_bytes()
    assert len(content) > 1_000_000
    # The copy, and the call that finds its end.
    assert calls(lambda: sink.put(segment(1), Clip(made, None, {}))) <= 2
    assert data.audio(segment(1), "flac").read_bytes() == content
    assert list(staging.iterdir()) == list(other_disk.iterdir()) == []


@pytest.mark.parametrize("temp_dir", ["shared", "node"])
def test_a_sample_is_one_write(tmp_path: Path, other_disk: Path, temp_dir: str) -> None:
    data = DataDir(tmp_path / "data")
    staging = data.tmp(SHARD)
    staging.mkdir(parents=True)
    work = staging if temp_dir == "shared" else other_disk
    sink = TarSink(data, SHARD, {}, staging, tar_bytes=100_000_000, names={}, fence=False)
    sink.put(segment(0), Clip(ten_seconds(work, "0"), None, {}))
    made = ten_seconds(work, "1")
    assert calls(lambda: sink.put(segment(1), Clip(made, None, {}))) == 1
    assert list(work.iterdir()) == []
    sink.finish()


def endings_below(folder: Path) -> set[str]:
    """Of all files there; folders may vanish meanwhile."""
    return {Path(name).suffix for _, _, names in os.walk(folder) for name in names}


def test_clips_are_made_where_the_config_says(make_project: MakeProject, other_disk: Path, tmp_path: Path) -> None:
    project = make_project(6, worker={"temp_dir": "$FAST_DISK/clips"}, delay=0.1)
    with Worker(project, prefix=("env", f"FAST_DISK={other_disk}")) as worker:
        seen: set[str] = set()
        while worker.process.poll() is None:
            seen |= endings_below(other_disk)
            assert ".flac" not in endings_below(project.data / ".tmp")
        assert worker.end() == 0
    assert ".flac" in seen
    assert len(ok_rows(all_rows(project.data))) > 3
    check_tars(project, tmp_path)
    assert list((other_disk / "clips").iterdir()) == []


def test_what_a_killed_worker_left_on_the_node_is_cleared(make_project: MakeProject, other_disk: Path) -> None:
    project = make_project(16, worker={"temp_dir": str(other_disk)}, delay=0.5)
    with Worker(project) as worker:
        worker.wait_rows(1)
    project.youtube.set_delay(0)
    left = list(other_disk.iterdir())
    assert len(left) == 1, "killed"
    (other_disk / left[0].name.replace(".01", ".02")).mkdir()
    project.worker(1)
    assert [path.name for path in other_disk.iterdir()] == [left[0].name.replace(".01", ".02")], "not another shard's"


def test_a_variable_that_is_not_set_is_named(make_project: MakeProject) -> None:
    project = make_project(2, worker={"temp_dir": "$NO_SUCH_VARIABLE/clips"})
    assert "$NO_SUCH_VARIABLE/clips names a variable that is not set" in project.worker(1, status=2).stderr


def test_files_from_another_disk_are_whole(make_project: MakeProject, other_disk: Path) -> None:
    project = make_project(6, layout="files", worker={"temp_dir": str(other_disk)})
    project.worker(1)
    project.check(project.merge(), project.youtube.catalog)
    assert list(other_disk.iterdir()) == []
