"""VGG16 on spectrogram images: the image, the network's parts, learning, both kinds of data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from audioset_batch import cli
from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.training.audio_clips import from_class_folders, labelled_sounds
from audioset_batch.learn.training.image_cache import ImageExamples
from audioset_batch.learn.training.images import clip_image, grey_levels, resize
from audioset_batch.learn.training.options import ModelOptions, default_model_options
from audioset_batch.learn.vggish.frontend import SAMPLE_RATE
from audioset_batch.model import COLUMNS

KINDS = ("beeps", "chirp_down", "chirp_up", "clicks", "high", "low", "noise", "siren")
SECONDS = 2.0


def sound(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Two seconds of a sound whose level and pitch vary within the class."""
    t = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    shift = rng.uniform(0.85, 1.15)
    pitch = {
        "beeps": 1000 * shift,
        "chirp_down": np.linspace(4000, 400, t.size) * shift,
        "chirp_up": np.linspace(400, 4000, t.size) * shift,
        "high": 5000 * shift,
        "low": 250 * shift,
        "siren": (1500 + 800 * np.sin(2 * np.pi * 1.5 * t)) * shift,
    }.get(kind, 0.0)
    tone = np.sin(2 * np.pi * np.cumsum(np.broadcast_to(pitch, t.shape)) / SAMPLE_RATE)
    if kind == "beeps":
        tone *= (t * 5 % 1) < 0.4
    if kind == "noise":
        tone = rng.normal(0, 0.4, t.size)
    if kind == "clicks":
        tone = np.where((t * 8 * shift) % 1 < 0.01, 1.0, 0.0)
    return rng.uniform(0.2, 0.8) * tone + rng.normal(0, 0.003, t.size)


def write_sounds(folder: Path, per_class: int, seed: int, kinds: tuple[str, ...] = KINDS) -> None:
    rng = np.random.default_rng(seed)
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            # The same names in all class folders, as in most hand-made sets.
            soundfile.write(folder / kind / f"{number:03d}.flac", sound(kind, rng).clip(-1, 1), SAMPLE_RATE)


@pytest.fixture(autouse=True)
def _only_these_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMAND_MODULES", ("train_cmd",))


def run(*words: Any) -> int:
    return cli.main([str(word) for word in words])


def options(**changes: Any) -> ModelOptions:
    return replace(default_model_options("vgg16"), image_size=64, clip_seconds=SECONDS, num_classes=8, **changes)


def test_low_frequencies_are_at_the_bottom_and_time_runs_to_the_right() -> None:
    t = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    first_low_then_high = np.sin(2 * np.pi * np.where(t < 1, 250, 5000) * t)
    image = clip_image(first_low_then_high, options()).astype(float)
    assert image.shape == (64, 64)
    left, right = image[:, 4:28].mean(axis=1), image[:, 36:60].mean(axis=1)
    assert left.argmax() > 50 and right.argmax() < 14


def test_levels_are_fixed_so_that_loudness_survives() -> None:
    t = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    loud, quiet = (clip_image(a * np.sin(2 * np.pi * 1000 * t), options()) for a in (1.0, 0.1))
    assert int(loud.max()) - int(quiet.max()) == pytest.approx(np.log(10) / 9.605 * 255, abs=4)
    assert not clip_image(np.zeros(SAMPLE_RATE), options()).any()
    assert loud.max() > 230
    assert grey_levels(np.array([[-9.0, 5.0]]), -4.605, 5.0).tolist() == [[255.0], [0.0]]


def test_short_clips_are_followed_by_silence_and_long_ones_cut() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, 3 * SAMPLE_RATE)
    image = clip_image(noise[:SAMPLE_RATE], options())
    assert image[:, :28].min() > 60 and not image[:, 36:].any()
    assert np.array_equal(clip_image(noise, options()), clip_image(noise[: 2 * SAMPLE_RATE], options()))


def test_resizing_keeps_flat_and_linear_images() -> None:
    assert resize(np.full((64, 998), 7.0), 224, 224) == pytest.approx(np.full((224, 224), 7.0))
    ramp = np.broadcast_to(np.arange(100.0), (10, 100))
    assert resize(ramp, 10, 50)[0, 5:45] == pytest.approx(2 * np.arange(5, 45) + 0.5, abs=1e-9)
    assert resize(ramp, 10, 200)[0, 5:195] == pytest.approx(np.arange(5, 195) / 2 - 0.25, abs=1e-9)


