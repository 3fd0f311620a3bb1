"""The training loop: rounds of `Model.fit` between the steps at which something is saved or validated."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import Diverged, InputRefused, Interrupted
from audioset_batch.learn.training.checkpoint import (
    BEST,
    Progress,
    checkpoint_path,
    checkpoints,
    load_checkpoint,
    prune,
    read_progress,
    save_checkpoint,
)
from audioset_batch.learn.training.examples import Batch, Examples
from audioset_batch.learn.training.keras_api import keras
from audioset_batch.learn.training.logs import RunLog
from audioset_batch.learn.training.losses import BY_NAME
from audioset_batch.learn.training.metrics import ClassMetrics, class_metrics
from audioset_batch.learn.training.options import TrainOptions
from audioset_batch.learn.training.sampling import BatchSource
from audioset_batch.learn.training.signals import StopRequest

_AHEAD: Final = 4
_PREDICT_BATCH: Final = 512

Notify = Callable[[str], None]
"""Told one line for the user."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps that share what is trained and how fast.

    Attributes:
        last_step: The phase ends after this step.
        learning_rate: Of its first step.
        prepare: Called with the model before it is compiled.
    """

    last_step: int
    learning_rate: float
    prepare: Callable[[Any], None] = lambda model: None


class Trainer:
    """One run in one folder, resumed if it has begun.

    Args:
        model: As `build_model` gives it.
        loss: Name in `losses.BY_NAME`.
        source: The training batches.
        options: How to train.
        phases: One after another.
        train_dir: Where checkpoints and logs are.
        validation: Clips for the mAP that decides which checkpoint is best.
        tensorboard: Write an event file too.
        stop: Looked at after each step.
        notify: Told about progress.
    """

    def __init__(
        self,
        model: Any,
        loss: str,
        source: BatchSource,
        options: TrainOptions,
        phases: Sequence[Phase],
        train_dir: Path,
        *,
        validation: Examples | None = None,
        tensorboard: bool = False,
        stop: StopRequest | None = None,
        notify: Notify = lambda line: None,
    ) -> None:
        self._model = model
        self._loss = loss
        self._source = source
        self._options = options
        self._phases = tuple(phases)
        self._dir = train_dir
        self._validation = validation
        self._tensorboard = tensorboard
        self._stop = stop if stop is not None else StopRequest()
        self._notify = notify
        self._progress = Progress()
        self._phase_start = 0

    def run(self) -> Progress:
        """Train to the end of the last phase, or until early stopping.

        Raises:
            Diverged: The loss or a weight is not finite; the last checkpoint is from before.
            Interrupted: The stop request was set; everything done so far is saved.
        """
        resumed = self._newest_checkpoint()
        if resumed is not None:
            self._progress = read_progress(resumed)
            self._notify(f"resuming after step {self._progress.step}: {resumed}")
        self._log = RunLog(self._dir, self._progress.step, self._tensorboard)
        try:
            for number, phase in enumerate(self._phases):
                if self._progress.step < phase.last_step and not self._progress.stopped_early:
                    self._run_phase(number, phase, resumed)
        except Diverged as error:
            raise self._diverged(str(error)) from error
        finally:
            self._log.close()
        return self._progress

    def _newest_checkpoint(self) -> Path | None:
        """The newest checkpoint that can be read; a damaged one is passed over, and said so."""
        for path in reversed(checkpoints(self._dir)):
            try:
                read_progress(path)
                return path
            except InputRefused as error:
                self._notify(str(error))
        return None

    def _run_phase(self, number: int, phase: Phase, resumed: Path | None) -> None:
        self._phase_start = self._phases[number - 1].last_step if number else 0
        phase.prepare(self._model)
        self._model.compile(optimizer=make_optimizer(self._options, phase.learning_rate), loss=BY_NAME[self._loss])
        if resumed is not None and self._progress.step == read_progress(resumed).step:
            load_checkpoint(resumed, self._model, with_optimizer=self._progress.phase == number)
        self._progress = replace(self._progress, phase=number)
        while self._progress.step < phase.last_step and not self._progress.stopped_early:
            self._round(min(self._next_boundary(), phase.last_step), phase)

    def _next_boundary(self) -> int:
        step, options = self._progress.step, self._options
        every = [options.export_model_steps] + ([options.eval_steps] if self._validation is not None else [])
        return min((step // n + 1) * n for n in every)

    def _round(self, last: int, phase: Phase) -> None:
        """Train up to step `last`; then save, validate, or stop."""
        first, began = self._progress.step, time.monotonic()
        watcher = self._watcher(phase)
        self._model.fit(
            self._batches(first, last),
            steps_per_epoch=last - first,
            epochs=1,
            verbose=0,
            shuffle=False,
            callbacks=[watcher],
        )
        watcher.check()
        seconds = self._progress.seconds + time.monotonic() - began
        self._progress = replace(self._progress, step=watcher.step, seconds=seconds)
        step = self._progress.step
        if self._stop:
            self._save()
            raise Interrupted(
                f"{self._stop.signal_name} after step {step}: saved in {self._dir}; the same command continues"
            )
        if self._validation is not None and (step % self._options.eval_steps == 0 or step == phase.last_step):
            self._validate(self._validation)
        if step % self._options.export_model_steps == 0 or step == phase.last_step or self._progress.stopped_early:
            self._save()

    def _diverged(self, what: str) -> Diverged:
        saved = self._newest_checkpoint()
        kept = f"the last checkpoint, {saved}, is from before" if saved else "no checkpoint was written"
        rate = self._phases[self._progress.phase].learning_rate
        return Diverged(
            f"{what}; {kept}. Lower the learning rate ({rate:g}) or set --clip_gradient_norm 1, with another "
            "--train_dir or --start_new_model"
        )

    def _watcher(self, phase: Phase) -> Any:
        options, base = self._options, self._progress.seconds

        def log(step: int, loss: float, rate: float, seconds: float) -> None:
            self._log.train(
                {
                    "step": step,
                    "examples": step * options.batch_size,
                    "loss": loss,
                    "learning_rate": learning_rate_at(options, phase.learning_rate, step - self._phase_start),
                    "examples_per_second": rate * options.batch_size,
                    "seconds": base + seconds,
                }
            )

        return StepWatcher(self._progress.step, options.log_steps, self._stop, log)

    def _batches(self, first: int, last: int) -> Iterator[tuple[Any, Any]]:
        """The steps' batches, made ahead in a thread while the device computes."""
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[Future[Batch]] = deque()
            for step in range(first, last + _AHEAD):
                if step < last:
                    waiting.append(pool.submit(self._source.batch, step))
                if step >= first + _AHEAD or step >= last:
                    if not waiting:
                        return
                    batch = waiting.popleft().result()
                    yield batch.inputs, batch.labels

    def _save(self) -> None:
        save_checkpoint(checkpoint_path(self._dir, self._progress.step), self._model, self._progress)
        prune(self._dir, self._options.keep_checkpoints)

    def _validate(self, examples: Examples) -> None:
        result = validation_metrics(self._model, examples)
        step, best = self._progress.step, self._progress.best_map
        better = best is None or result.mean_ap > best
        self._progress = replace(
            self._progress,
            best_map=result.mean_ap if better else best,
            best_step=step if better else self._progress.best_step,
            validations_since_best=0 if better else self._progress.validations_since_best + 1,
        )
        patience = self._options.early_stopping
        if patience and self._progress.validations_since_best >= patience:
            self._progress = replace(self._progress, stopped_early=True)
        if better:
            save_checkpoint(self._dir / BEST, self._model, self._progress, with_optimizer=False)
        self._log.validation(
            {
                "step": step,
                "map": result.mean_ap,
                "auc": result.mean_auc,
                "d_prime": result.mean_d_prime,
                "classes": result.classes_used,
                "seconds": self._progress.seconds,
            }
        )
        self._notify(
            f"step {step}: mAP {result.mean_ap:.4f}, AUC {result.mean_auc:.4f}, d' {result.mean_d_prime:.3f}"
            + (" (best so far)" if better else "")
            + (f"; no better one in {patience} validations, stopping" if self._progress.stopped_early else "")
        )


class StepWatcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts steps, logs the mean loss of every `log_steps`, ends the round when asked to stop."""

    def __init__(
        self, first: int, log_steps: int, stop: StopRequest, log: Callable[[int, float, float, float], None]
    ) -> None:
        super().__init__()
        self.step = first
        self._first = first
        self._log_steps = log_steps
        self._stop = stop
        self._log = log
        self._began = self._last_time = time.monotonic()
        self._last_step, self._last_total = first, 0.0
        self._unchecked: tuple[int, Any] | None = None

    def check(self) -> None:
        """Look whether the loss of the last step is finite.

        Raises:
            Diverged: It is not.
        """
        if self._unchecked is not None and not math.isfinite(self._unchecked[1]):
            raise Diverged(f"the loss is {float(self._unchecked[1])} at step {self._unchecked[0]}")
        self._unchecked = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """`logs["loss"]` is the mean since the round began; the log gets the mean since its last row."""
        self.step += 1
        # One step late: waiting for this step's loss would keep the device from computing ahead.
        self.check()
        if logs:
            self._unchecked = self.step, logs["loss"]
        if self.step % self._log_steps == 0 and logs:
            self.check()
            now, total = time.monotonic(), float(logs["loss"]) * (self.step - self._first)
            count = self.step - self._last_step
            rate = count / max(now - self._last_time, 1e-9)
            self._log(self.step, (total - self._last_total) / count, rate, now - self._began)
            self._last_time, self._last_step, self._last_total = now, self.step, total
        if self._stop:
            self.model.stop_training = True


def make_optimizer(options: TrainOptions, learning_rate: float) -> Any:
    """The optimizer with the staircase by examples and a limit on the norm of each variable's gradient."""
    schedule: Any = learning_rate
    if options.learning_rate_decay != 1.0:
        schedule = keras.optimizers.schedules.ExponentialDecay(
            learning_rate,
            decay_steps=options.learning_rate_decay_examples / options.batch_size,
            decay_rate=options.learning_rate_decay,
            staircase=True,
        )
    clip = options.clip_gradient_norm or None
    kinds = keras.optimizers
    # TensorFlow 1's epsilon for Adam; Keras' own is 1e-7.
    if options.optimizer in ("AdamOptimizer", "AMSGrad"):
        amsgrad = options.optimizer == "AMSGrad"
        return kinds.Adam(schedule, epsilon=1e-8, amsgrad=amsgrad, clipnorm=clip)
    others = {"GradientDescentOptimizer": kinds.SGD, "AdagradOptimizer": kinds.Adagrad}
    return others.get(options.optimizer, kinds.RMSprop)(schedule, clipnorm=clip)


def learning_rate_at(options: TrainOptions, learning_rate: float, step: int) -> float:
    """What `make_optimizer`'s schedule gives for step `step` of a phase."""
    stairs = step * options.batch_size // options.learning_rate_decay_examples
    return learning_rate * float(options.learning_rate_decay**stairs)


def predict(model: Any, examples: Examples, batch_size: int = _PREDICT_BATCH) -> npt.NDArray[np.float32]:
    """float32 (N, K): the model's probabilities, in the order of the examples."""
    scores = np.empty(examples.labels.shape, np.float32)
    for first in range(0, len(examples), batch_size):
        rows = np.arange(first, min(first + batch_size, len(examples)))
        # Always whole batches: another size would be compiled again.
        padded = np.resize(rows, batch_size)
        scores[rows] = keras.ops.convert_to_numpy(model.predict_on_batch(examples.inputs(padded)))[: len(rows)]
    return scores


def validation_metrics(model: Any, examples: Examples) -> ClassMetrics:
    """mAP and the rest on `examples`.

    Raises:
        Diverged: The model gives NaN.
    """
    try:
        return class_metrics(examples.labels, predict(model, examples))
    except ValueError as error:
        raise Diverged(f"validation: {error}") from error
