"""`audioset-batch train`, `evaluate` and `predict`: flags as in the YouTube-8M starter code, dashes allowed too."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioset_batch.cli.argument_types import positive, subset_list

if TYPE_CHECKING:
    from audioset_batch.learn.training.options import ModelOptions, TrainOptions
    from audioset_batch.learn.training.runs import DataOptions

_MODEL_NAMES = (
    "LogisticModel, MoeModel, FrameLevelLogisticModel, DbofModel, LstmModel, DecisionLevelAttentionModel, "
    "FeatureLevelAttentionModel, vgg16"
)

_MODEL_FLAGS: tuple[tuple[str, Any, str], ...] = (
    ("num_classes", int, "number of classes (default: that of the packed features, else 527)"),
    ("max_frames", int, "rows per clip (10)"),
    ("feature_names", str, "audio_embedding (the only feature of AudioSet)"),
    ("feature_sizes", int, "128 (the only size in AudioSet)"),
    ("label_loss", str, "CrossEntropyLoss, HingeLoss, SoftmaxLoss or BinaryCrossentropy (mean over classes)"),
    ("dequantization", str, "youtube8m or centered (default: the model's own)"),
    ("moe_num_mixtures", int, "experts per class (2)"),
    ("iterations", int, "DbofModel: rows sampled per clip (30)"),
    ("dbof_cluster_size", int, "(8192)"),
    ("dbof_hidden_size", int, "(1024)"),
    ("dbof_pooling_method", str, "max or average (max)"),
    ("dbof_activation", str, "sigmoid, relu, relu6 or tanh (sigmoid)"),
    ("dbof_batch_norm_decay", float, "(0.999; lower it for runs of less than a few thousand steps)"),
    (
        "video_level_classifier_model",
        str,
        "classifier after DbofModel and LstmModel: MoeModel or LogisticModel (MoeModel)",
    ),
    ("lstm_cells", int, "(1024)"),
    ("lstm_layers", int, "(2)"),
    ("attention_units", int, "width of the attention models (1024)"),
    ("attention_layers", int, "hidden layers of the attention models (3)"),
    ("dropout", float, "dropout of the attention models (0.5)"),
    ("image_size", int, "vgg16: side of the image in pixels (224, at least 32)"),
    ("clip_seconds", float, "vgg16: seconds of sound per image (10)"),
    ("log_mel_low", float, "vgg16: log-mel value that is black (-4.605)"),
    ("log_mel_high", float, "vgg16: log-mel value that is white (5)"),
)
_MODEL_BOOLEANS = (
    ("frame_features", "give the model single rows (default: as the model needs)"),
    ("l2_normalize", "scale rows or their mean to norm 1 (default: the model's own)"),
    ("dbof_add_batch_norm", "(true)"),
    ("sample_random_frames", "DbofModel: sample rows at random instead of consecutive rows (true)"),
)
_TRAIN_FLAGS: tuple[tuple[str, Any, str], ...] = (
    ("batch_size", int, "clips per step (1024; attention 500; vgg16 32)"),
    ("base_learning_rate", float, "(0.01; attention and vgg16 0.001)"),
    ("learning_rate_decay", float, "factor per learning_rate_decay_examples (0.95; attention and vgg16 1)"),
    ("learning_rate_decay_examples", int, "(4000000)"),
    ("optimizer", str, "AdamOptimizer, AMSGrad, GradientDescentOptimizer, AdagradOptimizer, RMSPropOptimizer"),
    ("clip_gradient_norm", float, "gradient clipping per variable; 0: none (1; attention and vgg16 0)"),
    ("regularization_penalty", float, "factor of the model's L2 terms (1)"),
    ("num_epochs", int, "(5; vgg16 10; attention by max_steps)"),
    ("max_steps", int, "(attention 50000, else by num_epochs)"),
    ("export_model_steps", int, "steps between checkpoints (1000; vgg16 200)"),
    ("log_steps", int, "steps between rows of train_log.csv (10)"),
    ("eval_steps", int, "steps between validations (1000; vgg16 200)"),
    ("early_stopping", int, "stop after this many validations without a better mAP; 0: never (0)"),
    ("balanced_sampling", str, "none, panns (classes in turn) or ast (weighted) (none; attention panns)"),
    ("mixup", str, "none, panns or ast (none)"),
    ("seed", int, "(0)"),
    ("keep_checkpoints", int, "number of checkpoints to keep (2)"),
    ("finetune_steps", int, "vgg16: further steps that also train block5 (0)"),
    ("finetune_learning_rate", float, "vgg16: learning rate of these steps (1e-5)"),
)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    _register_train(commands)
    _register_evaluate(commands)
    _register_predict(commands)


def _register_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train a classifier on embeddings, or VGG16 on sounds",
        description="Train a classifier. Run it again with the same flags to continue after the last checkpoint. "
        "TERM, USR1 or Ctrl-C saves and exits with status 75; under SLURM, TERM and USR1 requeue the job. The "
        "flags are those of the YouTube-8M starter code; --train-dir works like --train_dir. See "
        "docs/training.md.",
    )
    _add(parser, "model", str, f"{_MODEL_NAMES} (LogisticModel)", default="LogisticModel")
    _add(parser, "train_dir", Path, "folder for checkpoints, logs and model_flags.json", required=True)
    _add(parser, "train_subdir", str, "folder below train_dir to use instead, e.g. one per task of a job array")
    _add(parser, "train_data_pattern", str, "embeddings: packed files or folders, TFRecord globs; comma-separated")
    _add(parser, "validation_data_pattern", str, "embeddings for validation during training")
    _add(parser, "holdout", float, "share of the training clips to use for validation (0)", default=0.0)
    _add_sounds(parser, "train")
    _add(parser, "validation_subsets", subset_list, "vgg16: validate on these subsets of the manifest")
    _add(parser, "validation_split", str, "vgg16: validate on DATADIR/SPLIT/<class>/*")
    _add(parser, "weights", Path, "vgg16: weights without top (.h5); never downloaded (default: random)")
    _add_boolean(parser, "start_new_model", "discard the model in train_dir", default=False)
    _add_boolean(parser, "tensorboard", "also write an event file for TensorBoard", default=False)
    _add_reading(parser)
    _add(parser, "num_gpu", int, "0: use the CPU; 1: the first GPU if there is one (1)", default=1)
    _add(parser, "num_readers", int, "no effect: data is read once, into memory")
    _add_boolean(parser, "segment_labels", "refused: AudioSet has no labels per second", default=False)
    model, training = parser.add_argument_group("model"), parser.add_argument_group("training")
    for name, kind, text in _MODEL_FLAGS:
        _add(model, name, kind, text)
    for name, text in _MODEL_BOOLEANS:
        _add_boolean(model, name, text)
    for name, kind, text in _TRAIN_FLAGS:
        _add(training, name, kind, text)
    parser.set_defaults(run=run_train)


def _register_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="compute mAP, AUC, d' and the YouTube-8M metrics of a trained model",
        description="Evaluate a trained model. Writes evaluation.json, evaluation_classes.csv, evaluation_ap.png "
        "and .svg.",
    )
    _add(parser, "train_dir", Path, "output folder of `train`", required=True)
    _add(parser, "eval_data_pattern", str, "embeddings with labels, like --train_data_pattern of `train`")
    _add_sounds(parser, "eval")
    _add(parser, "output_dir", Path, "folder for the results (default: TRAIN_DIR/evaluation)")
    _add(parser, "holdout", float, "only this share of the clips, as held out by `train --holdout` (0)", default=0.0)
    _add(parser, "class_labels_csv", Path, "class_labels_indices.csv, for the names of the classes")
    _add_common(parser, batch_size=1024)
    _add_boolean(parser, "run_once", "no effect: an evaluation always runs once", default=True)
    parser.set_defaults(run=run_evaluate)


def _register_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="write the top classes of every clip as CSV",
        description="Write a CSV with VideoId,LabelConfidencePairs: `index score` pairs by descending score.",
    )
    _add(parser, "train_dir", Path, "output folder of `train`", required=True)
    _add(parser, "input_data_pattern", str, "embeddings, like --train_data_pattern of `train`")
    _add_sounds(parser, "eval")
    _add(parser, "output_file", Path, "path of the CSV", required=True)
    _add_common(parser, batch_size=512)
    parser.set_defaults(run=run_predict)


def _add_common(parser: argparse.ArgumentParser, batch_size: int) -> None:
    _add(parser, "checkpoint", str, "best (by validation; the latest if there was none), latest, or a file", "best")
    _add(parser, "top_k", positive, "classes per clip (20)", 20)
    _add(parser, "batch_size", positive, f"clips at a time ({batch_size})", batch_size)
    _add(parser, "num_gpu", int, "0: use the CPU (1)", 1)
    _add_reading(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    _add_boolean(parser, "mmap", "leave packed .npy embeddings on disk", default=False)
    _add_boolean(parser, "skip_bad", "report damaged TFRecords and continue (default: stop)", default=False)


def _add_sounds(parser: argparse.ArgumentParser, split: str) -> None:
    _add(parser, "data_dir", Path, "vgg16: DATADIR, merged or with folders SPLIT/<class>/<sounds>")
    _add(parser, "subsets", subset_list, "vgg16: subsets of the merged manifest (default: all)")
    _add(parser, "split", str, f"vgg16: folder of the classes' folders ({split})", split)


def _add(parser: Any, name: str, kind: Any, text: str, default: Any = None, required: bool = False) -> None:
    parser.add_argument(
        *_spellings(name), dest=name, type=kind, default=default, required=required, metavar="X", help=text
    )


def _add_boolean(parser: Any, name: str, text: str, default: bool | None = None) -> None:
    parser.add_argument(
        *_spellings(name),
        dest=name,
        type=_boolean,
        nargs="?",
        const=True,
        default=default,
        metavar="true|false",
        help=text,
    )


def _spellings(name: str) -> tuple[str, ...]:
    dashes = name.replace("_", "-")
    return (f"--{name}",) if dashes == name else (f"--{name}", f"--{dashes}")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() in ("true", "1", "yes")


def run_train(args: argparse.Namespace) -> int:
    """Train; requeue the SLURM job if it was interrupted."""
    from audioset_batch.errors import Interrupted, UsageError
    from audioset_batch.learn.training.runs import TrainRun, train
    from audioset_batch.learn.training.signals import stop_request
    from audioset_batch.slurm.job import requeue_or_tell

    _choose_device(args.num_gpu)
    if args.segment_labels:
        raise UsageError("--segment_labels: AudioSet labels whole clips; leave the flag out")
    model, options = _options(args)
    validation: DataOptions | None = None
    if args.validation_data_pattern:
        validation = _data(args, args.validation_data_pattern)
    elif args.validation_subsets or args.validation_split:
        validation = _data(args, "", args.validation_subsets, args.validation_split or args.split)
    train_dir = args.train_dir / args.train_subdir if args.train_subdir else args.train_dir
    run = TrainRun(
        train_dir=train_dir,
        data=_data(args, args.train_data_pattern or ""),
        validation=validation,
        holdout=args.holdout,
        start_new_model=_start_new(args.start_new_model),
        tensorboard=args.tensorboard,
        weights=args.weights,
    )
    try:
        with stop_request() as stop:
            progress = train(run, model, options, stop, _say)
    except Interrupted:
        if stop.signal_name != "SIGINT":  # Ctrl-C is no preemption
            requeue_or_tell()
        raise
    best = "" if progress.best_map is None else f", best mAP {progress.best_map:.4f} after step {progress.best_step}"
    print(f"done: {progress.step:,} steps in {progress.seconds:,.0f} s{best}; {train_dir}")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluate and print the summary."""
    from audioset_batch.learn.training.runs import evaluate

    _choose_device(args.num_gpu)
    output = args.output_dir or args.train_dir / "evaluation"
    result = evaluate(
        args.train_dir,
        _data(args, args.eval_data_pattern or "", class_labels_csv=args.class_labels_csv),
        output,
        checkpoint=args.checkpoint,
        top_k=args.top_k,
        batch_size=args.batch_size,
        holdout=args.holdout,
        notify=_say,
    )
    for name, value in result.summary().items():
        print(f"{name:<26} {value:.6f}" if isinstance(value, float) else f"{name:<26} {value}")
    print(f"written: {output}")
    return 0


