"""Tars as the programs of others read them, unchanged: webdataset, datasets, tar."""

import hashlib
import io
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile

from audioset_batch.record.clip_files import read_clip, row_stem
from tests.support.loopback import Project
from tests.support.tar_checks import all_rows, ok_rows, tars_of


def by_stem(project: Project) -> dict[str, dict[str, Any]]:
    return {row_stem(row): row for row in ok_rows(all_rows(project.data))}


def test_webdataset_reads_and_decodes(finished: Project) -> None:
    import webdataset

    urls = [str(path) for path in tars_of(finished.data)]
    assert len(urls) > 2
    rows = by_stem(finished)
    seen = set()
    for sample in webdataset.WebDataset(urls, shardshuffle=False).decode():
        row = rows[sample["__key__"]]
        seen.add(sample["__key__"])
        assert set(sample) >= {"flac", "mp4", "json"}
        assert hashlib.sha256(sample["flac"]).hexdigest() == row["audio_sha256"] == sample["json"]["audio_sha256"]
        assert soundfile.info(io.BytesIO(sample["flac"])).frames == sample["json"]["frames"] == row["frames"]
        assert len(sample["mp4"]) == row["video_bytes"]
        assert sample["json"]["labels"] == row["labels"].split(",")
        assert all(name.startswith("Sound ") for name in sample["json"]["label_names"])
    assert seen == set(rows)
    assert any(key.startswith("-") for key in seen)


def test_datasets_of_hugging_face_reads(finished: Project, tmp_path: Path) -> None:
    import datasets

    pytest.importorskip("torchcodec", reason="NOT TESTED HERE: needs `pip install 'datasets[audio]'`, with torch 2 GB")
    urls = [str(path) for path in tars_of(finished.data)]
    table = datasets.load_dataset("webdataset", data_files={"train": urls}, split="train", cache_dir=str(tmp_path))
    rows = by_stem(finished)
    assert set(table["__key__"]) == set(rows)
    table = table.cast_column("flac", datasets.Audio(decode=False))
    for record in table:
        assert hashlib.sha256(record["flac"]["bytes"]).hexdigest() == rows[record["__key__"]]["audio_sha256"]
        assert record["json"]["ytid"] == rows[record["__key__"]]["ytid"]


def test_tar_takes_them_apart(finished: Project, tmp_path: Path) -> None:
    for path in tars_of(finished.data):
        done = subprocess.run(["tar", "-xf", path, "-C", tmp_path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    for stem, row in by_stem(finished).items():
        assert hashlib.sha256((tmp_path / f"{stem}.flac").read_bytes()).hexdigest() == row["audio_sha256"]


def test_the_bytes_of_a_row_from_the_merged_table(finished: Project) -> None:
    """As others read it: pandas makes NaN of null, floats of integers with nulls."""
    table = pd.read_parquet(finished.data / "manifest.parquet")
    assert table.offset.dtype == "float64"
    for _, row in table[table.status == "ok"].iterrows():
        assert hashlib.sha256(read_clip(finished.data, row)).hexdigest() == row.audio_sha256
        assert len(read_clip(finished.data, row, "video")) == row.video_bytes
