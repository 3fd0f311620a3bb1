# ruff: noqa: T201
"""How near every model comes to the Bayes-optimal mAP on synthetic features, and what it costs.

    PYTHONPATH=. python benchmarks/training_curves.py [--scale small|full] [--models A,B] [--json FILE]

`small` runs on two cores, with narrower networks and 100 classes; `full` takes the published widths and 527
classes, and wants a GPU. Training and evaluation clips come from one distribution with AudioSet's long tail of class
frequencies; the optimum is the mAP of the exact posterior on the evaluation clips, ties broken at random.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from audioset_batch.learn.training.examples import EmbeddingExamples
from audioset_batch.learn.training.metrics import class_metrics
from audioset_batch.learn.training.models import build_model
from audioset_batch.learn.training.options import (
    ATTENTION,
    FRAME_LEVEL,
    VIDEO_LEVEL,
    default_model_options,
    default_train_options,
)
from audioset_batch.learn.training.sampling import BatchSource, make_sampler
from tests.support.synthetic_features import SyntheticFeatures

EMBEDDING_MODELS = (*VIDEO_LEVEL, *FRAME_LEVEL, *ATTENTION)


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of data and networks, and per model the steps and the learning rate."""

    classes: int
    train_clips: int
    eval_clips: int
    model: dict[str, Any]
    training: dict[str, Any]
    runs: dict[str, tuple[int, float]]


SCALES = {
    "small": Scale(
        classes=100,
        train_clips=60_000,
        eval_clips=6_000,
        model={
            "dbof_cluster_size": 512,
            "dbof_hidden_size": 256,
            "dbof_batch_norm_decay": 0.98,
            "lstm_cells": 128,
            "lstm_layers": 2,
            "attention_units": 256,
        },
        training={"batch_size": 256},
        runs={
            "LogisticModel": (6000, 0.05),
            "MoeModel": (4000, 0.02),
            "FrameLevelLogisticModel": (6000, 0.05),
            "DbofModel": (800, 0.003),
            "LstmModel": (1500, 0.003),
            "DecisionLevelAttentionModel": (1500, 0.003),
            "FeatureLevelAttentionModel": (1500, 0.003),
        },
    ),
    "full": Scale(
        classes=527,
        train_clips=500_000,
        eval_clips=20_000,
        model={},
        training={},
        runs=dict.fromkeys(VIDEO_LEVEL, (10_000, 0.01))
        | dict.fromkeys(FRAME_LEVEL, (10_000, 0.01))
        | {"DbofModel": (5_000, 0.001), "LstmModel": (5_000, 0.001)}
        | dict.fromkeys(ATTENTION, (10_000, 0.001)),
    ),
}


def main() -> None:
    """Train one model after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--models", default=",".join(EMBEDDING_MODELS))
    parser.add_argument("--separation", type=float, default=8.0, help="distance of the scenes; noise is 40")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    scale = SCALES[args.scale]
    world = SyntheticFeatures(classes=scale.classes, seed=0, separation=args.separation)
    train, evaluation = world.sample(scale.train_clips, seed=1), world.sample(scale.eval_clips, seed=2)
    scores = world.bayes_scores(evaluation)
    scores += np.random.default_rng(0).random(scores.shape) * 1e-9
    optimum = class_metrics(evaluation.labels, scores).mean_ap
    print(f"{scale.classes} classes, {scale.train_clips:,} clips, optimum {optimum:.4f}; settings {scale}")
    print("| model | parameters | steps | clips/step | seconds | clips/s | mAP | optimum | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    figures = []
    for name in args.models.split(","):
        figures.append(row := curve(name, scale, train, evaluation) | {"optimum": optimum})
        print(
            f"| {name} | {row['parameters']:,} | {row['steps']} | {row['batch_size']} | {row['seconds']:.0f} "
            f"| {row['clips_per_second']:,.0f} | {row['map']:.4f} | {optimum:.4f} | {row['map'] / optimum:.3f} |",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({"scale": asdict(scale), "runs": figures}, indent=1) + "\n")


def curve(name: str, scale: Scale, train: Any, evaluation: Any) -> dict[str, Any]:
    """Train one model: mAP after the last step (nothing is chosen by it), size and speed."""
    from audioset_batch.learn.training.loop import Phase, Trainer

    options = replace(default_model_options(name), num_classes=scale.classes, **scale.model)
    steps, rate = scale.runs[name]
    settings = replace(default_train_options(name), max_steps=steps, eval_steps=max(1, steps // 4), **scale.training)
    model = build_model(options, settings.regularization_penalty, settings.seed)
    examples = EmbeddingExamples([train], options)
    sampler = make_sampler(settings.balanced_sampling, examples.labels, settings.seed)
    source = BatchSource(examples, sampler, settings.batch_size, settings.mixup, settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        progress = Trainer(
            model,
            options.label_loss,
            source,
            replace(settings, export_model_steps=steps),
            [Phase(steps, rate)],
            Path(folder),
            validation=EmbeddingExamples([evaluation], options),
        ).run()
        log = (Path(folder) / "validation_log.csv").read_text().splitlines()[1:]
    curve_points = [[float(value) for value in line.split(",")[:2]] for line in log]
    return {
        "model": name,
        "parameters": model.count_params(),
        "steps": progress.step,
        "batch_size": settings.batch_size,
        "seconds": progress.seconds,
        "clips_per_second": progress.step * settings.batch_size / progress.seconds,
        "map": curve_points[-1][1],
        "curve": curve_points,
        "finished": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