def test_preprocessing_is_that_of_keras() -> None:
    from audioset_batch.learn.training.keras_api import keras
    from audioset_batch.learn.training.models.vgg16 import IMAGENET_BGR_MEANS

    rgb = np.array([[[[10.0, 20.0, 30.0]]]], np.float32)
    expected = keras.applications.vgg16.preprocess_input(rgb.copy())[0, 0, 0]
    assert expected == pytest.approx([-73.939, -96.779, -113.68], abs=1e-3)
    assert rgb[0, 0, 0, ::-1] - np.array(IMAGENET_BGR_MEANS) == pytest.approx(expected, abs=1e-3)
    grey = np.full((1, 1, 1, 3), 77.0, np.float32)
    assert 77.0 - np.array(IMAGENET_BGR_MEANS) == pytest.approx(
        keras.applications.vgg16.preprocess_input(grey.copy())[0, 0, 0], abs=1e-4
    )


@pytest.mark.slow
def test_only_the_head_then_block5_is_trained_and_weights_come_from_a_file(tmp_path: Path) -> None:
    from audioset_batch.learn.training.keras_api import keras
    from audioset_batch.learn.training.models import build_model
    from audioset_batch.learn.training.models.vgg16 import base_of, load_base_weights, set_finetuning

    model = build_model(options(), seed=1)
    assert model.count_params() == 14_714_688 + 512 * 8 + 8
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == 512 * 8 + 8
    set_finetuning(model, True)
    names = {v.path.split("/")[0] for v in model.trainable_variables}
    assert names == {"block5_conv1", "block5_conv2", "block5_conv3", "predictions"}
    stored = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    stored.save_weights(tmp_path / "notop.weights.h5")
    load_base_weights(model, tmp_path / "notop.weights.h5")
    kernel = base_of(model).get_layer("block3_conv2").kernel
    assert np.array_equal(np.asarray(kernel), np.asarray(stored.get_layer("block3_conv2").kernel))
    (tmp_path / "torn.h5").write_bytes(b"not hdf5")
    with pytest.raises(InputRefused, match="without top"):
        load_base_weights(model, tmp_path / "torn.h5")
    with pytest.raises(UsageError, match="no VGG16 weights"):
        load_base_weights(model, tmp_path / "nowhere.h5")


@pytest.mark.slow
def test_it_learns_eight_classes_of_sounds_from_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sounds(tmp_path / "data" / "train", 12, seed=1)
    write_sounds(tmp_path / "data" / "eval", 4, seed=2)
    (tmp_path / "data" / "train" / "low" / "torn.flac").write_bytes(b"fLaC torn")
    train = ["train", "--model=vgg16", "--data_dir", tmp_path / "data", "--train_dir", tmp_path / "model"]
    train += ["--image_size=64", f"--clip_seconds={SECONDS}", "--batch_size=16", "--log_steps=5"]
    head = ["--max_steps=25", "--num_epochs=100", "--base_learning_rate=0.03"]
    assert run(*train, *head, "--finetune_steps=5", "--finetune_learning_rate=1e-4") == 0
    printed = capsys.readouterr().out
    assert "left out" in printed and "torn.flac" in printed and "96 clips" in printed
    words = ["--train_dir", tmp_path / "model", "--data_dir", tmp_path / "data"]
    assert run("evaluate", *words) == 0
    found = json.loads((tmp_path / "model" / "evaluation" / "evaluation.json").read_text())
    assert found["map"] > 0.8 and found["step"] == 30 and found["clips"] == 32, found
    table = (tmp_path / "model" / "evaluation" / "evaluation_classes.csv").read_text().splitlines()
    assert table[1].startswith("0,,beeps,4,")
    assert run("predict", *words, "--output_file", tmp_path / "p.csv", "--top_k=1") == 0
    lines = (tmp_path / "p.csv").read_text().splitlines()[1:]
    right = [line.startswith(KINDS[int(line.split(",")[1].split(" ")[0])] + "/") for line in lines]
    assert np.mean(right) == pytest.approx(found["hit_at_1"])
    # Resumed inside the second phase, with block5's optimizer.
    assert run(*train, *head, "--finetune_steps=6", "--finetune_learning_rate=1e-4") == 0
    assert "resuming after step 30" in capsys.readouterr().out


