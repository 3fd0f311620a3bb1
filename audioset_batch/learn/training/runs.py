"""The three commands: train a model in a folder, evaluate it, write its predictions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from audioset_batch.errors import Interrupted, UsageError
from audioset_batch.learn.features.tfrecord import Damage, raise_damage
from audioset_batch.learn.training.checkpoint import BEST, FOLDER, Progress, chosen_checkpoint, load_checkpoint
from audioset_batch.learn.training.evaluation import (
    ClassName,
    Evaluation,
    judge,
    numbered_names,
    read_class_names,
    write_evaluation,
)
from audioset_batch.learn.training.examples import EmbeddingExamples, Examples, Subset, held_out
from audioset_batch.learn.training.files import make_folder
from audioset_batch.learn.training.logs import TRAIN_LOG, VALIDATION_LOG
from audioset_batch.learn.training.model_flags import FLAGS_NAME, check_or_write_flags, read_flags
from audioset_batch.learn.training.models import build_model
from audioset_batch.learn.training.options import VGG16, ModelOptions, TrainOptions
from audioset_batch.learn.training.prediction import write_predictions
from audioset_batch.learn.training.run_record import (
    RECORD_NAME,
    check_or_write_record,
    file_fingerprint,
    fingerprint,
    read_record,
)
from audioset_batch.learn.training.sampling import BatchSource, make_sampler
from audioset_batch.learn.training.signals import StopRequest
from audioset_batch.learn.vggish.store import hold_output

_NAMED_CLASSES: Final = 10
_NAMED_FILES: Final = 5
_FEW_STEPS: Final = 500

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Which clips.

    Attributes:
        pattern: Embeddings, as `sources.expand_pattern` takes it; empty for vgg16.
        data_dir: DATADIR of vgg16's sounds.
        subsets: Of the merged manifest; None for all.
        split: Folder of the classes' folders, where there is no manifest.
        mmap: Leave packed embeddings on disk.
        class_labels_csv: Names of the classes, if wanted.
        skip_bad: Leave damaged TFRecords out, and say so, instead of stopping.
    """

    pattern: str = ""
    data_dir: Path | None = None
    subsets: tuple[str, ...] | None = None
    split: str = "train"
    mmap: bool = False
    class_labels_csv: Path | None = None
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class TrainRun:
    """What `train` does besides the two sets of options.

    Attributes:
        train_dir: Folder of the model.
        data: Training clips.
        validation: Validation clips; None for none, or the held-out ones.
        holdout: Share of the training clips kept for validation.
        start_new_model: Discard a model that is already in `train_dir`.
        tensorboard: Write an event file too.
        weights: vgg16's weights without top; None for random ones.
    """

    train_dir: Path
    data: DataOptions
    validation: DataOptions | None = None
    holdout: float = 0.0
    start_new_model: bool = False
    tensorboard: bool = False
    weights: Path | None = None


def train(
    run: TrainRun, model_options: ModelOptions, options: TrainOptions, stop: StopRequest, notify: Notify
) -> Progress:
    """Train, or go on with, the model in `run.train_dir`.

    Raises:
        UsageError: Flags do not fit together, or not the run that is there.
        InputRefused: Data cannot be used.
        Diverged: The loss or a weight is not finite.
        Interrupted: `stop` was set; everything is saved.
        ShardHeld: Another process is training in that folder.
    """
    from audioset_batch.learn.training.loop import Trainer

    _check_share(run.holdout)
    if run.weights is not None:
        _check_weights(model_options, run.weights)
    make_folder(run.train_dir)
    with hold_output(run.train_dir, "training"):
        if run.start_new_model:
            _discard(run.train_dir)
        model_options = _with_classes(run.data, model_options)
        check_or_write_flags(run.train_dir, model_options)
        examples = load_examples(run.data, model_options, run.train_dir, notify)
        facts = {
            "data": fingerprint(examples),
            "validation": None,
            "holdout": run.holdout,
            "weights": file_fingerprint(run.weights),
        }
        validation = None
        if run.validation is not None:
            validation = load_examples(run.validation, model_options, run.train_dir, notify)
            facts["validation"] = fingerprint(validation)
        if run.holdout:
            kept_back = held_out(examples, run.holdout)
            validation = validation or Subset(examples, np.flatnonzero(kept_back))
            examples = Subset(examples, np.flatnonzero(~kept_back))
        if not len(examples):
            raise UsageError("no clip is left to train on: lower --holdout")
        if options.early_stopping and validation is None:
            raise UsageError("early_stopping needs validation data: --validation_data_pattern, or --holdout")
        if validation is not None and not validation.labels.any():
            raise UsageError(
                f"none of the {len(validation):,} validation clips has a label, so there is no mAP to choose by: give "
                "other clips with --validation_data_pattern, or another --holdout"
            )
        check_or_write_record(run.train_dir, options, facts)
        model = build_model(model_options, options.regularization_penalty, options.seed)
        if run.weights is not None:
            _load_base(model, run.weights)
        sampler = make_sampler(options.balanced_sampling, examples.labels, options.seed)
        source = BatchSource(examples, sampler, options.batch_size, options.mixup, options.seed)
        phases = _phases(model_options, options, len(examples))
        _warn(examples, options, phases[-1].last_step, notify)
        if stop:
            raise Interrupted(f"{stop.signal_name} before the first step; the same command begins again")
        notify(
            f"{model_options.model}: {model.count_params():,} parameters, {len(examples):,} clips, "
            f"{phases[-1].last_step:,} steps of {options.batch_size}"
        )
        return Trainer(
            model,
            model_options.label_loss,
            source,
            options,
            phases,
            run.train_dir,
            validation=validation,
            tensorboard=run.tensorboard,
            stop=stop,
            notify=notify,
        ).run()


