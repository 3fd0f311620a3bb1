"""The open tar itself: killed at any instant, cut off, full disks, rivals."""

import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import tar_writer
from tarchecks import all_rows, check_row, samples_in, tars_of

from audioset_batch.errors import InputRefused, StorageUnusable
from audioset_batch.layout import DataDir
from audioset_batch.record.clipbytes import open_tar, read_clip
from audioset_batch.record.manifest import replay
from audioset_batch.record.tars import OpenTar, encode_sample, next_number, open_tars, resume

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
