"""Several tasks on one output: leases, and Parquet shards that readers join."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from audioset_batch.errors import InputRefused, ShardHeld, UsageError
from audioset_batch.learn.features.info import count_features
from audioset_batch.learn.features.packed_files import packed_at, packed_files, packed_splits
from audioset_batch.learn.features.reading import iter_records, read_split
from audioset_batch.learn.features.sequence import Record
from audioset_batch.learn.training.examples import EmbeddingExamples
from audioset_batch.learn.training.options import ModelOptions
from audioset_batch.learn.training.sources import expand_pattern, number_of_classes, read_features
from audioset_batch.learn.vggish.inputs import ShardOf
from audioset_batch.learn.vggish.store import Format, ShardStore, hold_shard

PROVENANCE = {"weights_sha256": "0", "random_weights_seed": 1}


def record(number: int, rows: int = 10) -> Record:
    value = np.full((rows, 128), number, np.uint8)
    return Record(f"{number:011d}", float(number), number + 10.0, (number % 3,), value)


def write_shards(out: Path, shards: dict[int, list[Record]], count: int, split: str = "eval") -> None:
    for number, records in shards.items():
        store = ShardStore(out, ShardOf(number, count), "parquet", PROVENANCE)
        store.write_part(split, records)
        store.finish([split], {})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three shards of eval, the second without a clip, the third with a clip of 12 rows; one of bal_train."""
    folder = tmp_path / "embeddings"
    write_shards(folder, {1: [record(1), record(2, 4)], 2: [], 3: [record(3, 12)]}, 3)
    return folder


def test_shards_are_joined_in_order(out: Path) -> None:
    assert [path.name for path in packed_files(out, "eval")] == [
        "eval.0001-of-0003.parquet",
        "eval.0003-of-0003.parquet",
    ]
    for features in (read_split(out, "eval"), read_split(out / "eval"), read_split(out)):
        assert features.video_ids.tolist() == [f"{number:011d}" for number in (1, 2, 3)]
        assert features.embeddings.shape == (3, 12, 128) and features.lengths.tolist() == [10, 4, 12]
        assert features.embeddings.sum(axis=(1, 2)).tolist() == [1280, 2 * 4 * 128, 3 * 12 * 128]
        assert features.labels[:, :3].argmax(axis=1).tolist() == [1, 2, 0]
    assert [one.video_id[-1] for one in iter_records(out)] == ["1", "2", "3"]
    assert count_features(out, frames=12)["eval"].records == 3
    assert packed_splits(out).keys() == {"eval"}


def test_training_takes_a_folder_a_split_of_it_or_files(out: Path) -> None:
    both = [out / "eval.0001-of-0003.parquet", out / "eval.0003-of-0003.parquet"]
    for pattern in (f"{out}/eval", str(out), f"{out}/eval.*.parquet", ",".join(map(str, both))):
        assert expand_pattern(pattern) == both, pattern
    assert number_of_classes(f"{out}/eval") == 527
    examples = EmbeddingExamples(read_features(f"{out}/eval", 527), ModelOptions(max_frames=12))
    inputs = examples.inputs(np.array([2, 0]))
    assert inputs["frames"].shape == (2, 12, 128) and inputs["num_frames"].tolist() == [12, 10]
    assert not inputs["frames"][1, 10:].any() and inputs["frames"][0].all()
    with pytest.raises(InputRefused, match=r"up to 10 rows .* got 12"):
        EmbeddingExamples(read_features(f"{out}/eval", 527), ModelOptions())
    with pytest.raises(UsageError, match="no such file"):
        expand_pattern(f"{out}/bal_train")


def test_missing_shards_are_named(out: Path) -> None:
    (out / "eval.0003-of-0003.parquet").unlink()
    (out / "embed.0003-of-0003.json").unlink()
    for read in (lambda: read_split(out, "eval"), lambda: expand_pattern(f"{out}/eval"), lambda: packed_at(out)):
        with pytest.raises(InputRefused, match=r"3 shards, and 1 are missing \(3\)"):
            read()
    (out / "eval.0001-of-0002.parquet").write_bytes((out / "eval.0001-of-0003.parquet").read_bytes())
    with pytest.raises(InputRefused, match="in 2 and in 3 shards"):
        packed_files(out, "eval")


def test_other_parquet_files_are_passed_over(out: Path) -> None:
    import pandas as pd

    pd.DataFrame({"a": [1]}).to_parquet(out / "manifest.parquet")
    (out / "torn.parquet").write_bytes(b"PAR1")
    assert len(read_split(out)) == 3
    with pytest.raises(InputRefused, match="cannot be read as packed features"):
        number_of_classes(str(out / "torn.parquet"))


def test_one_task_at_a_time_writes_a_shard(tmp_path: Path) -> None:
    with hold_shard(tmp_path, ShardOf(1, 2)):
        with pytest.raises(ShardHeld, match=r"embed.0001-of-0002 is being worked on by .*process"):
            hold_shard(tmp_path, ShardOf(1, 2))
        with hold_shard(tmp_path, ShardOf(2, 2)):
            pass
    hold_shard(tmp_path, ShardOf(1, 2)).release()


@pytest.mark.parametrize("kind", ["tfrecord", "parquet"])
def test_a_kill_before_the_parts_are_cleared_doubles_no_clip(
    tmp_path: Path, kind: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [replace(record(number), start=0.1, end=number + 0.213) for number in range(4)]
    store = ShardStore(tmp_path, ShardOf(), kind, PROVENANCE)
    store.write_part("eval", clips)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", Mock(side_effect=KeyboardInterrupt))
        store.finish(["eval"], {})
    again = ShardStore(tmp_path, ShardOf(), kind, PROVENANCE)
    (written,) = again.finish(["eval"], {})
    assert [one.video_id for one in iter_records(written)] == [clip.video_id for clip in clips]


def test_who_lost_the_lease_publishes_nothing(tmp_path: Path) -> None:
    held = True

    def check() -> None:
        if not held:
            raise ShardHeld("lost")

    store = ShardStore(tmp_path, ShardOf(), "parquet", PROVENANCE, check=check)
    store.write_part("eval", [record(1)])
    held = False
    with pytest.raises(ShardHeld):
        store.write_part("eval", [record(2)])
    with pytest.raises(ShardHeld):
        store.finish(["eval"], {})
    assert not list(tmp_path.glob("*.parquet")) and not list(tmp_path.glob("embed.*"))
    with pytest.raises(ShardHeld):
        ShardStore(tmp_path, ShardOf(), "parquet", PROVENANCE, overwrite=True, check=check)
    held = True
    assert [path.name for path in store.finish(["eval"], {})] == ["eval.parquet"]
    assert len(read_split(tmp_path, "eval")) == 1
    assert json.loads((tmp_path / "embed.0001-of-0001.json").read_text())["weights_sha256"] == "0"
