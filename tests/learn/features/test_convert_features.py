"""Conversion: all forms hold what was released, damage is never silent, nothing unfinished is published."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.features import convert as convert_module
from audioset_batch.learn.features.arrays import FeatureSet
from audioset_batch.learn.features.batch import batch_of_features
from audioset_batch.learn.features.convert import convert
from audioset_batch.learn.features.packed import iter_packed
from audioset_batch.learn.features.packed_writers import ParquetWriter
from audioset_batch.learn.features.reading import iter_records, read_split
from audioset_batch.learn.features.tfrecord import DamagedRecord
from tests.support.feature_data import by_id, clips, write_archive, write_tree

FIELDS = ("embeddings", "lengths", "labels", "video_ids", "start", "end")


def assert_same(one: FeatureSet, other: FeatureSet) -> None:
    one, other = by_id(one), by_id(other)
    for name in FIELDS:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


@pytest.fixture(scope="module")
def splits() -> dict[str, FeatureSet]:
    return {"eval": clips(80, 1), "bal_train": clips(50, 2), "unbal_train": clips(120, 3)}


@pytest.mark.parametrize("form", ["parquet", "npy"])
@pytest.mark.parametrize("source", ["w:gz", "w:", "folder"])
def test_every_source_and_form_holds_what_was_released(
    tmp_path: Path, splits: dict[str, FeatureSet], form: str, source: str
) -> None:
    path = write_tree(tmp_path, splits) if source == "folder" else write_archive(tmp_path / "f.tar", splits, source)
    done = convert(path, tmp_path / "out", form=form)
    assert done.rows == {"eval": 80, "bal_train": 50, "unbal_train": 120}
    for split, features in splits.items():
        assert_same(read_split(tmp_path / "out", split), features)
        assert_same(read_split(path, split), features)
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]
    assert len(list(iter_records(path))) == 250


def test_mmap_leaves_the_embeddings_on_disk(tmp_path: Path, splits: dict[str, FeatureSet]) -> None:
    convert(write_tree(tmp_path, splits), tmp_path / "out", form="npy", splits=("eval",))
    features = read_split(tmp_path / "out", "eval", mmap=True)
    assert isinstance(features.embeddings, np.memmap)
    assert_same(features, splits["eval"])


def test_batches_larger_than_the_packing_and_slices_of_them_are_read(tmp_path: Path) -> None:
    features = clips(5000, 4)
    path = tmp_path / "own.parquet"
    with ParquetWriter(path, compression="zstd") as writer:
        writer.write(batch_of_features(features))
        writer.commit()
    assert [len(batch) for batch in iter_packed(path)] == [4096, 904]
    assert_same(read_split(path), features)


def test_what_is_there_is_kept_unless_asked(tmp_path: Path, splits: dict[str, FeatureSet]) -> None:
    tree = write_tree(tmp_path, splits)
    convert(tree, tmp_path / "out", splits=("eval",))
    before = (tmp_path / "out/eval.parquet").stat().st_mtime_ns
    done = convert(tree, tmp_path / "out", splits=("eval", "bal_train"))
    assert (done.kept, done.rows) == (("eval",), {"bal_train": 50})
    assert (tmp_path / "out/eval.parquet").stat().st_mtime_ns == before
    assert convert(tree, tmp_path / "out", splits=("eval",), overwrite=True).rows == {"eval": 80}
    for _ in range(2):
        convert(tree, tmp_path / "out", form="npy", splits=("eval",), overwrite=True)
    assert_same(read_split(tmp_path / "out/eval"), splits["eval"])


def test_damage_names_file_and_offset_and_publishes_nothing(tmp_path: Path, splits: dict[str, FeatureSet]) -> None:
    tree = write_tree(tmp_path, splits)
    shard = max((tree / "eval").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[400] ^= 4
    shard.write_bytes(data)
    with pytest.raises(DamagedRecord) as caught:
        convert(tree, tmp_path / "out")
    assert f"{shard}: byte 0: wrong payload checksum" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []
    seen = []
    done = convert(tree, tmp_path / "out", skip_bad=True, report=seen.append)
    assert done.rows["eval"] == 79
    assert [(d.source, d.offset) for d in done.damaged] == [(str(shard), 0)] == [(d.source, d.offset) for d in seen]


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.9999])
def test_a_cut_off_archive_is_damage(tmp_path: Path, splits: dict[str, FeatureSet], keep: float) -> None:
    path = write_archive(tmp_path / "f.tar.gz", splits)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DamagedRecord, match=r"f\.tar\.gz: byte .*(cut off|ends after)"):
        convert(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    done = convert(path, tmp_path / "out", skip_bad=True)
    assert done.damaged and 0 < sum(done.rows.values()) <= 250


def test_a_wrong_checksum_of_the_archive_itself_is_damage(tmp_path: Path, splits: dict[str, FeatureSet]) -> None:
    path = write_archive(tmp_path / "f.tar.gz", splits)
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedRecord, match=r"f\.tar\.gz"):
        convert(path, tmp_path / "out")


def test_sources_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        convert(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputRefused, match="found none"):
        convert(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty/features.tar.gz").touch()
    with pytest.raises(InputRefused, match=r"must be named itself, here .*features\.tar\.gz"):
        convert(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UsageError, match="parquet, npy"):
        convert(tmp_path / "empty", tmp_path / "out", form="csv")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputRefused, match=r"x\.parquet"):
        read_split(tmp_path / "x.parquet")


KILLED = """
import sys, os, signal
from pathlib import Path
from audioset_batch.learn.features import packed_writers as w
from audioset_batch.learn.features.convert import convert
def die(path): os.kill(os.getpid(), signal.SIGKILL)
w._sync = die
convert(Path(sys.argv[1]), Path(sys.argv[2]), form=sys.argv[3], splits=("eval",))
"""


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_a_killed_conversion_publishes_nothing_and_is_cleared_away(
    tmp_path: Path, splits: dict[str, FeatureSet], form: str
) -> None:
    tree = write_tree(tmp_path, splits)
    result = subprocess.run([sys.executable, "-c", KILLED, tree, tmp_path / "out", form], check=False)
    assert result.returncode == -signal.SIGKILL
    left = list((tmp_path / "out").iterdir())
    assert len(left) == 1 and left[0].name.startswith(".eval")
    convert(tree, tmp_path / "out", form=form, splits=("eval",))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [convert_module.target_of(Path(), "eval", form).name]


def test_an_npy_folder_that_lost_an_array_is_refused(tmp_path: Path, splits: dict[str, FeatureSet]) -> None:
    convert(write_tree(tmp_path, splits), tmp_path / "out", form="npy", splits=("eval",))
    meta = tmp_path / "out/eval/meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"rows": 81}))
    with pytest.raises(InputRefused, match="81 rows"):
        read_split(tmp_path / "out/eval")
    (tmp_path / "out/eval/start.npy").unlink()
    with pytest.raises(InputRefused, match="start"):
        read_split(tmp_path / "out/eval")
