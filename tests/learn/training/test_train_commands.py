"""train, evaluate, predict from the command line on synthetic features: learning, resuming, refusing."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from audioset_batch import cli
from audioset_batch.learn.features.arrays import FeatureSet
from audioset_batch.learn.features.batch import batch_of_features
from audioset_batch.learn.features.packed_writers import NpyWriter, ParquetWriter
from audioset_batch.learn.features.sequence import serialize_record
from audioset_batch.learn.features.tfrecord import RecordWriter, iter_payloads
from audioset_batch.learn.training import runs
from audioset_batch.learn.training.metrics import class_metrics
from audioset_batch.learn.vggish.store import hold_output
from tests.support.synthetic_features import SyntheticFeatures

CLASSES = 8
WORLD = SyntheticFeatures(classes=CLASSES, seed=0, tail=0.5, separation=10.0)
SMALL = [
    "--dbof_cluster_size=64",
    "--dbof_hidden_size=32",
    "--dbof_batch_norm_decay=0.9",
    "--lstm_cells=32",
    "--attention_units=32",
    "--attention_layers=1",
    "--batch_size=128",
    "--log_steps=5",
]


def write_packed(path: Path, features: FeatureSet) -> Path:
    kind = ParquetWriter if path.suffix == ".parquet" else NpyWriter
    with kind(path, classes=features.labels.shape[1]) as writer:
        writer.write(batch_of_features(features))
        writer.commit()
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write_packed(folder / "bal_train.parquet", WORLD.sample(2000, seed=1))
    write_packed(folder / "unbal_train", WORLD.sample(2000, seed=2))
    write_packed(folder / "eval.parquet", WORLD.sample(1500, seed=3))
    return folder


@pytest.fixture(autouse=True)
def _only_these_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMAND_MODULES", ("train_cmd",))
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)


def run(*words: Any) -> int:
    return cli.main([str(word) for word in words])


def train(data: Path, folder: Path, model: str, *flags: Any) -> int:
    pattern = f"{data}/bal_train.parquet,{data}/unbal_train"
    return run("train", "--model", model, "--train_data_pattern", pattern, "--train_dir", folder, *SMALL, *flags)


def result(data: Path, folder: Path) -> dict[str, Any]:
    assert run("evaluate", "--train_dir", folder, "--eval_data_pattern", data / "eval.parquet", "--run_once") == 0
    loaded: dict[str, Any] = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    return loaded


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def optimum() -> float:
    clips = WORLD.sample(1500, seed=3)
    scores = WORLD.bayes_scores(clips)
    # Clips that are surely of one scene have equal scores. In which order such clips stand is irrelevant for the
    # optimum but not for a step-wise AP, which counts equal scores as one step; a network's scores are never equal.
    return class_metrics(clips.labels, scores + np.random.default_rng(0).random(scores.shape) * 1e-9).mean_ap


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "share", "flags"),
    [
        ("LogisticModel", 0.93, ["--max_steps=400", "--num_epochs=100", "--base_learning_rate=0.05"]),
        ("MoeModel", 0.95, ["--max_steps=300", "--num_epochs=100", "--base_learning_rate=0.05"]),
        ("FrameLevelLogisticModel", 0.93, ["--max_steps=400", "--num_epochs=100", "--base_learning_rate=0.05"]),
        pytest.param(
            *("DbofModel", 0.85, ["--max_steps=200", "--num_epochs=100", "--frame_features"]), marks=pytest.mark.slow
        ),
        pytest.param(
            *("LstmModel", 0.85, ["--max_steps=250", "--num_epochs=100", "--frame_features=true"]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("DecisionLevelAttentionModel", 0.85, ["--max_steps=300", "--base_learning_rate=0.005"]),
            marks=pytest.mark.slow,
        ),
        ("FeatureLevelAttentionModel", 0.85, ["--max_steps=300", "--base_learning_rate=0.005"]),
    ],
)
def test_every_model_comes_near_the_optimum(
    model: str, share: float, flags: list[str], data: Path, tmp_path: Path, optimum: float
) -> None:
    assert train(data, tmp_path, model, *flags) == 0
    found = result(data, tmp_path)
    assert 0.75 < optimum < 1.0
    assert share * optimum < found["map"] < 1.02 * optimum, (found["map"] / optimum, optimum)


def test_train_evaluate_predict_write_what_they_promise(data: Path, tmp_path: Path) -> None:
    names = tmp_path / "class_labels_indices.csv"
    names.write_text(
        "index,mid,display_name\n" + "".join(f'{k},/m/0{k},"Dog, $ {k}"\n' for k in range(CLASSES)), encoding="utf-8"
    )
    folder = tmp_path / "model"
    validation = ["--validation-data-pattern", data / "eval.parquet", "--eval-steps", 20, "--export-model-steps", 30]
    assert train(data, folder, "MoeModel", "--max-steps", 50, "--tensorboard", *validation) == 0
    flags = json.loads((folder / "model_flags.json").read_text())
    starter = {
        name: flags[name] for name in ("model", "feature_sizes", "feature_names", "frame_features", "label_loss")
    }
    assert starter == {
        "model": "MoeModel",
        "feature_sizes": 128,
        "feature_names": "audio_embedding",
        "frame_features": False,
        "label_loss": "CrossEntropyLoss",
    }
    assert (flags["dequantization"], flags["l2_normalize"], flags["num_classes"]) == ("youtube8m", True, CLASSES)
    log = rows(folder / "train_log.csv")
    assert [int(row["step"]) for row in log] == list(range(5, 55, 5))
    assert float(log[-1]["loss"]) < float(log[0]["loss"])
    assert [int(row["step"]) for row in rows(folder / "validation_log.csv")] == [20, 40, 50]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "step-00000030.npz",
        "step-00000050.npz",
    ]
    events = next(folder.glob("events.out.tfevents.*"))
    with events.open("rb") as stream:
        payloads = [payload for _, payload in iter_payloads(stream, "events")]
    assert b"brain.Event:2" in payloads[0] and sum(b"validation/map" in payload for payload in payloads) == 3

    out = tmp_path / "out"
    words = ["--train_dir", folder, "--eval_data_pattern", data / "eval.parquet", "--class_labels_csv", names]
    assert run("evaluate", *words, "--output_dir", out) == 0
    summary = json.loads((out / "evaluation.json").read_text())
    assert (summary["clips"], summary["classes"], summary["step"]) == (1500, CLASSES, 50)
    assert {"map", "auc", "d_prime", "hit_at_1", "perr", "gap_at_20", "yt8m_map"} <= set(summary)
    table = rows(out / "evaluation_classes.csv")
    assert table[3]["mid"] == "/m/03" and table[3]["display_name"] == "Dog, $ 3"
    assert np.mean([float(row["ap"]) for row in table]) == pytest.approx(summary["map"], abs=1e-6)
    assert (out / "evaluation_ap.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (out / "evaluation_ap.svg").read_bytes()[:1000]

    csv_file = tmp_path / "predictions.csv"
    words = ["--train_dir", folder, "--input_data_pattern", data / "eval.parquet", "--output_file", csv_file]
    assert run("predict", *words, "--top_k", 3) == 0
    lines = csv_file.read_text().splitlines()
    clips = WORLD.sample(1500, seed=3)
    assert lines[0] == "VideoId,LabelConfidencePairs" and len(lines) == 1501
    name, pairs = lines[1].split(",")
    values = pairs.split(" ")
    assert name == clips.video_ids[0] and len(values) == 6
    scores = [float(value) for value in values[1::2]]
    assert scores == sorted(scores, reverse=True)
    first = [int(line.split(",")[1].split(" ")[0]) for line in lines[1:]]
    assert clips.labels[np.arange(1500), first].mean() == pytest.approx(summary["hit_at_1"], abs=1e-9)


def test_tfrecords_give_the_same_model_as_packed_features(data: Path, tmp_path: Path) -> None:
    features = WORLD.sample(300, seed=8)
    write_packed(tmp_path / "packed.parquet", features)
    (tmp_path / "shards").mkdir()
    records = list(batch_of_features(features).records())
    for number in range(2):
        with (tmp_path / "shards" / f"x{number}.tfrecord").open("wb") as stream:
            writer = RecordWriter(stream)
            for record in records[150 * number : 150 * number + 150]:
                writer.write(serialize_record(record))
    common = ["--model=LogisticModel", "--max_steps=5", "--batch_size=64"]
    packed = ["--train_data_pattern", tmp_path / "packed.parquet", "--train_dir", tmp_path / "a"]
    shards = ["--train_data_pattern", f"{tmp_path}/shards/x*.tfrecord", "--train_dir", tmp_path / "b"]
    assert run("train", *common, *packed, "--train_dir", tmp_path, "--train_subdir=a") == 0
    assert run("train", *common, *shards, f"--num_classes={CLASSES}") == 0
    one, other = (np.load(tmp_path / name / "checkpoints" / "step-00000005.npz") for name in "ab")
    assert all(np.array_equal(one[name], other[name]) for name in one.files if name.startswith("model/"))


@pytest.mark.parametrize("signal_number", [signal.SIGUSR1, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_saves_and_the_next_run_ends_where_an_undisturbed_one_does(
    signal_number: signal.Signals, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--max_steps=60", "--num_epochs=100", "--balanced_sampling=panns", "--mixup=panns", "--dropout=0.3"]
    model = "FeatureLevelAttentionModel"
    assert train(data, tmp_path / "whole", model, *flags) == 0

    def after_some_steps() -> None:
        log = tmp_path / "cut" / "train_log.csv"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 2):
            time.sleep(0.01)
        os.kill(os.getpid(), signal_number)

    sender = threading.Thread(target=after_some_steps)
    sender.start()
    assert train(data, tmp_path / "cut", model, *flags) == 75
    sender.join()
    assert signal_number.name in capsys.readouterr().err
    saved = [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()]
    assert len(saved) == 1 and saved != ["step-00000060.npz"]
    assert train(data, tmp_path / "cut", model, *flags) == 0
    whole, cut = (np.load(tmp_path / name / "checkpoints" / "step-00000060.npz") for name in ("whole", "cut"))
    assert whole.files == cut.files
    for name in whole.files:
        if name != "meta":
            assert cut[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-6), name
    steps = [int(row["step"]) for row in rows(tmp_path / "cut" / "train_log.csv")]
    assert steps == list(range(5, 65, 5))
    assert train(data, tmp_path / "cut", model, *flags) == 0
    assert "done: 60 steps" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_passed_over(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--export_model_steps=10", "--num_epochs=100"]
    assert train(data, tmp_path, "LogisticModel", "--max_steps=20", *flags) == 0
    (tmp_path / "checkpoints" / "step-00000020.npz").write_bytes(b"PK torn")
    assert train(data, tmp_path, "LogisticModel", "--max_steps=30", *flags) == 0
    assert "resuming after step 10" in capsys.readouterr().out


def test_clips_of_minutes_and_labels_beyond_16_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (long,) = batch_of_features(WORLD.sample(1, seed=8)).records()
    rows_of_sound = np.tile(long.embedding[:1], (300, 1))
    with (tmp_path / "x.tfrecord").open("wb") as stream:
        RecordWriter(stream).write(serialize_record(replace(long, embedding=rows_of_sound)))
    words = ["--train_data_pattern", tmp_path / "x.tfrecord", "--train_dir", tmp_path / "run", "--max_steps=1"]
    assert run("train", *words, f"--num_classes={CLASSES}", "--max_frames=300") == 0
    assert run("train", *words, "--num_classes=40000", "--start_new_model") == 2
    assert "at most 32,767 classes" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_damaged_records_stop_it_unless_told_to_skip_them(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = list(batch_of_features(WORLD.sample(100, seed=8)).records())
    path = tmp_path / "x.tfrecord"
    with path.open("wb") as stream:
        writer = RecordWriter(stream)
        for record in records:
            writer.write(serialize_record(record))
    words = ["--model=LogisticModel", "--max_steps=2", "--batch_size=64", f"--num_classes={CLASSES}"]
    words += ["--train_data_pattern", path, "--train_dir", tmp_path / "run"]
    if command == "evaluate":
        assert run("train", *words) == 0
        words = ["--eval_data_pattern", path, "--train_dir", tmp_path / "run"]
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    assert run(command, *words) == 1
    assert "byte 0: wrong payload checksum" in capsys.readouterr().err
    assert run(command, *words, "--skip-bad") == 0
    printed = capsys.readouterr().out
    assert f"skipped: {path}: byte 0" in printed and "99" in printed


def test_early_stopping_keeps_the_best(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--holdout=0.3", "--eval_steps=10", "--early_stopping=2", "--base_learning_rate=3", "--num_epochs=1000"]
    assert train(data, tmp_path, "LogisticModel", *flags) == 0
    steps = rows(tmp_path / "validation_log.csv")
    best = max(range(len(steps)), key=lambda i: float(steps[i]["map"]))
    assert best == len(steps) - 3
    assert "stopping" in capsys.readouterr().out
    assert train(data, tmp_path, "LogisticModel", *flags) == 0
    assert len(rows(tmp_path / "validation_log.csv")) == len(steps)
    words = ["--eval_data_pattern", f"{data}/bal_train.parquet,{data}/unbal_train", "--holdout=0.3"]
    assert run("evaluate", "--train_dir", tmp_path, *words) == 0
    found = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert found["map"] == pytest.approx(float(steps[best]["map"]), abs=1e-4)
    assert found["step"] == int(steps[best]["step"]) and 900 < found["clips"] < 1500


def test_another_model_in_the_folder_is_refused_until_asked_for(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "LogisticModel", "--max_steps=2") == 0
    assert train(data, tmp_path, "LogisticModel", "--max_steps=4", "--label_loss=HingeLoss") == 2
    text = capsys.readouterr().err
    assert "label_loss: stored 'CrossEntropyLoss', given 'HingeLoss'" in text and "--start_new_model" in text
    assert train(data, tmp_path, "LogisticModel", "--max_steps=2", "--label_loss=HingeLoss", "--start_new_model") == 0


RESUMED = ["--max_steps=4", "--num_epochs=100", "--eval_steps=2", "--holdout=0.1", "--seed=1"]


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--batch_size=64"], "batch_size was 128, is 64"),
        (["--base_learning_rate=5"], "base_learning_rate was 0.01, is 5.0"),
        (["--seed=9"], "seed was 1, is 9"),
        (["--optimizer=AMSGrad"], "optimizer was AdamOptimizer, is AMSGrad"),
        (["--mixup=panns"], "mixup was none, is panns"),
        (["--holdout=0.4"], "holdout was 0.1, is 0.4"),
        (["--train_data_pattern={data}/bal_train.parquet"], "data was 4,000 clips, SHA-256"),
        (["--train_data_pattern={data}/unbal_train,{data}/bal_train.parquet"], "data was 4,000 clips, SHA-256"),
        (["--validation_data_pattern={data}/eval.parquet"], "validation was None, is 1,500 clips, SHA-256"),
        (["--dequantization=centered"], "dequantization: stored 'youtube8m', given 'centered'"),
    ],
)
def test_a_run_is_not_continued_with_other_data_or_settings(
    flags: list[str], difference: str, half_trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [flag.format(data=data) for flag in flags]
    before = {path: path.read_bytes() for path in half_trained.iterdir() if path.is_file()}
    assert train(data, half_trained, "LogisticModel", *RESUMED, *changes, "--max_steps=8") == 2
    text = capsys.readouterr().err
    assert difference in text and "--start_new_model" in text
    assert {path: path.read_bytes() for path in half_trained.iterdir() if path.is_file()} == before


@pytest.fixture(scope="module")
def half_trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "COMMAND_MODULES", ("train_cmd",))
        assert train(data, folder, "LogisticModel", *RESUMED) == 0
    return folder


def test_a_run_is_continued_for_longer_and_wherever_its_data_lie(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", "LogisticModel", *RESUMED) == 0
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    longer = ["--max_steps=6", "--log_steps=1", "--export_model_steps=3", "--early_stopping=9"]
    assert train(moved, tmp_path / "run", "LogisticModel", *RESUMED, *longer) == 0
    printed = capsys.readouterr().out
    assert "resuming after step 4" in printed and "done: 6 steps" in printed


@pytest.mark.parametrize("flags", [[], ["--holdout=0.2", "--eval_steps=1000"]], ids=["blind", "validated"])
def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_good_checkpoints(
    flags: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--optimizer=GradientDescentOptimizer", "--clip_gradient_norm=0", "--export_model_steps=1", *flags]
    words += ["--num_epochs=1000", "--max_steps=60"]
    assert train(data, tmp_path / "run", "LogisticModel", *words, "--base_learning_rate=1e30") == 1
    captured = capsys.readouterr()
    assert re.search(r"(loss is (nan|inf)|weights are not finite).* step \d+; ", captured.err)
    assert "Lower the learning rate (1e+30)" in captured.err and "done:" not in captured.out
    for path in (tmp_path / "run").rglob("*.npz"):
        with np.load(path) as stored:
            assert all(np.isfinite(stored[name]).all() for name in stored.files), path
    assert "nan" not in (tmp_path / "run" / "train_log.csv").read_text()
    words[2] = "--export_model_steps=1000"
    assert train(data, tmp_path / "other", "LogisticModel", *words, "--base_learning_rate=1e30") == 1
    assert "no checkpoint was written" in capsys.readouterr().err


def test_ctrl_c_saves_as_term_does(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def after_some_steps() -> None:
        log = tmp_path / "train_log.csv"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 2):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=after_some_steps)
    sender.start()
    assert train(data, tmp_path, "LogisticModel", "--max_steps=100000", "--num_epochs=100000") == 75
    sender.join()
    assert "SIGINT after step" in capsys.readouterr().err
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_one_training_at_a_time_in_a_folder(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hold_output(tmp_path, "training"):
        assert train(data, tmp_path, "LogisticModel", "--max_steps=2") == 75
    assert "training is being worked on by" in capsys.readouterr().err
    assert not (tmp_path / "model_flags.json").exists()


def test_validation_without_a_label_and_classes_without_a_clip_are_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = WORLD.sample(200, seed=4)
    clips.labels[:, 5:] = False
    write_packed(tmp_path / "few.parquet", clips)
    clips.labels[:] = False
    write_packed(tmp_path / "none.parquet", clips)
    words = ["--train_dir", tmp_path / "run", "--num_epochs=1"]
    few = ["--train_data_pattern", tmp_path / "few.parquet"]
    assert run("train", *words, *few, "--validation_data_pattern", tmp_path / "none.parquet") == 2
    assert "none of the 200 validation clips has a label" in capsys.readouterr().err
    assert run("train", *words, *few) == 0
    printed = capsys.readouterr().out
    assert "3 of 8 classes have no training clip (5, 6, 7)" in printed and "only 1 steps" in printed


def test_the_training_clips_are_not_taken_for_others(
    half_trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = f"{data}/bal_train.parquet,{data}/unbal_train"
    words = ["--train_dir", half_trained, "--eval_data_pattern", pattern, "--output_dir", tmp_path]
    assert run("evaluate", *words, "--holdout=0.4") == 2
    assert "trained on these clips with --holdout 0.1" in capsys.readouterr().err
    assert run("evaluate", *words) == 0
    assert "warning: these are the training clips" in capsys.readouterr().out
    assert run("evaluate", *words, "--holdout=0.1") == 0
    assert "warning" not in capsys.readouterr().out


def test_ids_that_are_paths_survive_in_the_predictions(half_trained: Path, tmp_path: Path) -> None:
    clips = WORLD.sample(3, seed=5)
    names = ['low/a,b "c".wav', "x" * 300, "é/1"]
    features = FeatureSet(clips.embeddings, clips.lengths, clips.labels, np.array(names), clips.start, clips.end)
    write_packed(tmp_path / "named.parquet", features)
    words = ["--train_dir", half_trained, "--input_data_pattern", tmp_path / "named.parquet", "--top_k=1"]
    assert run("predict", *words, "--output_file", tmp_path / "p.csv") == 0
    assert [row["VideoId"] for row in rows(tmp_path / "p.csv")] == names


def test_a_requeued_job_does_not_start_a_new_model_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(data, tmp_path, "LogisticModel", "--max_steps=3", "--start_new_model") == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert train(data, tmp_path, "LogisticModel", "--max_steps=6", "--start_new_model") == 0
    assert "resuming after step 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "status", "text"),
    [
        (["--train_data_pattern=nowhere/*.tfrecord"], 2, "no file matches"),
        (["--model=Logistic"], 2, "LogisticModel, MoeModel"),
        (["--segment_labels"], 2, "whole clips"),
        (["--feature_sizes=1024"], 2, "feature_sizes 128"),
        (["--frame_features"], 2, "leave out --frame_features"),
        (["--num_classes=9"], 1, "9 classes"),
        (["--early_stopping=3"], 2, "needs validation data"),
        (["--model=vgg16"], 2, "--data_dir"),
        (["--weights=x.h5"], 2, "is for vgg16"),
        (["--num_gpu=2"], 2, "expected 0 or 1"),
        (["--batch_size=0"], 2, "at least 1"),
    ],
)
def test_bad_flags_are_explained(
    flags: list[str], status: int, text: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "LogisticModel", "--max_steps=1", *flags) == status
    assert text in capsys.readouterr().err


def test_tensorboard_without_its_package_is_refused_before_data_are_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setattr(runs, "load_examples", Mock(side_effect=AssertionError("data are read")))
    assert train(data, tmp_path / "model", "LogisticModel", "--max_steps=1", "--tensorboard") == 2
    assert "tensorboardX, which is not installed: run ./setup.sh --with learn" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_folder_that_cannot_be_made_is_said_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert train(data, tmp_path / "file" / "run", "LogisticModel") == 2
    assert "expected a folder" in capsys.readouterr().err


def test_wrong_words_to_evaluate_and_predict_are_explained(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", "LogisticModel", "--max_steps=2") == 0
    common = ["--train_dir", tmp_path / "run"]
    evaluate = ["evaluate", *common, "--eval_data_pattern", data / "eval"]
    predict = ["predict", *common, "--input_data_pattern", data / "eval", "--output_file", tmp_path / "p.csv"]
    (tmp_path / "labels.csv").write_text("index,mid,display_name\n0,/m/a,A\n")
    (tmp_path / "other.csv").write_text("a,b\n")
    capsys.readouterr()
    for words, status, text in (
        ([*evaluate, "--holdout=3"], 2, "share"),
        ([*evaluate, "--holdout=0.00001"], 2, "none of these clips"),
        ([*evaluate, "--checkpoint=first"], 2, "best, latest or an existing file"),
        ([*evaluate, "--class_labels_csv", tmp_path / "labels.csv"], 1, "expected 8 classes"),
        ([*evaluate, "--class_labels_csv", tmp_path / "other.csv"], 1, "expected the header index,mid,display_name"),
        ([*evaluate, "--output_dir", tmp_path / "labels.csv"], 2, "a file is there"),
        ([*predict, "--output_file", tmp_path], 2, "a folder is there"),
    ):
        assert run(*words) == status, words
        assert text in capsys.readouterr().err, words
    for words in ([*evaluate, "--batch_size=0"], [*predict, "--top_k=0"]):
        with pytest.raises(SystemExit, match="2"):
            run(*words)
        assert "'0': expected a whole number, 1 or more" in capsys.readouterr().err


def test_folders_without_a_model_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--train_dir", tmp_path, "--eval_data_pattern", tmp_path) == 2
    assert "model_flags.json does not exist" in capsys.readouterr().err
    (tmp_path / "model_flags.json").write_text("{}")
    assert run("predict", "--train_dir", tmp_path, "--output_file", tmp_path / "x.csv") == 1
    assert "not the flags of a model" in capsys.readouterr().err
