"""The three commands: train a model in a folder, evaluate it, write its predictions."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from audioset_batch.errors import Interrupted, UsageError
from audioset_batch.learn.signals import StopSignal
from audioset_batch.learn.training.checkpoint import BEST, FOLDER, RunState, chosen_checkpoint, load_checkpoint
from audioset_batch.learn.training.data import DataOptions, class_names_of, find_sounds, load_examples
from audioset_batch.learn.training.evaluation import Evaluation, judge, write_evaluation
from audioset_batch.learn.training.examples import Examples, Notify, Subset, held_out
from audioset_batch.learn.training.logs import TRAIN_LOG, VALIDATION_LOG, event_writer
from audioset_batch.learn.training.loop import Phase, Trainer, scores_of
from audioset_batch.learn.training.model_flags import FLAGS_NAME, check_or_write_flags, read_flags
from audioset_batch.learn.training.models import build_model
from audioset_batch.learn.training.models.vgg16 import load_base_weights, require_weights, set_finetuning
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
from audioset_batch.learn.vggish.store import hold_output
from audioset_batch.sharedfs.publish import make_user_folder

_NAMED_CLASSES: Final = 10
_FEW_STEPS: Final = 500


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
    run: TrainRun, model_options: ModelOptions, options: TrainOptions, stop: StopSignal, notify: Notify
) -> RunState:
    """Train, or go on with, the model in `run.train_dir`.

    Raises:
        UsageError: Flags do not fit together, or not the run that is there.
        InputRefused: Data cannot be used.
        Diverged: The loss or a weight is not finite.
        Interrupted: `stop` was set; everything is saved.
        ShardHeld: Another process is training in that folder.
    """
    _check_share(run.holdout)
    if run.weights is not None and model_options.model != VGG16:
        raise UsageError(f"--weights is for {VGG16}; {model_options.model} starts from random weights")
    if run.weights is not None:
        require_weights(run.weights)  # before thousands of images are made
    if run.tensorboard:
        event_writer()  # before the data are read
    make_user_folder(run.train_dir)
    with hold_output(run.train_dir, "training"):
        if run.start_new_model:
            _discard(run.train_dir)
        sounds = None
        if model_options.model == VGG16:
            sounds = find_sounds(run.data, (), notify)
            model_options = replace(model_options, num_classes=sounds.num_classes, class_names=sounds.class_names)
        check_or_write_flags(run.train_dir, model_options)
        examples = load_examples(run.data, model_options, run.train_dir, notify, sounds)
        facts = {"data": fingerprint(examples), "holdout": run.holdout, "weights": file_fingerprint(run.weights)}
        validation = None
        if run.validation is not None:
            validation = load_examples(run.validation, model_options, run.train_dir, notify)
        facts["validation"] = None if validation is None else fingerprint(validation)
        if run.holdout:
            kept_back = held_out(examples, run.holdout)
            validation = validation or Subset(examples, np.flatnonzero(kept_back))
            examples = Subset(examples, np.flatnonzero(~kept_back))
        _check_clips(examples, validation, options)
        check_or_write_record(run.train_dir, options, facts)
        model = build_model(model_options, options.regularization_penalty, options.seed)
        if run.weights is not None:
            load_base_weights(model, run.weights)
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


def _check_clips(examples: Examples, validation: Examples | None, options: TrainOptions) -> None:
    if not len(examples):
        raise UsageError("no clip is left to train on: lower --holdout")
    if options.early_stopping and validation is None:
        raise UsageError("early_stopping needs validation data: --validation_data_pattern, or --holdout")
    if validation is not None and not validation.labels.any():
        raise UsageError(
            f"none of the {len(validation):,} validation clips has a label, so there is no mAP to choose by: give "
            "other clips with --validation_data_pattern, or another --holdout"
        )


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
    options, model, path, state = load_model(train_dir, checkpoint)
    examples = load_examples(data, options, train_dir, notify)
    _check_holdout(train_dir, examples, holdout, notify)
    if holdout:
        examples = Subset(examples, np.flatnonzero(held_out(examples, holdout)))
        if not len(examples):
            raise UsageError(f"--holdout {holdout}: none of these clips is in that share")
    result = judge(examples.labels, scores_of(model, examples, batch_size), top_k)
    about = {
        "model": options.model,
        "checkpoint": path.name,
        "step": state.step,
        "train_dir": str(train_dir),
        "data": data.pattern or str(data.data_dir),
    }
    write_evaluation(output, result, class_names_of(data, options), about)
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
    if output.is_dir():
        raise UsageError(f"{output}: expected a file or a name for a new one, a folder is there")
    options, model, _, _ = load_model(train_dir, checkpoint)
    examples = load_examples(data, options, train_dir, notify)
    write_predictions(output, examples.video_ids, scores_of(model, examples, batch_size), top_k)
    return len(examples)


def load_model(train_dir: Path, checkpoint: str = "best") -> tuple[ModelOptions, Any, Path, RunState]:
    """Options, network with trained weights, the checkpoint's file, and how far it had been trained.

    Raises:
        UsageError: No such model or checkpoint.
        InputRefused: Damaged, or of another model.
    """
    options = read_flags(train_dir)
    path = chosen_checkpoint(train_dir, checkpoint)
    model = build_model(options)
    return options, model, path, load_checkpoint(path, model)


def _phases(model_options: ModelOptions, options: TrainOptions, clips: int) -> list[Phase]:
    steps = -(-options.num_epochs * clips // options.batch_size)
    steps = steps if options.max_steps is None else min(steps, options.max_steps)
    first = Phase(steps, options.base_learning_rate)
    if model_options.model != VGG16 or not options.finetune_steps:
        return [first]
    last_step = steps + options.finetune_steps
    return [first, Phase(last_step, options.finetune_learning_rate, lambda model: set_finetuning(model, True))]


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


def _discard(train_dir: Path) -> None:
    """Remove the model and its logs, not the images and not what others put there."""
    shutil.rmtree(train_dir / FOLDER, ignore_errors=True)
    for name in (FLAGS_NAME, RECORD_NAME, BEST, TRAIN_LOG, VALIDATION_LOG):
        (train_dir / name).unlink(missing_ok=True)