def _warn(examples: Examples, options: TrainOptions, steps: int, notify: Notify) -> None:
    """Say what most likely is not meant so."""
    unused = np.flatnonzero(~examples.labels.any(axis=0))
    if unused.size:
        named = ", ".join(map(str, unused[:_NAMED_CLASSES])) + (" ..." if unused.size > _NAMED_CLASSES else "")
        notify(
            f"warning: {unused.size} of {examples.labels.shape[1]} classes have no training clip ({named}), so their "
            "scores mean nothing; --num_classes says how many there are"
        )
    if options.max_steps is None and steps < _FEW_STEPS:
        notify(
            f"warning: only {steps} steps of {options.batch_size} clips: for few clips raise --num_epochs or lower "
            "--batch_size"
        )


def evaluate(
    train_dir: Path,
    data: DataOptions,
    output: Path,
    *,
    checkpoint: str = "best",
    top_k: int = 20,
    batch_size: int = 1024,
    holdout: float = 0.0,
    notify: Notify = lambda line: None,
) -> Evaluation:
    """Evaluate a model and write the results into `output`.

    Args:
        train_dir: The model's folder.
        data: Clips with labels.
        output: Folder of evaluation.json and the rest.
        checkpoint: `best`, `latest` or a file.
        top_k: Of GAP and `yt8m_map`.
        batch_size: Clips per prediction.
        holdout: Evaluate only that share of the clips, the one that `train` with the same value did not see.
        notify: Told about progress.

    Raises:
        UsageError: No such model.
        InputRefused: Data cannot be used.
    """
    _check_share(holdout)
    options, model, path, progress = load_model(train_dir, checkpoint)
    examples = load_examples(data, options, train_dir, notify)
    _check_holdout(train_dir, examples, holdout, notify)
    if holdout:
        examples = Subset(examples, np.flatnonzero(held_out(examples, holdout)))
        if not len(examples):
            raise UsageError(f"--holdout {holdout}: none of these clips is in that share")
    result = judge(examples.labels, _predict(model, examples, batch_size), top_k)
    about = {
        "model": options.model,
        "checkpoint": path.name,
        "step": progress.step,
        "train_dir": str(train_dir),
        "data": data.pattern or str(data.data_dir),
    }
    write_evaluation(output, result, _names(data, options), about)
    return result


def predict(
    train_dir: Path,
    data: DataOptions,
    output: Path,
    *,
    checkpoint: str = "best",
    top_k: int = 20,
    batch_size: int = 512,
    notify: Notify = lambda line: None,
) -> int:
    """Write the predictions of a model as CSV; returns the number of clips. Arguments as of `evaluate`."""
    options, model, _, _ = load_model(train_dir, checkpoint)
    examples = load_examples(data, options, train_dir, notify)
    write_predictions(output, examples.video_ids, _predict(model, examples, batch_size), top_k)
    return len(examples)


def load_model(train_dir: Path, checkpoint: str = "best") -> tuple[ModelOptions, Any, Path, Progress]:
    """Options, network with trained weights, the checkpoint's file, and how far it had been trained.

    Raises:
        UsageError: No such model or checkpoint.
        InputRefused: Damaged, or of another model.
    """
    options = read_flags(train_dir)
    path = chosen_checkpoint(train_dir, checkpoint)
    model = build_model(options)
    return options, model, path, load_checkpoint(path, model)


