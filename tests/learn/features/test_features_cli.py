"""The commands as a user types them: texts, exit status, JSON."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import audioset_batch.cli as cli
from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.arrays import FeatureSet, dequantize
from audioset_batch.learn.features.batch import batch_of_features, batch_of_records
from audioset_batch.learn.features.compare import compare_features
from audioset_batch.learn.features.csvs import SegmentId, read_label_table, read_labelled_segments
from audioset_batch.learn.features.packed_writers import ParquetWriter
from audioset_batch.learn.features.reading import read_split
from audioset_batch.learn.features.sequence import Record, serialize_record
from audioset_batch.learn.features.tfrecord import RecordWriter
from tests.support.feature_data import clips, write_archive, write_tree


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(cli, "COMMAND_MODULES", ("features_cmd",))

    def call(*words: object) -> tuple[int, str, str]:
        status = cli.main(["features", *map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return clips(80, 1)


def write_csvs(folder: Path, features: FeatureSet, name: str = "eval_segments.csv") -> Path:
    folder.mkdir(exist_ok=True)
    mids = [f"/m/{index:05d}" for index in range(527)]
    with (folder / "class_labels_indices.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("index", "mid", "display_name"))
        writer.writerows((index, mid, f"Sound, number {index}") for index, mid in enumerate(mids))
    lines = ["# Segments csv created Sun Mar  5 10:54:25 2017", "# num_ytids=1", "# YTID, start_seconds, ..."]
    for row in range(len(features)):
        labels = ",".join(mids[k] for k in np.flatnonzero(features.labels[row]))
        lines.append(f'{features.video_ids[row]}, {features.start[row]:.3f}, {features.end[row]:.3f}, "{labels}"')
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def test_convert_says_what_was_written_and_keeps_it(run, tmp_path: Path, features: FeatureSet) -> None:
    archive = write_archive(tmp_path / "features.tar.gz", {"eval": features})
    status, out, err = run("convert", archive, tmp_path / "out", "--splits", "eval")
    assert status == 0 and "eval.parquet: 80 segments from 38 shards" in out
    assert "the released set has 4,062" in err
    status, out, _ = run("convert", archive, tmp_path / "out", "--splits", "eval")
    assert status == 0 and "already there, kept" in out


def test_damage_is_exit_1_and_skipped_only_on_demand(run, tmp_path: Path, features: FeatureSet) -> None:
    tree = write_tree(tmp_path, {"eval": features})
    shard = sorted((tree / "eval").iterdir())[0]
    data = bytearray(shard.read_bytes())
    data[3] ^= 1
    shard.write_bytes(data)
    status, _, err = run("convert", tree, tmp_path / "out")
    assert status == 1 and f"{shard}: byte 0: wrong length checksum" in err and "--skip-bad" in err
    status, out, err = run("convert", tree, tmp_path / "out", "--skip-bad")
    assert status == 0 and "79 segments" in out and "skipped: " in err and "1 damaged places skipped" in err
    assert run("read", tree)[0] == 1
    assert run("read", tree, "--skip-bad")[1].count("\n") == 79


def test_usage_errors_are_exit_2(run, tmp_path: Path) -> None:
    for words in (("convert", "a"), ("convert", "a", "b", "--splits", "test"), ("nothing",), ()):
        with pytest.raises(SystemExit) as caught:
            run(*words)
        assert caught.value.code == 2


def test_read_prints_records(run, tmp_path: Path, features: FeatureSet) -> None:
    tree = write_tree(tmp_path, {"eval": features})
    wanted = str(features.video_ids[7])
    status, out, _ = run("read", tree, f"--id={wanted}", "--embedding", "float")
    (row,) = map(json.loads, out.splitlines())
    assert status == 0
    assert row["labels"] == np.flatnonzero(features.labels[7]).tolist()
    assert (row["start_seconds"], row["rows"]) == (features.start[7], features.lengths[7])
    expected = dequantize(features.embeddings[7, : features.lengths[7]])
    assert np.allclose(row["audio_embedding"], expected, atol=1e-6)
    assert run("read", tree, "--limit", 3)[1].count("\n") == 3
    run("convert", tree, tmp_path / "out")
    one = run("read", tmp_path / "out/eval.parquet", f"--id={wanted}")[1]
    assert one == run("read", tree, f"--id={wanted}")[1] != ""


def test_info_finds_what_is_missing_extra_and_labelled_otherwise(run, tmp_path: Path, features: FeatureSet) -> None:
    released = features.select(slice(0, 75))
    planned = features.select(slice(5, 80))
    labels = planned.labels.copy()
    labels[0] = False
    labels[0, 526] = True
    planned = FeatureSet(planned.embeddings, planned.lengths, labels, planned.video_ids, planned.start, planned.end)
    data_dir = write_csvs(tmp_path / "data", planned)
    with (data_dir / "eval_segments.csv").open("a") as stream:
        stream.write("cut off, 10.0")
    tree = write_tree(tmp_path, {"eval": released})
    run("convert", tree, tmp_path / "out")
    for source in (tree, tmp_path / "out", tmp_path / "out/eval.parquet"):
        status, out, _ = run("info", source, "--data-dir", data_dir, "--json", "--list", tmp_path / "lists")
        entry = json.loads(out)["eval"]
        assert status == 0
        assert entry["records"] == 75
        assert entry["csv"] == {
            "path": str(data_dir / "eval_segments.csv"),
            "segments": 75,
            "unreadable_lines": 1,
            "missing": 5,
            "extra": 5,
            "different_labels": 1,
        }
        assert [row["records"] for row in entry["labels"]] == released.labels.sum(axis=0).tolist()
        assert [row["csv"] for row in entry["labels"]] == planned.labels.sum(axis=0).tolist()
        assert entry["labels"][3]["name"] == "Sound, number 3"
    with (tmp_path / "lists/eval.missing.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["YTID"] for row in rows) == sorted(features.video_ids[75:])
    _, out, _ = run("info", tree, "--data-dir", data_dir, "--top", 1)
    assert "missing here 5, extra here 5, other labels 1" in out
    assert run("info", tree)[1].startswith("eval: 75 segments")


def test_csvs_of_mirrors_are_read(tmp_path: Path, features: FeatureSet) -> None:
    data_dir = write_csvs(tmp_path, features)
    table = read_label_table(data_dir / "class_labels_indices.csv")
    path = tmp_path / "eval_segments.csv"
    straight = read_labelled_segments(data_dir, "eval", table)
    text = path.read_text()
    path.write_bytes(("\ufeff" + text.split("\n", 2)[2].replace(", ", ",").replace("\n", ",,\r\n")).encode())
    assert read_labelled_segments(data_dir, "eval", table) == straight
    path.write_text('# YTID, start\n#NAME?, 1.0, 2.0, "/m/00001"\n-----------, 1.5, 2.0, /m/00001, /m/nope\n')
    read = read_labelled_segments(data_dir, "eval", table)
    assert read is not None and read.labels == {SegmentId("-----------", 1500): (1,)} and read.unreadable == 1
    assert read_labelled_segments(data_dir, "bal_train", table) is None
    labels = tmp_path / "class_labels_indices.csv"
    head, rows = labels.read_text().split("\n", 1)
    for content in (rows, f"index ,mid , display_name\n{rows}", f"\ufeff{head}\n{rows}\n\n"):
        labels.write_text(content, encoding="utf-8")
        assert read_label_table(labels) == table
    for content, text in (
        ("a,b\n1,2\n", "index,mid,display_name"),
        (f"{head}\n{rows}".replace("\n0,", "\n7,"), "0, 1, 2"),
        (rows.replace("/m/00003", "/m/00002"), "/m/00002 twice"),
        (rows.replace("526,", "9" * 5000 + ","), "line 527"),
        (rows.replace("526,", "²,"), "line 527"),
        (rows.replace("number 526", "x" * 200_000), "field larger than"),
    ):
        labels.write_text(content)
        with pytest.raises(InputRefused, match=text):
            read_label_table(labels)


def write_own(path: Path, features: FeatureSet) -> Path:
    with ParquetWriter(path) as writer:
        writer.write(batch_of_features(features))
        writer.commit()
    return path


def test_compare_measures_the_difference(run, tmp_path: Path, features: FeatureSet) -> None:
    tree = write_tree(tmp_path, {"eval": features, "bal_train": clips(10, 9)})
    other = features.embeddings.copy()
    other[3] = np.where(other[3] < 250, other[3] + 5, other[3] - 5)
    other[4] = 255 - other[4]
    lengths = features.lengths.copy()
    lengths[4] = 10
    lengths[5] = min(int(lengths[5]), 4)
    own = FeatureSet(other, lengths, features.labels, features.video_ids, features.start, features.end)
    path = write_own(tmp_path / "own.parquet", own.select(slice(0, 70)))
    status, out, _ = run("compare", path, tree, "--json", "--worst", 2)
    document = json.loads(out)
    assert status == 0
    assert (document["segments"], document["only_own"], document["released_seen"]) == (70, 0, 90)
    assert document["worst"][0]["video_id"] == features.video_ids[4]
    assert document["worst"][0]["cosine"] < -0.9
    agreement = compare_features(path, tree, classes=527)
    row = [key.video_id for key in agreement.segments].index(features.video_ids[3])
    assert agreement.difference[row] == pytest.approx(5)
    assert agreement.within_one[row] == 0
    same = [n for n, key in enumerate(agreement.segments) if key.video_id not in features.video_ids[3:5]]
    assert np.allclose(agreement.cosine[same], 1) and not agreement.difference[same].any()
    assert "worst segments:" in run("compare", path, tree, "--split", "eval")[1]
    status, _, err = run("compare", path, tree, "--split", "bal_train")
    assert status == 1 and "no segment in common" in err


def test_compare_streams_packed_folders_too(run, tmp_path: Path, features: FeatureSet) -> None:
    tree = write_tree(tmp_path, {"eval": features})
    run("convert", tree, tmp_path / "out", "--format", "npy")
    own = write_own(tmp_path / "own.parquet", features.select(slice(0, 20)))
    document = json.loads(run("compare", own, tmp_path / "out", "--json")[1])
    assert (document["segments"], document["cosine"]["p0"]) == (20, 1.0)


def test_a_missing_crc32c_is_explained(run, tmp_path: Path, features: FeatureSet, monkeypatch) -> None:
    tree = write_tree(tmp_path, {"eval": features})
    monkeypatch.setitem(sys.modules, "crc32c", None)
    status, _, err = run("convert", tree, tmp_path / "out")
    assert status == 2 and "pip install 'audioset-batch[learn]'" in err


def test_a_full_disk_and_an_unreadable_file_are_no_traceback(run, tmp_path: Path, features: FeatureSet) -> None:
    tree = write_tree(tmp_path, {"eval": features})
    (tmp_path / "lists").write_text("in the way")
    status, _, err = run("info", tree, "--data-dir", write_csvs(tmp_path / "d", features), "--list", tmp_path / "lists")
    assert status == 1 and "lists: expected a folder" in err
    (tree / "eval" / "zz.tfrecord").symlink_to(tmp_path / "gone")
    status, _, err = run("convert", tree, tmp_path / "out")
    assert status == 1 and "zz.tfrecord" in err


def test_no_space_left_is_for_later(run, tmp_path: Path, features: FeatureSet, monkeypatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("audioset_batch.learn.features.packed_writers._sync", full)
    status, _, err = run("convert", write_tree(tmp_path, {"eval": features}), tmp_path / "out")
    assert status == 75 and "No space left" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_info_takes_a_list_of_classes_without_a_header(run, tmp_path: Path, features: FeatureSet) -> None:
    data_dir = write_csvs(tmp_path / "data", features)
    labels = data_dir / "class_labels_indices.csv"
    labels.write_text(labels.read_text().split("\n", 1)[1])
    status, out, _ = run("info", write_tree(tmp_path, {"eval": features}), "--data-dir", data_dir)
    assert status == 0 and "missing here 0, extra here 0, other labels 0" in out


def test_info_takes_the_number_of_labels_from_the_csv(run, tmp_path: Path) -> None:
    (tmp_path / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/a,"A, a"\n1,/m/b,"B"\n')
    (tmp_path / "eval_segments.csv").write_text('# a\n# b\n# c\naaaaaaaaaaa, 0.000, 10.000, "/m/b"\n')
    (tmp_path / "eval").mkdir()
    with (tmp_path / "eval" / "aa.tfrecord").open("wb") as stream:
        embedding = np.zeros((10, 128), np.uint8)
        RecordWriter(stream).write(serialize_record(Record("aaaaaaaaaaa", 0.0, 10.0, (1,), embedding)))
    status, out, _ = run("info", tmp_path, "--data-dir", tmp_path)
    assert status == 0 and "missing here 0, extra here 0, other labels 0" in out
    assert out.splitlines()[2:] == ["     1         1 (1 in the CSV)  B"]


def write_shards(folder: Path, shards: dict[str, list[Record]], *, compress: bool = False) -> Path:
    for name, records in shards.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        writer = RecordWriter(stream)
        for record in records:
            writer.write(serialize_record(record))
        (folder / name).write_bytes(gzip.compress(stream.getvalue()) if compress else stream.getvalue())
    return folder


def framed(one: Record) -> bytes:
    stream = io.BytesIO()
    RecordWriter(stream).write(serialize_record(one))
    return stream.getvalue()


def record(video_id: str, value: int = 0) -> Record:
    return Record(video_id, 0.0, 10.0, (1,), np.full((10, 128), value, np.uint8))


def test_ids_of_any_length_stay_whole_whatever_the_first_batch_holds(run, tmp_path: Path) -> None:
    ids = [f"c{number:05d}" for number in range(4096)] + [f"site_north_recorder_{number:05d}" for number in range(3)]
    source = write_shards(tmp_path / "records", {"eval/aa.tfrecord": [record(name) for name in ids]})
    assert run("convert", source, tmp_path / "out", "--splits", "eval")[0] == 0
    assert [json.loads(line)["video_id"] for line in run("read", tmp_path / "out")[1].splitlines()] == ids
    assert read_split(tmp_path / "out/eval.parquet").video_ids.tolist() == ids
    # Shards of `embed`: the first one has short ids only.
    for number, names in ((1, ids[:2]), (2, ids[-2:])):
        with ParquetWriter(tmp_path / f"audio.{number:04d}-of-0002.parquet") as writer:
            writer.write(batch_of_records([record(name) for name in names], 10))
            writer.commit()
    assert read_split(tmp_path / "audio").video_ids.tolist() == [*ids[:2], *ids[-2:]]


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_what_ends_too_early_gets_no_name_of_a_whole_split(run, tmp_path: Path, form: str) -> None:
    splits = {
        split: [[record(f"{split[:4]}{shard}{number:06d}", number) for number in range(50)] for shard in range(4)]
        for split in ("eval", "bal_train")
    }
    shards = {f"{split}/{n}.tfrecord": part for split, parts in splits.items() for n, part in enumerate(parts)}
    tree = write_shards(tmp_path / "tree", shards)
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut.tar"
    with tarfile.open(whole, "w") as archive:
        for split in splits:
            archive.add(tree / split, f"x/{split}")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 4])
    out, ending = tmp_path / "out", ".parquet" if form == "parquet" else ""
    words = (out, "--format", form, "--splits", "eval,bal_train")
    status, _, err = run("convert", cut, *words, "--skip-bad")
    assert status == 1
    assert "eval is incomplete" in err and "bal_train is incomplete" in err and "nothing of it was readable" in err
    assert [path.name for path in out.iterdir()] == [f"eval.incomplete{ending}"]
    status, text, _ = run("convert", whole, *words)
    assert status == 0 and "kept" not in text
    assert sorted(path.name for path in out.iterdir()) == [f"bal_train{ending}", f"eval{ending}"]
    assert len(read_split(out, "eval")) == len(read_split(out, "bal_train")) == 200

    # The same of a shard in a folder: what follows the cut is unknown there too.
    shard = tree / "eval" / "2.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-20])
    status, text, err = run("convert", tree, tmp_path / "out2", "--format", form, "--skip-bad")
    assert status == 1 and f"eval.incomplete{ending}: 199 segments" in text and f"bal_train{ending}: 200" in text


def test_a_split_with_records_left_out_is_converted_again(run, tmp_path: Path) -> None:
    shards = {"eval/aa.tfrecord": [record(f"aa_{number:08d}", number) for number in range(5)]}
    path = write_shards(tmp_path / "tree", shards) / "eval" / "aa.tfrecord"
    good = path.read_bytes()
    path.write_bytes(good[:700] + bytes([good[700] ^ 1]) + good[701:])
    for form in ("parquet", "npy"):
        words = (tmp_path / "tree", tmp_path / "out", "--format", form, "--splits", "eval", "--skip-bad")
        path.write_bytes(good[:700] + bytes([good[700] ^ 1]) + good[701:])
        status, text, _ = run("convert", *words)
        assert status == 0 and "4 segments" in text
        # Whole, but with a label that AudioSet has not.
        path.write_bytes(good + framed(replace(record("aa_99999999"), labels=(600,))))
        assert "5 segments" in run("convert", *words)[1]
        path.write_bytes(good)
        status, text, _ = run("convert", *words)
        assert status == 0 and "5 segments" in text and "kept" not in text
        assert "already there, kept" in run("convert", *words)[1]


@pytest.mark.parametrize("name", ["aa.tfrecord", "aa.tfrecord.gz"])
def test_records_that_tensorflow_compressed_are_read(run, tmp_path: Path, name: str) -> None:
    records = [record(f"aa_{number:08d}", number) for number in range(20)]
    tree = write_shards(tmp_path / "tree", {f"eval/{name}": records}, compress=True)
    path = tree / "eval" / name
    for source in (tree, path):
        status, text, err = run("convert", source, tmp_path / "out", "--splits", "eval", "--overwrite")
        assert status == 0 and "20 segments from 1 shard" in text, err
    assert run("read", path)[1].count("\n") == 20
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(path, f"x/eval/{name}")
    assert "20 segments" in run("convert", tmp_path / "x.tar.gz", tmp_path / "out2")[1]
    packed = path.read_bytes()
    path.write_bytes(zlib.compress(gzip.decompress(packed)))
    assert run("read", path)[1].count("\n") == 20
    path.write_bytes(packed[: len(packed) // 2])
    status, _, err = run("convert", tree, tmp_path / "out3")
    assert status == 1 and f"{path}: byte " in err and "compressed stream is truncated" in err
    status, _, err = run("convert", tree, tmp_path / "out3", "--skip-bad")
    assert status == 1 and "eval is incomplete" in err


def test_a_record_that_begins_like_a_gzip_file_is_no_gzip_file(run, tmp_path: Path) -> None:
    length = int.from_bytes(b"\x1f\x8b\x08", "little")
    stream = io.BytesIO()
    RecordWriter(stream).write(bytes(length))
    RecordWriter(stream).write(serialize_record(record("abcdefghijk")))
    assert stream.getvalue().startswith(b"\x1f\x8b\x08")
    (tmp_path / "x.tfrecord").write_bytes(stream.getvalue())
    status, text, err = run("read", tmp_path / "x.tfrecord", "--skip-bad")
    assert status == 0 and '"abcdefghijk"' in text and err.count("skipped") == 1
