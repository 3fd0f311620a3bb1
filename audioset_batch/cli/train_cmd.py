"""`audioset-batch train`, `evaluate` and `predict`: flags as in the YouTube-8M starter code, dashes allowed too."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioset_batch.cli.argument_types import positive, subset_list
from audioset_batch.learn.training.options import (
    MODELS,
    VGG16,
    ModelOptions,
    TrainOptions,
    default_model_options,
    default_train_options,
)

if TYPE_CHECKING:
    from audioset_batch.learn.training.data import DataOptions

_KINDS = {"int": int, "int | None": int, "float": float, "str": str}


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
    _add_fields(parser.add_argument_group("model"), ModelOptions)
    _add_fields(parser.add_argument_group("training"), TrainOptions)
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


def _add_fields(parser: Any, kind: type[ModelOptions] | type[TrainOptions]) -> None:
    """A flag for each field that has a help text; None where it is not given, as the default depends on the model."""
    for field in dataclasses.fields(kind):
        text = field.metadata["text"]
        if text and field.type == "bool":
            _add_boolean(parser, field.name, text)
        elif text:
            _add(parser, field.name, _KINDS[str(field.type)], text)


def _given(args: argparse.Namespace, kind: type[ModelOptions] | type[TrainOptions]) -> dict[str, Any]:
    values = {field.name: getattr(args, field.name, None) for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if value is not None}


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

    _choose_device(args.num_gpu)
    if args.segment_labels:
        raise UsageError("--segment_labels: AudioSet labels whole clips; leave the flag out")
    model, options = _options(args)
    from audioset_batch.learn.signals import stop_on_signal
    from audioset_batch.learn.training.runs import TrainRun, train
    from audioset_batch.slurm.job import requeue_or_tell

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
        with stop_on_signal() as stop:
            state = train(run, model, options, stop, _say)
    except Interrupted:
        if stop.is_preemption:
            requeue_or_tell()
        raise
    best = "" if state.best_map is None else f", best mAP {state.best_map:.4f} after step {state.best_step}"
    print(f"done: {state.step:,} steps in {state.seconds:,.0f} s{best}; {train_dir}")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluate and print the summary."""
    _choose_device(args.num_gpu)
    from audioset_batch.learn.training.runs import evaluate

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
    _choose_device(args.num_gpu)
    from audioset_batch.learn.training.runs import predict

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
    from audioset_batch.learn.training.sources import number_of_classes

    changes = _given(args, ModelOptions)
    name = changes.pop("model", MODELS[0])
    options = default_train_options(name, **_given(args, TrainOptions))
    model = default_model_options(name, **changes)
    if name != VGG16 and "num_classes" not in changes and args.train_data_pattern:
        model = dataclasses.replace(model, num_classes=number_of_classes(args.train_data_pattern))
    return model, options


def _data(
    args: argparse.Namespace,
    pattern: str,
    subsets: tuple[str, ...] | None = None,
    split: str = "",
    class_labels_csv: Path | None = None,
) -> DataOptions:
    from audioset_batch.learn.training.data import DataOptions

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
