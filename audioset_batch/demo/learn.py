"""`audioset-batch demo --learn`: made-up sounds of eight kinds -> VGGish embeddings -> a classifier -> a page.

The weights of VGGish are random, because the released ones cannot be downloaded everywhere; the sounds are so different
that even a random network tells them apart. The demo shows that each step from a CSV to an evaluated classifier works,
not how good the classifier is.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from audioset_batch.demo.learn_report import LearnedClip, Material, write_report
from audioset_batch.demo.lists import MadeUpSegment
from audioset_batch.demo.stage import download_clips, empty_folder, run_command, slurm_answers, without_proxies
from audioset_batch.layout import DataDir
from audioset_batch.merge import MergeResult
from audioset_batch.standin import Catalog
from audioset_batch.standin.sounds import sound_name

CLASSES: Final = {
    "beep": ("/m/02fs_r", "Beep, bleep"),
    "chirp": ("/m/0hdsk", "Chirp tone"),
    "hum": ("/m/07rcgpl", "Hum"),
    "noise": ("/m/0chx_", "White noise"),
    "rumble": ("/m/07phhsh", "Rumble"),
    "siren": ("/m/03kmc9", "Siren"),
    "tick": ("/m/07qjznt", "Tick"),
    "whistle": ("/m/0l156k", "Whistle"),
}
"""Kind of sound -> (MID, name) of the AudioSet class that it represents."""

CLIPS: Final = {"eval_segments": 48, "balanced_train_segments": 112}
REPORT: Final = "learn-report.html"
_SEED: Final = 0
_CLIP_SECONDS: Final = 4
_VIDEO_SECONDS: Final = 14.0
_UNAVAILABLE: Final = 0.05
_TRAINING: Final = (
    *("--model=FrameLevelLogisticModel", f"--num_classes={len(CLASSES)}", "--holdout=0.15", "--num_gpu=0"),
    *("--batch_size=64", "--base_learning_rate=0.05", "--num_epochs=1000", "--max_steps=150"),
    *("--eval_steps=10", "--log_steps=5"),
)


@dataclass(frozen=True, slots=True)
class LearningResult:
    """The result of the learning demo.

    Attributes:
        report: Path of the page.
        merged: The result of merge.
        evaluation: The content of `evaluation.json`.
        chance: The mAP of a random ranking.
        seconds: Duration of each step, in order.
    """

    report: Path
    merged: MergeResult
    evaluation: Mapping[str, Any]
    chance: float
    seconds: Mapping[str, float]

    @property
    def learned(self) -> bool:
        """True if the mAP is far above chance, as these sounds make it easy to be."""
        return bool(self.evaluation["map"] > min(2 * self.chance, 0.9))


def run_learning_demo(
    folder: Path,
    config_file: Path,
    say: Callable[[str], None],
    *,
    slurm: bool | None = None,
    clips: Mapping[str, int] = CLIPS,
) -> LearningResult:
    """Run everything in `folder`, which is emptied first if an earlier demo made it.

    Args:
        folder: Made if needed.
        config_file: `configs/demo.yaml`, or one of your own; `video.mode` is overridden with `none`.
        say: Called with one line per step.
        slurm: Whether to download through SLURM; None uses it if it answers.
        clips: Number of segments of each subset.

    Raises:
        UsageError: the folder is not empty and no earlier demo made it, or Keras is not installed.
        InputRefused: a step failed; the message contains its output.
    """
    from audioset_batch.learn.vggish.backend import import_keras

    empty_folder(folder)
    import_keras()  # fails now, not after the download, if it is not installed
    clock = _Clock(say)
    subsets = _segments(clips)
    data = DataDir(folder / "data")
    total = sum(clips.values())
    clock.begin("download", f"{total} made-up clips of {_CLIP_SECONDS} s, {len(CLASSES)} kinds of sounds")
    merged = _clips(folder, config_file, subsets, slurm)
    # Everything is on the CPU, so that all machines do the same; no step needs the network.
    env = without_proxies() | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    embeddings, run = data.root / "embeddings", folder / "model"
    clock.begin("embed", f"VGGish with RANDOM weights (seed {_SEED}): the network is untrained")
    run_command(["embed", str(data.root), "--random-weights", str(_SEED)], env)
    clock.begin("train", "a classifier on the embeddings of balanced_train, part of them held out")
    train = ["train", f"--train_data_pattern={embeddings / 'bal_train'}", f"--train_dir={run}", *_TRAINING]
    run_command(train, env)
    clock.begin("evaluate", "on eval, which training has not seen")
    names = f"--class_labels_csv={data.class_labels_csv}"
    pattern = f"eval_data_pattern={embeddings / 'eval'}"
    run_command(["evaluate", f"--train_dir={run}", f"--{pattern}", names, "--num_gpu=0"], env)
    predictions = folder / "predictions.csv"
    pattern = f"input_data_pattern={embeddings / 'eval'}"
    run_command(
        ["predict", f"--train_dir={run}", f"--{pattern}", f"--output_file={predictions}", "--top_k=2", "--num_gpu=0"],
        env,
    )
    clock.end()
    evaluation = json.loads((run / "evaluation" / "evaluation.json").read_text())
    labels = _labels_of(subsets["eval_segments"], predictions)
    chance = chance_level([clip.labels for clip in labels], [name for _, name in CLASSES.values()])
    material = Material(
        evaluation=evaluation,
        evaluation_dir=run / "evaluation",
        train_dir=run,
        embedding=json.loads(next(embeddings.glob("embed.*.json")).read_text()),
        summary=merged.summary,
        chance=chance,
        clips=labels,
        seconds=clock.seconds,
        training=train[2:],
    )
    write_report(folder / REPORT, material)
    return LearningResult(folder / REPORT, merged, evaluation, chance, clock.seconds)


def chance_level(labels: list[tuple[str, ...]], names: list[str]) -> float:
    """The mAP of a random ranking: the share of clips that have a label, averaged over the labels in use."""
    shares = [np.mean([name in clip for clip in labels]) for name in names]
    return float(np.mean([share for share in shares if share > 0]))


def _segments(clips: Mapping[str, int]) -> dict[str, list[tuple[MadeUpSegment, str]]]:
    """Rows with their sounds. The classes take turns; about every third clip has a second one."""
    rng = np.random.default_rng(_SEED)
    kinds = list(CLASSES)
    subsets: dict[str, list[tuple[MadeUpSegment, str]]] = {}
    number = 0
    for subset, count in clips.items():
        rows = subsets[subset] = []
        for _ in range(count):
            chosen = [kinds[number % len(kinds)]]
            if rng.random() < 1 / 3:
                chosen.append(str(rng.choice([kind for kind in kinds if kind != chosen[0]])))
            start = int(rng.integers(0, int(_VIDEO_SECONDS) - _CLIP_SECONDS))
            ytid = f"{'-' if number % 12 == 0 else 'l'}earn{number:05d}_"
            row = MadeUpSegment(ytid, start, start + _CLIP_SECONDS, tuple(CLASSES[kind][0] for kind in chosen))
            rows.append((row, sound_name(tuple(chosen), number)))
            number += 1
    return subsets


def _clips(
    folder: Path, config_file: Path, subsets: Mapping[str, list[tuple[MadeUpSegment, str]]], slurm: bool | None
) -> MergeResult:
    """Download and merge."""
    sounds = {row.ytid: sound for rows in subsets.values() for row, sound in rows}
    catalog = Catalog.from_ids(
        list(sounds), seed=_SEED, unavailable_share=_UNAVAILABLE, seconds=(_VIDEO_SECONDS,), itags=(251,)
    )
    for ytid, sound in sounds.items():
        catalog.put(dataclasses.replace(catalog.get(ytid), sound=sound, channels=1, bit_rate=64_000))
    return download_clips(
        folder,
        config_file,
        catalog,
        list(CLASSES.values()),
        {subset: [row for row, _ in rows] for subset, rows in subsets.items()},
        slurm=slurm_answers() if slurm is None else slurm,
        changes={"video": {"mode": "none"}},
        say=lambda line: None,
    )


def _labels_of(rows: list[tuple[MadeUpSegment, str]], predictions: Path) -> list[LearnedClip]:
    """The predicted clips with the names of their labels and of their best classes."""
    names = [name for _, name in CLASSES.values()]
    by_mid = dict(CLASSES.values())
    labels = {row.ytid: tuple(by_mid[mid] for mid in row.labels) for row, _ in rows}
    found = []
    for line in predictions.read_text().splitlines()[1:]:
        ytid, _, pairs = line.partition(",")
        words = pairs.split()
        best = [(names[int(index)], float(score)) for index, score in zip(words[::2], words[1::2], strict=True)]
        found.append(LearnedClip(ytid, labels[ytid], tuple(best)))
    return found


class _Clock:
    """Announces each step and measures how long it takes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._say = say
        self._step = ""
        self._begun = 0.0

    def begin(self, step: str, text: str) -> None:
        self.end()
        self._say(f"{len(self.seconds) + 1}. {step}: {text}")
        self._step, self._begun = step, time.monotonic()

    def end(self) -> None:
        if self._step:
            self.seconds[self._step] = time.monotonic() - self._begun
        self._step = ""
