"""The open tar itself: killed at any instant, cut off, full disks, rivals."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from audioset_batch.errors import InputRefused, StorageUnusable
from audioset_batch.layout import DataDir
from audioset_batch.plan import swap
from audioset_batch.plan.retry import Choice, reset
from audioset_batch.plan.segments_csv import read_segments_csv
from audioset_batch.plan.split import split
from audioset_batch.record.clip_files import open_tar, read_clip
from audioset_batch.record.manifest import latest_rows, read_rows, replay
from audioset_batch.record.tars import OpenTar, encode_sample, next_number, open_tars, publish_left_open_tars, resume
from audioset_batch.sharedfs.lease import is_held
from tests.support import tar_writer
from tests.support.tar_checks import all_rows, check_row, samples_in, tars_of
from tests.support.waiting import wait_until

SCRIPT = Path(tar_writer.__file__)


def check(root: Path, count: int) -> None:
    """Everything is there, once, in tars of their final names."""
    rows = all_rows(root)
    assert sorted(row["ytid"] for row in rows) == [f"{n:011d}" for n in range(count)]
    for row in rows:
        check_row(root, row)
        assert read_clip(root, row) == tar_writer.content(int(row["ytid"]))
    assert tars_of(root, "*.open") == []
    assert samples_in(tars_of(root)) == Counter(f"{n:011d}_10000_20000" for n in range(count))


def test_kills_between_any_two_instructions(tmp_path: Path) -> None:
    rng = random.Random(3)
    count, kills = 600, 0
    for _ in range(40):
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(tmp_path), str(count)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for row in all_rows(tmp_path)[-3:]:
            check_row(tmp_path, row)
        kills += 1
        if len(all_rows(tmp_path)) == count:
            break
    assert kills > 15
    tar_writer.write(tmp_path, count)
    check(tmp_path, count)


def test_what_is_not_recorded_is_cut_off(tmp_path: Path) -> None:
    tar_writer.write(tmp_path, 3)
    (tar,) = tars_of(tmp_path)
    tar.rename(f"{tar}.open")
    data = DataDir(tmp_path)
    known = replay(data.manifest(tar_writer.SHARD))
    whole = Path(f"{tar}.open").stat().st_size
    with Path(f"{tar}.open").open("ab") as file:
        file.write(encode_sample([("x.flac", b"never recorded"), ("x.json", b"{}")])[:-300])
    left, lost = resume(data, tar_writer.SHARD, known, tmp_path, fence=False)
    assert left is not None and left.size == whole - 1024, "the end of the archive is gone too"
    assert lost == []
    left.close()
    assert next_number(data, tar_writer.SHARD) == 1
    tar_writer.write(tmp_path, 5)
    check(tmp_path, 5)


def test_an_open_tar_without_records_vanishes(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.tar_dir("eval_segments").mkdir(parents=True)
    OpenTar(data.tar_dir("eval_segments") / "01-00000.tar").append(encode_sample([("x.flac", b"x"), ("x.json", b"{}")]))
    assert len(open_tars(data, tar_writer.SHARD)) == 1
    left, lost = resume(data, tar_writer.SHARD, {}, tmp_path, fence=False)
    assert left is not None and (left.size, lost) == (0, [])
    left.publish()
    assert tars_of(tmp_path, "*") == []


def test_late_bytes_of_a_predecessor_harm_nobody(tmp_path: Path) -> None:
    """One that was stopped in the middle of a sample, and one that was not told that it is dead."""
    tar_writer.write(tmp_path, 2)
    (tar,) = tars_of(tmp_path)
    tar.rename(f"{tar}.open")
    data = DataDir(tmp_path)
    known = replay(data.manifest(tar_writer.SHARD))
    sleeper, _ = resume(data, tar_writer.SHARD, known, tmp_path, fence=False)
    heir, _ = resume(data, tar_writer.SHARD, known, tmp_path, fence=True)
    assert sleeper is not None and heir is not None
    good = heir.size
    assert heir.append(encode_sample([("b.flac", b"heir"), ("b.json", b"{}")])) == good
    sleeper.append(encode_sample([("c.flac", b"sleeper"), ("c.json", b"{}")]))
    heir.append(encode_sample([("d.flac", b"heir"), ("d.json", b"{}")]))
    heir.publish()
    sleeper.append(encode_sample([("e.flac", b"sleeper"), ("e.json", b"{}")]))
    sleeper.close()
    assert list(samples_in([tar])) == [f"{0:011d}_10000_20000", f"{1:011d}_10000_20000", "b", "d"]


def test_a_sample_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    tar = OpenTar(tmp_path / "01-00000.tar")
    first = encode_sample([("a.flac", bytes(20_000)), ("a.json", b"{}")])
    tar.append(first)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.raises(StorageUnusable, match="File too large"):
            tar.append(encode_sample([("b.flac", bytes(20_000)), ("b.json", b"{}")]))
        assert (tmp_path / "01-00000.tar.open").stat().st_size == len(first) == tar.size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    tar.append(encode_sample([("c.flac", b"c"), ("c.json", b"{}")]))
    tar.publish()
    assert list(samples_in([tmp_path / "01-00000.tar"])) == ["a", "c"]


def test_a_row_that_points_at_another_clip_is_refused(tmp_path: Path) -> None:
    tar_writer.write(tmp_path, 2)
    first, second = all_rows(tmp_path)
    with pytest.raises(InputRefused, match="found none"):
        read_clip(tmp_path, {**first, "offset": second["offset"]})
    with pytest.raises(InputRefused, match="found none"):
        read_clip(tmp_path, {**first, "offset": 512})
    with pytest.raises(InputRefused, match="found none"):
        read_clip(tmp_path, first, "video")
    with pytest.raises(InputRefused, match="without an offset"):
        read_clip(tmp_path, {**first, "offset": None})
    with pytest.raises(InputRefused, match="No such file"):
        read_clip(tmp_path, {**first, "tar": "data/eval_segments/tar/09-00000.tar"})
    with pytest.raises(FileNotFoundError):
        open_tar(tmp_path / "nothing.tar")


def left_open(root: Path) -> Path:
    """Three samples in a tar that is still open, by a writer that is no more."""
    tar_writer.write(root, 3)
    (tar,) = tars_of(root)
    tar.rename(f"{tar}.open")
    return tar


def test_a_split_that_is_killed_leaves_open_tars_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed or not, the next split or worker goes on from there."""
    data = DataDir(tmp_path)
    segments = [tar_writer.segment(number) for number in range(6)]
    lines = [f'{s.ytid}, {s.start_ms / 1000}, {s.end_ms / 1000}, "{",".join(s.labels)}"\n' for s in segments]
    data.segments_csv("eval_segments").write_text("".join(lines))
    table = read_segments_csv(data.segments_csv("eval_segments"), "eval_segments").table
    split(data, [table], 1)
    left_open(tmp_path)
    for instant in ("append", "publish", "stage", "commit"):
        with monkeypatch.context() as patched:

            def killed(*_: object, **__: object) -> None:
                raise KeyboardInterrupt

            if instant in ("stage", "commit"):
                patched.setattr(swap.Swap, instant, killed)
            else:
                patched.setattr(OpenTar, "_write" if instant == "append" else "publish", killed)
            with pytest.raises(KeyboardInterrupt):
                split(data, [table], 2)
        for row in all_rows(tmp_path):
            check_row(tmp_path, row)
        assert bool(tars_of(tmp_path, "*.open")) == (instant in ("append", "publish"))
    split(data, [table], 2)
    assert [len(list(read_rows(data.manifest(shard)))) for shard in data.shards("eval_segments")] == [3, 0]
    tar_writer.write(tmp_path, 6)
    check(tmp_path, 6)