def load_examples(data: DataOptions, options: ModelOptions, train_dir: Path, notify: Notify) -> Examples:
    """The clips that `data` means, as the model of `options` takes them.

    Raises:
        UsageError: Options of the other kind of model.
        InputRefused: Data cannot be used.
    """
    if options.model == VGG16:
        from audioset_batch.learn.training.audio_clips import labelled_clips
        from audioset_batch.learn.training.image_cache import ImageExamples

        passed_over: list[Path] = []
        clips = labelled_clips(_data_dir(data), data.subsets, data.split, options.class_names, passed_over)
        if passed_over:
            named = ", ".join(map(str, passed_over[:_NAMED_FILES])) + (" ..." if passed_over[_NAMED_FILES:] else "")
            notify(f"passed over {len(passed_over):,} files whose names are not those of sounds: {named}")
        if clips.num_classes != options.num_classes:
            raise UsageError(f"the model has {options.num_classes} classes, {data.data_dir} has {clips.num_classes}")
        return ImageExamples(clips, options, train_dir / "images", notify)
    from audioset_batch.learn.training.sources import read_features

    if not data.pattern:
        raise UsageError(f"{options.model} needs embeddings: give a data pattern (TFRecords or packed features)")

    def skip(damage: Damage) -> None:
        notify(f"skipped: {damage}")

    features = read_features(
        data.pattern,
        options.num_classes,
        options.max_frames,
        mmap=data.mmap,
        on_bad=skip if data.skip_bad else raise_damage,
    )
    return EmbeddingExamples(features, options)


def _with_classes(data: DataOptions, options: ModelOptions) -> ModelOptions:
    """vgg16's classes are those of its sounds."""
    if options.model != VGG16:
        return options
    from audioset_batch.learn.training.audio_clips import labelled_clips

    clips = labelled_clips(_data_dir(data), data.subsets, data.split, ())
    return replace(options, num_classes=clips.num_classes, class_names=clips.class_names)


def _data_dir(data: DataOptions) -> Path:
    if data.data_dir is None:
        raise UsageError(f"{VGG16} needs sounds: give --data_dir")
    return data.data_dir


def _names(data: DataOptions, options: ModelOptions) -> list[ClassName]:
    if options.class_names:
        return [ClassName("", name) for name in options.class_names]
    path = data.class_labels_csv
    if path is None and options.model == VGG16:
        from audioset_batch.layout import DataDir

        path = DataDir(_data_dir(data)).class_labels_csv
    return numbered_names(options.num_classes) if path is None else read_class_names(path, options.num_classes)


def _phases(model_options: ModelOptions, options: TrainOptions, clips: int) -> list[Any]:
    from audioset_batch.learn.training.loop import Phase

    steps = -(-options.num_epochs * clips // options.batch_size)
    steps = steps if options.max_steps is None else min(steps, options.max_steps)
    first = Phase(steps, options.base_learning_rate)
    if model_options.model != VGG16 or not options.finetune_steps:
        return [first]
    from audioset_batch.learn.training.models.vgg16 import set_finetuning

    return [
        first,
        Phase(
            steps + options.finetune_steps,
            options.finetune_learning_rate,
            lambda model: set_finetuning(model, True),
        ),
    ]


def _check_share(holdout: float) -> None:
    if not 0.0 <= holdout < 1.0:
        raise UsageError(f"holdout: expected a share of at least 0 and below 1, got {holdout}")


def _check_holdout(train_dir: Path, examples: Examples, holdout: float, notify: Notify) -> None:
    """Another share of the training clips than the one held out is partly or wholly what the model was trained on."""
    record = read_record(train_dir)
    trained_with = record.get("holdout")
    if trained_with == holdout or record.get("data") != fingerprint(examples):
        return
    if holdout:
        raise UsageError(
            f"--holdout {holdout}: the model was trained on these clips with --holdout {trained_with}, so it has seen "
            "some of that share: give the same value, or other clips"
        )
    notify(f"warning: these are the training clips; --holdout {trained_with} leaves only those that it has not seen")


def _check_weights(options: ModelOptions, weights: Path) -> None:
    """Before thousands of images are made."""
    if options.model != VGG16:
        raise UsageError(f"--weights is for {VGG16}; {options.model} starts from random weights")
    from audioset_batch.learn.training.models.vgg16 import require_weights

    require_weights(weights)


def _load_base(model: Any, weights: Path) -> None:
    from audioset_batch.learn.training.models.vgg16 import load_base_weights

    load_base_weights(model, weights)


def _predict(model: Any, examples: Examples, batch_size: int) -> Any:
    from audioset_batch.learn.training.loop import predict as scores_of

    return scores_of(model, examples, min(batch_size, max(1, len(examples))))


def _discard(train_dir: Path) -> None:
    """Remove the model and its logs, not the images and not what others put there."""
    shutil.rmtree(train_dir / FOLDER, ignore_errors=True)
    for name in (FLAGS_NAME, RECORD_NAME, BEST, TRAIN_LOG, VALIDATION_LOG):
        (train_dir / name).unlink(missing_ok=True)