def test_clips_come_from_the_merged_manifest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number, (status, labels) in enumerate([("ok", "/m/a"), ("ok", "/m/b,/m/c"), ("failed", "/m/a")]):
        name = f"data/eval_segments/audio/{number:011d}_0_2000.flac"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if status == "ok":
            soundfile.write(tmp_path / name, sound("low", rng), SAMPLE_RATE)
        rows.append(
            dict.fromkeys(COLUMNS)
            | {
                "subset": "eval_segments",
                "ytid": f"{number:011d}",
                "start_seconds": 0.0,
                "end_seconds": 2.0,
                "labels": labels,
                "status": status,
                "audio_path": name if status == "ok" else "",
                "tar": "",
            }
        )
    pd.DataFrame(rows).to_parquet(tmp_path / "manifest.parquet")
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/a,"A"\n1,/m/b,"B"\n2,/m/c,"C"\n3,/m/d,"D"\n'
    )
    labelled = labelled_sounds(tmp_path, ("eval_segments",), "train", ())
    assert labelled.labels().tolist() == [[True, False, False, False], [False, True, True, False]]
    with pytest.raises(InputRefused, match="no clip with status ok"):
        labelled_sounds(tmp_path, ("balanced_train_segments",), "train", ())


def test_equal_names_in_class_folders_are_different_clips(tmp_path: Path) -> None:
    write_sounds(tmp_path / "train", 3, seed=1, kinds=("high", "low", "noise"))
    labelled = from_class_folders(tmp_path, "train")
    assert [clip.video_id for clip in labelled.clips] == [
        f"{kind}/{number:03d}.flac" for kind in ("high", "low", "noise") for number in range(3)
    ]
    assert labelled.labels().sum(axis=1).tolist() == [1] * 9


def test_a_file_in_two_folders_has_two_labels_and_foreign_classes_are_refused(tmp_path: Path) -> None:
    write_sounds(tmp_path / "train", 2, seed=1, kinds=("high", "low"))
    (tmp_path / "train" / "low" / "copy.flac").write_bytes((tmp_path / "train" / "high" / "001.flac").read_bytes())
    (tmp_path / "train" / "high" / "copy.flac").write_bytes((tmp_path / "train" / "high" / "001.flac").read_bytes())
    (tmp_path / "train" / "high" / "link.flac").symlink_to("000.flac")
    (tmp_path / "train" / "low" / "link.flac").symlink_to("../high/000.flac")
    (tmp_path / "train" / "high" / "cover.jpg").touch()
    passed_over: list[Path] = []
    labelled = from_class_folders(tmp_path, "train", passed_over=passed_over)
    assert labelled.class_names == ("high", "low")
    labels = dict(zip([clip.video_id for clip in labelled.clips], labelled.labels().tolist(), strict=True))
    assert labels == {
        "high/000.flac": [True, False],
        "high/001.flac": [True, False],
        "high/copy.flac": [True, True],
        "high/link.flac": [True, True],
        "low/000.flac": [False, True],
        "low/001.flac": [False, True],
    }
    assert [path.name for path in passed_over] == ["cover.jpg"]
    with pytest.raises(InputRefused, match="no such class"):
        from_class_folders(tmp_path, "train", ("high", "siren"))
    with pytest.raises(UsageError, match="expected a merged manifest"):
        labelled_sounds(tmp_path, None, "eval", ())


def test_images_are_made_anew_of_other_sounds_under_the_same_names(tmp_path: Path) -> None:
    write_sounds(tmp_path / "train", 1, seed=1, kinds=("high",))
    labelled = from_class_folders(tmp_path, "train")
    first = ImageExamples(labelled, options(), tmp_path / "images", lambda line: None).inputs(np.array([0]))["image"]
    write_sounds(tmp_path / "train", 1, seed=2, kinds=("high",))
    other = ImageExamples(labelled, options(), tmp_path / "images", lambda line: None).inputs(np.array([0]))["image"]
    assert not np.array_equal(first, other)