@pytest.mark.parametrize("alive", [True, False])
def test_retry_passes_on_that_somebody_may_still_write(tmp_path: Path, alive: bool) -> None:
    """Its own lease is released in order: the next worker would take it for all clear."""
    tar = left_open(tmp_path)
    data = DataDir(tmp_path)
    segments = [tar_writer.segment(number) for number in range(3)]
    lines = [f'{s.ytid}, {s.start_ms / 1000}, {s.end_ms / 1000}, "{",".join(s.labels)}"\n' for s in segments]
    data.shard_csv(tar_writer.SHARD).write_text("".join(lines))
    inode = Path(f"{tar}.open").stat().st_ino
    lease = data.lease(tar_writer.SHARD)
    code = (
        "import sys, time; from pathlib import Path; from audioset_batch.sharedfs.lease import Holder, Lease\n"
        "lease = Lease.acquire(Path(sys.argv[1]), Holder.current(), 0.5); print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(lease)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP if alive else signal.SIGKILL)
    if not alive:
        holder.wait()
    try:
        wait_until(lambda: not is_held(lease), "the end of the lease")
        done = reset(data, Choice(statuses=("ok",), ytids=(segments[1].ytid,)))
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert done.total() == 1
    if alive:
        assert tar.stat().st_ino != inode, "published as a copy"
    else:
        assert Path(f"{tar}.open").stat().st_ino == inode, "the next worker goes on"


def test_a_damaged_sample_is_made_again_whatever_happens_in_between(tmp_path: Path) -> None:
    """The row that says `ok` is taken back before anything is written over the sample."""
    tar_writer.write(tmp_path, 3)
    (tar,) = tars_of(tmp_path)
    tar.rename(f"{tar}.open")
    data = DataDir(tmp_path)
    known = replay(data.manifest(tar_writer.SHARD))
    last = tar_writer.segment(2).key
    os.truncate(f"{tar}.open", (known[last].offset or 0) + 700)
    assert publish_left_open_tars(data, tar_writer.SHARD, fence=False) == [last]
    known = replay(data.manifest(tar_writer.SHARD))
    assert known[last].status == "pending"
    assert [known[tar_writer.segment(number).key].status for number in (0, 1)] == ["ok", "ok"]
    tar_writer.write(tmp_path, 4)
    latest = latest_rows(read_rows(data.manifest(tar_writer.SHARD)))
    for number in range(4):
        assert read_clip(tmp_path, latest[tar_writer.segment(number).key]) == tar_writer.content(number)
