"""`load_manifest`: the same table with and without merge, and selections of it."""

import os
import warnings
from pathlib import Path

import pandas as pd
import pytest

from audioset_batch import load_classes, load_manifest
from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.merge import merge
from audioset_batch.model import COLUMNS


def ytids(table: pd.DataFrame) -> list[str]:
    return table["ytid"].tolist()


def test_the_clips_of_the_merged_table(merged: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = load_manifest(merged)
    assert ytids(table) == ["dog48stereo", "-man16mono1", "dogandcat16", "dogagain016"]
    assert list(table.columns) == list(COLUMNS)
    pd.testing.assert_frame_equal(table, load_manifest(str(merged / "manifest.parquet")))


def test_without_merge_the_shards_say_the_same(unmerged: Path) -> None:
    with pytest.warns(UserWarning, match=r"manifest\.parquet does not exist yet.*audioset-batch merge") as caught:
        before = load_manifest(unmerged, status=None)
    assert caught[0].filename == __file__, "the warning points at the caller"
    merge(unmerged)
    pd.testing.assert_frame_equal(before, load_manifest(unmerged, status=None))


def test_rows_outside_the_plan_are_there_in_both(unmerged: Path) -> None:
    data = DataDir(unmerged)
    data.manifest(ShardId("eval_segments", 1)).rename(data.manifest(ShardId("eval_segments", 7)))
    with pytest.warns(UserWarning):
        before = load_manifest(unmerged)
    merge(unmerged)
    after = load_manifest(unmerged)
    assert sorted(ytids(before)) == sorted(ytids(after))
    assert "dog48stereo" in ytids(after)


def test_a_table_older_than_a_manifest_is_told(merged: Path) -> None:
    later = (merged / "manifest.parquet").stat().st_mtime + 5
    os.utime(DataDir(merged).manifest(ShardId("eval_segments", 1)), (later, later))
    with pytest.warns(UserWarning, match="is older than eval_segments.01.jsonl"):
        load_manifest(merged)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"subset": "balanced_train"}, ["dogandcat16", "dogagain016"]),
        ({"subset": ["eval_segments", "bal"]}, ["dog48stereo", "-man16mono1", "dogandcat16", "dogagain016"]),
        ({"status": "unavailable"}, ["gone_video0"]),
        ({"status": ["unavailable", "pending"]}, ["gone_video0", "not_tried_0"]),
        ({"status": None, "labels": "cat"}, ["gone_video0", "not_tried_0", "dogandcat16"]),
        ({"labels": "Male speech, man speaking"}, ["-man16mono1"]),
        ({"labels": ["Male speech, man speaking", "/m/01yrx"]}, ["-man16mono1", "dogandcat16"]),
        ({"subset": "unbalanced"}, []),
    ],
)
def test_selections(merged: Path, arguments: dict[str, object], expected: list[str]) -> None:
    assert ytids(load_manifest(merged, **arguments)) == expected  # type: ignore[arg-type]
    (merged / "manifest.parquet").unlink()
    with pytest.warns(UserWarning):
        assert ytids(load_manifest(merged, **arguments)) == expected  # type: ignore[arg-type]


def test_only_some_columns(merged: Path) -> None:
    table = load_manifest(merged, status=None, labels="Dog", columns=["ytid", "reason"])
    assert table.to_dict("records")[1] == {"ytid": "gone_video0", "reason": "removed"}


def test_label_names_for_a_table(merged: Path) -> None:
    classes = load_classes(merged)
    names = load_manifest(merged)["labels"].map(classes.names_of).tolist()
    assert names == [["Dog"], ["Speech", "Male speech, man speaking"], ["Dog", "Cat"], ["Dog"]]
    assert classes.multi_hot("/m/0bt9lr,/m/01yrx").tolist() == [0, 0, 1, 1]
    assert classes.names_of("") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"status": "okay"}, "status 'okay': choose from ok, unavailable"),
        ({"subset": "evaluation"}, "subset 'evaluation': choose from eval_segments"),
        ({"subset": ""}, "subset '': choose"),
        ({"labels": "Dgo"}, "did you mean Dog"),
        ({"columns": ["ytid", "path"]}, "column 'path' does not exist; there are subset, shard"),
    ],
)
def test_wrong_arguments_name_the_choices(merged: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_manifest(merged, **arguments)  # type: ignore[arg-type]


def test_no_such_data(tmp_path: Path, merged: Path) -> None:
    with pytest.raises(UsageError, match="does not exist: expected a data directory"):
        load_manifest(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"with manifest\.parquet or shards .* found neither"):
        load_manifest(tmp_path / "empty")
    (merged / "manifest.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(InputRefused, match="cannot be read as Parquet"):
        load_manifest(merged)
    pd.DataFrame({"ytid": ["a"]}).to_parquet(merged / "manifest.parquet")
    with pytest.raises(InputRefused, match="columns missing: subset"):
        load_manifest(merged)
    (merged / "class_labels_indices.csv").unlink()
    with pytest.raises(UsageError, match=r"class_labels_indices\.csv does not exist"):
        load_manifest(merged, labels="Dog")
