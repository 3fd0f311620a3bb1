"""Shards: from files, tars and folders to the released format; interruption, resumption, refusals."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audioset_batch.errors import InputRefused, Interrupted, UsageError
from audioset_batch.learn.features.reading import iter_records, read_split
from audioset_batch.learn.features.sequence import Record
from audioset_batch.learn.training.audio_clips import from_manifest
from audioset_batch.learn.vggish.audio import decode
from audioset_batch.learn.vggish.engine import Engine
from audioset_batch.learn.vggish.frontend import examples
from audioset_batch.learn.vggish.inputs import ShardOf, audio_source, clips_of_folder, clips_of_manifest, has_manifest
from audioset_batch.learn.vggish.job import EmbedJob, JobResult
from audioset_batch.learn.vggish.store import ShardStore
from audioset_batch.model import COLUMNS

MIDS = {"/m/09x0r": 0, "/m/05zppz": 1, "/m/0bt9lr": 74}


def sound(seed: int, seconds: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16000)) / 16000
    return 0.4 * np.sin(2 * np.pi * rng.uniform(100, 4000) * time) + 0.01 * rng.standard_normal(time.size)


def manifest_tree(root: Path, count: int, *, tar: bool = False) -> Path:
    """A merged data directory; every third row of eval is not ok."""
    root.mkdir(exist_ok=True)
    by_index = {index: mid for mid, index in MIDS.items()}
    lines = [f'{index},{by_index.get(index, f"/m/{index}")},"name"' for index in range(75)]
    (root / "class_labels_indices.csv").write_text("index,mid,display_name\n" + "\n".join(lines) + "\n")
    rows = []
    tar_path = "data/eval_segments/tar/eval_segments.01.000000.tar"
    (root / tar_path).parent.mkdir(parents=True, exist_ok=True)
    (root / "data/eval_segments/audio").mkdir(parents=True, exist_ok=True)
    archive = tarfile.open(root / tar_path, "w") if tar else None  # noqa: SIM115 - closed below, if opened
    for i in range(count):
        subset = "eval_segments" if i % 2 else "balanced_train_segments"
        ytid = f"-{i:02d}_abcdefg"
        stem = f"{ytid}_{i * 1000}_{i * 1000 + 10000}"
        row = dict.fromkeys(COLUMNS) | {
            "subset": subset,
            "shard": 1,
            "ytid": ytid,
            "start_seconds": float(i),
            "end_seconds": float(i + 10),
            "labels": "/m/0bt9lr,/m/09x0r" if i % 2 else "/m/05zppz",
            "status": "unavailable" if i % 3 == 2 else "ok",
        }
        if row["status"] == "ok":
            buffer = io.BytesIO()
            soundfile.write(buffer, sound(i), 16000, format="FLAC")
            if archive:
                row |= {"tar": tar_path, "offset": archive.offset, "audio_path": ""}
                for suffix, content in ((".flac", buffer.getvalue()), (".mp4", b"video" * 300), (".json", b"{}")):
                    member = tarfile.TarInfo(stem + suffix)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
            else:
                row["audio_path"] = f"data/eval_segments/audio/{stem}.flac"
                (root / row["audio_path"]).write_bytes(buffer.getvalue())
        rows.append(row)
    if archive:
        archive.close()
    pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(root / "manifest.parquet")
    return root


def embed(engine: Engine, root: Path, out: Path, shard: ShardOf | None = None, **options: object) -> JobResult:
    shard = shard or ShardOf()
    kind = options.pop("kind", "tfrecord")
    clips = clips_of_manifest(root, shard) if has_manifest(root) else clips_of_folder(root, shard)
    overwrite = bool(options.pop("overwrite", False))
    store = ShardStore(out, shard, kind, engine.provenance(), overwrite=overwrite)  # type: ignore[arg-type]
    return EmbedJob(clips, engine, store, threads=2, **options).run()  # type: ignore[arg-type]


def by_id(folder: Path) -> dict[str, Record]:
    records = [record for path in sorted(folder.rglob("*.tfrecord")) for record in iter_records(path)]
    found = {record.video_id: record for record in records}
    assert len(found) == len(records), "no clip twice"
    return found


@pytest.mark.parametrize("tar", [False, True], ids=["files", "tars"])
def test_manifest_to_released_format(tmp_path: Path, light_engine: Engine, tar: bool):
    check_released_format(tmp_path, light_engine, tar)


@pytest.mark.slow
def test_the_whole_network_to_released_format(tmp_path: Path, engine: Engine):
    check_released_format(tmp_path, engine, tar=False)


def check_released_format(tmp_path: Path, engine: Engine, tar: bool) -> None:
    root = manifest_tree(tmp_path / "data dir", 7, tar=tar)
    result = embed(engine, root, root / "embeddings")
    assert (result.planned, result.embedded, result.damaged, result.problems) == (5, 5, 0, [])
    assert [path.relative_to(root).as_posix() for path in result.files] == [
        "embeddings/bal_train/0001-of-0001.tfrecord",
        "embeddings/eval/0001-of-0001.tfrecord",
    ]
    records = by_id(root / "embeddings")
    assert sorted(records) == [f"-{i:02d}_abcdefg" for i in (0, 1, 3, 4, 6)]
    assert records["-03_abcdefg"].labels == (74, 0)
    assert (records["-03_abcdefg"].start, records["-03_abcdefg"].end) == (3.0, 13.0)
    for clip in clips_of_manifest(root, ShardOf()):
        samples, _ = decode(audio_source(clip), clip.name)
        expected = engine.pca.postprocess(engine.network.embed(examples(samples)))
        got = records[clip.video_id].embedding
        assert got.shape == (2, 128)
        # Batches differ, so a value at the edge of a step may fall to either side.
        assert np.abs(got.astype(int) - expected).max() <= 1
    features = read_split(root / "embeddings", "eval")
    assert features.lengths.tolist() == [2, 2] and features.labels.sum() == 4
    sidecar = json.loads((root / "embeddings/embed.0001-of-0001.json").read_text())
    assert sidecar["random_weights_seed"] == 7 and "random weights" in sidecar["weights"]
    assert sidecar["embedded"] == 5
    assert not any((root / "embeddings/.parts").iterdir())


def test_parquet_is_what_features_convert_writes(tmp_path: Path, light_engine: Engine):
    root = manifest_tree(tmp_path / "d", 7)
    embed(light_engine, root, tmp_path / "records")
    embed(light_engine, root, tmp_path / "packed", kind="parquet")
    for split in ("eval", "bal_train"):
        records, packed = read_split(tmp_path / "records", split), read_split(tmp_path / "packed", split)
        np.testing.assert_array_equal(packed.video_ids, records.video_ids)
        np.testing.assert_array_equal(packed.embeddings, records.embeddings)
        np.testing.assert_array_equal(packed.labels, records.labels)


def test_shards_are_disjoint_and_complete(tmp_path: Path, light_engine: Engine):
    root = manifest_tree(tmp_path / "d", 13)
    total = sum(embed(light_engine, root, tmp_path / "o", ShardOf(k, 3)).embedded for k in (1, 2, 3))
    assert total == 9 == len(by_id(tmp_path / "o"))


def test_interruption_keeps_what_is_done(tmp_path: Path, light_engine: Engine):
    for i in range(12):
        soundfile.write(tmp_path / f"{i:02d}.wav", sound(i, 4.0), 16000)
    out = tmp_path / "out"
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 2

    with pytest.raises(Interrupted, match="run the same command again"):
        embed(light_engine, tmp_path, out, stop=stop, part_clips=1)
    assert not list(out.rglob("*.tfrecord")), "nothing is published before it is whole"
    again = embed(light_engine, tmp_path, out)
    assert again.resumed > 0 and again.embedded > 0 and again.resumed + again.embedded == 12
    uninterrupted = tmp_path / "other"
    embed(light_engine, tmp_path, uninterrupted)
    assert {k: v.embedding.tolist() for k, v in by_id(out).items()}.keys() == by_id(uninterrupted).keys()
    for name, record in by_id(uninterrupted).items():
        assert np.abs(by_id(out)[name].embedding.astype(int) - record.embedding).max() <= 1


def test_new_clips_join_a_finished_shard(tmp_path: Path, light_engine: Engine):
    soundfile.write(tmp_path / "a.wav", sound(1), 16000)
    embed(light_engine, tmp_path, tmp_path / "out")
    before = by_id(tmp_path / "out")["a"]
    soundfile.write(tmp_path / "b.wav", sound(2), 16000)
    result = embed(light_engine, tmp_path, tmp_path / "out")
    assert (result.resumed, result.embedded) == (1, 1)
    after = by_id(tmp_path / "out")
    assert sorted(after) == ["a", "b"]
    np.testing.assert_array_equal(after["a"].embedding, before.embedding)
    assert (after["b"].start, after["b"].end) == (0.0, 2.0)


def test_a_file_of_the_same_stem_renames_both_and_overwrite_removes_the_old_record(
    tmp_path: Path, light_engine: Engine
):
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, sound(1), 16000)
        embed(light_engine, tmp_path, tmp_path / "out")
    assert sorted(by_id(tmp_path / "out")) == ["a", "a.flac", "a.wav"], "nothing is lost unasked"
    embed(light_engine, tmp_path, tmp_path / "out", overwrite=True)
    assert sorted(by_id(tmp_path / "out")) == ["a.flac", "a.wav"]


def test_torn_part_is_noticed(tmp_path: Path, light_engine: Engine):
    soundfile.write(tmp_path / "a.wav", sound(1), 16000)
    out = tmp_path / "out"
    store = ShardStore(out, ShardOf(), "tfrecord", light_engine.provenance())
    store.write_part("audio", [Record("a", 0.0, 2.0, (), np.zeros((2, 128), np.uint8))])
    part = next(out.rglob("*.part"))
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(InputRefused, match=str(part)):
        embed(light_engine, tmp_path, out)


def test_other_weights_or_another_count_are_refused(tmp_path: Path, light_engine: Engine):
    soundfile.write(tmp_path / "a.wav", sound(1), 16000)
    out = tmp_path / "out"
    embed(light_engine, tmp_path, out)
    other = light_engine.provenance() | {"weights_sha256": "0" * 64}
    with pytest.raises(UsageError, match="weights_sha256 was"):
        ShardStore(out, ShardOf(), "tfrecord", other)
    with pytest.raises(UsageError, match="another number of shards"):
        ShardStore(out, ShardOf(1, 2), "tfrecord", light_engine.provenance())
    ShardStore(out, ShardOf(), "tfrecord", other, overwrite=True)
    assert not list(out.rglob("*.tfrecord"))


def test_unmerged_tree_is_refused(tmp_path: Path):
    (tmp_path / "manifests").mkdir()
    with pytest.raises(UsageError, match="audioset-batch merge"):
        has_manifest(tmp_path)


def test_names_of_a_folder(tmp_path: Path):
    for name in ("-bcdefghijk_30000_40000.wav", "Dog/bark 1.WAV", "notes.txt", ".hidden/x.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clips = clips_of_folder(tmp_path, ShardOf())
    assert [(c.video_id, c.start_ms, c.end_ms) for c in clips] == [
        ("-bcdefghijk", 30000, 40000),
        ("Dog/bark 1", 0, None),
    ]


def test_manifest_refusals(tmp_path: Path):
    root = manifest_tree(tmp_path / "d", 4)
    (root / "class_labels_indices.csv").unlink()
    with pytest.raises(UsageError, match="class_labels_indices"):
        clips_of_manifest(root, ShardOf())
    (root / "class_labels_indices.csv").write_text("index,mid,display_name\n0,/m/no,x\n")
    with pytest.raises(InputRefused, match="lacks /m/"):
        clips_of_manifest(root, ShardOf())
    pd.DataFrame({"ytid": ["a"]}).to_parquet(root / "manifest.parquet")
    with pytest.raises(InputRefused, match="columns missing: subset"):
        clips_of_manifest(root, ShardOf())
    (root / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputRefused, match="cannot be read as Parquet"):
        clips_of_manifest(root, ShardOf())


def test_labels_are_the_indices_of_the_class_list_even_if_it_holds_only_some_classes(tmp_path: Path):
    root = manifest_tree(tmp_path / "d", 4)
    labels = root / "class_labels_indices.csv"
    labels.write_text("index,mid,display_name\n0,/m/09x0r,Speech\n137,/m/05zppz,Music\n300,/m/0bt9lr,Dog\n")
    assert {clip.labels for clip in clips_of_manifest(root, ShardOf())} == {(137,), (300, 0)}
    with pytest.raises(InputRefused, match="expected the indices 0, 1, 2"):
        from_manifest(root, None)
    labels.write_text("0,/m/09x0r,Speech\n1,/m/05zppz,Music\n2,/m/0bt9lr,Dog\n")
    assert {clip.labels for clip in clips_of_manifest(root, ShardOf())} == {(1,), (2, 0)}
    assert from_manifest(root, None).num_classes == 3
    labels.write_text("0,/m/09x0r,Speech\n40000,/m/05zppz,Music\n2,/m/0bt9lr,Dog\n")
    with pytest.raises(InputRefused, match="indices up to 32767, found 40000 of /m/05zppz"):
        clips_of_manifest(root, ShardOf())


def test_wrong_offset_is_refused(tmp_path: Path):
    root = manifest_tree(tmp_path / "d", 4, tar=True)
    table = pd.read_parquet(root / "manifest.parquet")
    table["offset"] += 512
    table.to_parquet(root / "manifest.parquet")
    clips = clips_of_manifest(root, ShardOf())
    assert clips
    for clip in clips:
        with pytest.raises(InputRefused, match=clip.video_id):
            audio_source(clip)