def run_predict(args: argparse.Namespace) -> int:
    """Write the predictions."""
    from audioset_batch.learn.training.runs import predict

    _choose_device(args.num_gpu)
    count = predict(
        args.train_dir,
        _data(args, args.input_data_pattern or ""),
        args.output_file,
        checkpoint=args.checkpoint,
        top_k=args.top_k,
        batch_size=args.batch_size,
        notify=_say,
    )
    print(f"written: {args.output_file}, {count:,} clips")
    return 0


def _options(args: argparse.Namespace) -> tuple[ModelOptions, TrainOptions]:
    """The model's defaults with what the flags override."""
    from dataclasses import replace

    from audioset_batch.learn.training.options import VGG16, default_model_options, default_train_options
    from audioset_batch.learn.training.sources import number_of_classes

    given = {name: getattr(args, name) for name, *_ in (*_MODEL_FLAGS, *_MODEL_BOOLEANS)}
    model_changes = {name: value for name, value in given.items() if value is not None}
    if args.model != VGG16 and "num_classes" not in model_changes and args.train_data_pattern:
        model_changes["num_classes"] = number_of_classes(args.train_data_pattern)
    train_changes = {name: value for name, *_ in _TRAIN_FLAGS if (value := getattr(args, name)) is not None}
    # A limit on epochs would otherwise do nothing where the default is a number of steps.
    options = default_train_options(args.model)
    if "num_epochs" in train_changes and "max_steps" not in train_changes:
        options = replace(options, max_steps=None)
    return replace(default_model_options(args.model), **model_changes), replace(options, **train_changes)


def _data(
    args: argparse.Namespace,
    pattern: str,
    subsets: tuple[str, ...] | None = None,
    split: str = "",
    class_labels_csv: Path | None = None,
) -> DataOptions:
    from audioset_batch.learn.training.runs import DataOptions

    return DataOptions(
        pattern=pattern,
        data_dir=args.data_dir,
        subsets=subsets or args.subsets,
        split=split or args.split,
        mmap=args.mmap,
        skip_bad=args.skip_bad,
        class_labels_csv=class_labels_csv,
    )


def _choose_device(num_gpu: int) -> None:
    """Backends read these when they are imported, which is later."""
    from audioset_batch.errors import UsageError

    if num_gpu not in (0, 1):
        raise UsageError(f"--num_gpu {num_gpu}: expected 0 or 1; one GPU is more than these models need")
    if num_gpu == 0:
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _start_new(wanted: bool) -> bool:
    """A requeued job carries on with the model that its first run began."""
    return wanted and not int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def _say(line: str) -> None:
    print(line, flush=True)
