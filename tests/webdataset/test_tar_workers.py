"""Workers that write tars, and everything that can happen to them."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.learn.vggish.inputs import ShardOf, audio_source, clips_of_manifest
from audioset_batch.record.clip_files import read_clip, row_stem
from audioset_batch.sharedfs.lease import is_held
from tests.support.filesystems import mount
from tests.support.loopback import Project
from tests.support.running import Worker, children_of, stat_fields
from tests.support.tar_checks import all_rows, check_row, check_tars, ok_rows, samples_in, tars_of
from tests.support.waiting import wait_until

MakeProject = Callable[..., Project]
STOPPED = 75


def test_a_run_leaves_closed_tars_that_the_manifest_indexes(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project(16)
    project.worker(1)
    check_tars(project, tmp_path)
    tars = tars_of(project.data)
    assert len(tars) > 1
    assert all(path.stat().st_size <= 1_000_000 + 1024 for path in tars)
    assert [path.name for path in tars] == [f"01-{n:05d}.tar" for n in range(len(tars))]
    before = {path: path.stat().st_mtime_ns for path in tars}
    project.worker(1)
    assert {path: path.stat().st_mtime_ns for path in tars_of(project.data)} == before, "nothing is done twice"


@pytest.mark.slow
def test_a_signal_leaves_the_tar_open_and_the_next_run_goes_on(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project(20, delay=0.2)
    with Worker(project) as worker:
        worker.wait_rows(5)
        worker.send(signal.SIGTERM)
        assert worker.end() == STOPPED
    assert len(tars_of(project.data, "*.open")) == 1
    rows = ok_rows(all_rows(project.data))
    for row in rows:
        check_row(project.data, row)
    project.merge("--allow-pending")
    project.youtube.set_delay(0)
    project.worker(1)
    check_tars(project, tmp_path)
    assert ok_rows(all_rows(project.data))[: len(rows)] == rows


@pytest.mark.slow
def test_kills_at_any_instant_lose_and_double_no_sample(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project(28, delay=0.03)
    rng = random.Random(11)
    kills = 0
    for _ in range(7):
        with Worker(project) as worker:
            before = len(worker.rows())
            wait_until(lambda n=before: len(worker.rows()) > n or worker.process.poll() is not None, "a row")
            time.sleep(rng.uniform(0, 0.25))
            if worker.process.poll() is not None:
                break
            decoders = [pid for server in children_of(worker.process.pid) for pid in children_of(server)]
            worker.send(signal.SIGKILL)
            worker.process.wait(5)
            wait_until(lambda pids=decoders: not any(map(stat_fields, pids)), "the end of its processes", 5)
            kills += 1
        for row in ok_rows(all_rows(project.data)):
            check_row(project.data, row)
    assert kills >= 4
    project.worker(1)
    keys = [row["ytid"] for row in all_rows(project.data)]
    assert len(keys) == len(set(keys)), "each segment has one row"
    check_tars(project, tmp_path)


@pytest.mark.slow
def test_who_takes_over_from_a_sleeper_goes_on_in_a_copy(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project(20, delay=0.2, worker={"lease_seconds": 2})
    with Worker(project) as sleeper:
        sleeper.wait_rows(5)
        sleeper.send(signal.SIGSTOP)
        before = {path.stat().st_ino for path in tars_of(project.data, "*.open")}
        assert before
        lease = DataDir(project.data).lease(ShardId("eval_segments", 1))
        wait_until(lambda: not is_held(lease), "the end of the lease")
        project.youtube.set_delay(0)
        with Worker(project) as heir:
            assert heir.end() == 0
            assert "going on in a copy" in heir.log
        after = {path: path.read_bytes() for path in tars_of(project.data)}
        assert not before & {path.stat().st_ino for path in after}
        sleeper.send(signal.SIGCONT)
        assert sleeper.end() == STOPPED
    assert {path: path.read_bytes() for path in tars_of(project.data)} == after
    check_tars(project, tmp_path)


@pytest.mark.slow
def test_splitting_again_closes_open_tars_first(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project(24, delay=0.1, shards=2)
    for task in (1, 2):
        with Worker(project, task) as worker:
            before = len(worker.rows())
            worker.wait_rows(before + 5)
            worker.send(signal.SIGKILL)
            worker.process.wait(5)
    assert {path.name[:2] for path in tars_of(project.data, "*.open")} == {"01", "02"}
    rows = {row["ytid"]: row for row in ok_rows(all_rows(project.data))}
    project.prep(3)
    assert tars_of(project.data, "*.open") == []
    moved = {row["ytid"]: row for row in ok_rows(all_rows(project.data))}
    assert {k: (v["tar"], v["offset"]) for k, v in moved.items()} == {
        k: (v["tar"], v["offset"]) for k, v in rows.items()
    }
    for row in moved.values():
        check_row(project.data, row)
    for task in (1, 2, 3):
        project.worker(task)
    check_tars(project, tmp_path)
    assert not (project.data / "data/eval_segments/audio").exists()


def test_a_retried_clip_is_added_again_and_the_row_says_where(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project(8)
    project.worker(1)
    old = ok_rows(all_rows(project.data))[0]
    project.run("retry", str(project.data), f"--ytid={old['ytid']}", "--status=ok", "--reset")
    project.worker(1)
    new = ok_rows(all_rows(project.data))[-1]
    assert new["ytid"] == old["ytid"] and new["tar"] != old["tar"]
    for row in (old, new):
        check_row(project.data, row)
    twice = samples_in(tars_of(project.data))
    assert twice.pop(row_stem(old)) == 2
    assert set(twice.values()) == {1}
    table = project.merge()
    assert table[table.ytid == old["ytid"]].tar.item() == new["tar"]


@pytest.mark.slow
def test_another_layout_for_the_rest_closes_what_is_open(make_project: MakeProject) -> None:
    project = make_project(14, delay=0.1)
    with Worker(project) as worker:
        worker.wait_rows(4)
        worker.send(signal.SIGTERM)
        assert worker.end() == STOPPED
    project.settings["output"] = {"layout": "files"}
    project.write_config()
    project.worker(1)
    assert tars_of(project.data, "*.open") == []
    rows = ok_rows(all_rows(project.data))
    in_files = [row for row in rows if row["audio_path"]]
    assert in_files and len(in_files) < len(rows)
    assert sum(samples_in(tars_of(project.data)).values()) == len(rows) - len(in_files)
    project.merge()


@pytest.mark.slow
def test_damaged_samples_of_the_open_tar_are_made_again(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project(12, delay=0.1)
    with Worker(project) as worker:
        worker.wait_rows(5)
        worker.send(signal.SIGTERM)
        assert worker.end() == STOPPED
    (tar,) = tars_of(project.data, "*.open")
    with tar.open("rb+") as file:
        file.truncate(tar.stat().st_size - 700)
    done = project.worker(1)
    assert "1 recorded samples are damaged" in done.stderr
    check_tars(project, tmp_path)


def test_video_lies_beside_the_sound(make_project: MakeProject) -> None:
    project = make_project(3, video={"mode": "bestvideo", "preset": "ultrafast"})
    project.worker(1)
    rows = ok_rows(all_rows(project.data))
    assert rows
    for row in rows:
        check_row(project.data, row)
        assert len(read_clip(project.data, row, "video")) == row["video_bytes"] > 0
    assert not DataDir(project.data).video_dir("eval_segments").exists()


@pytest.mark.slow
def test_a_full_disk_takes_nothing_with_it(tmp_path: Path, make_project: MakeProject) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=2500k", "tmpfs")
    try:
        project = make_project(24)
        for _ in range(2):
            with Worker(project) as worker:
                assert worker.end() == STOPPED
            assert "No space left on device" in worker.log
            rows = ok_rows(all_rows(project.data))
            for row in rows:
                check_row(project.data, row)
            assert sum(samples_in(tars_of(project.data, "*")).values()) == len(rows) > 0, "cut back at once"
        mount(folder, "-o", "remount,size=100m")
        project.worker(1)
        check_tars(project, tmp_path)
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def test_embeddings_read_open_tars(make_project: MakeProject) -> None:
    project = make_project(20, delay=0.3)
    with Worker(project) as worker:
        worker.wait_rows(3)
        worker.send(signal.SIGTERM)
        assert worker.end() == STOPPED
    assert tars_of(project.data, "*.open")
    project.merge("--allow-pending")
    rows = {row["ytid"]: row for row in ok_rows(all_rows(project.data))}
    clips = clips_of_manifest(project.data, ShardOf())
    assert {clip.video_id for clip in clips} == set(rows)
    for clip in clips:
        assert audio_source(clip) == read_clip(project.data, rows[clip.video_id])
