"""The training loop: rounds of `Model.fit` between the steps at which something is saved or validated."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import Diverged, InputRefused, Interrupted
from audioset_batch.learn.signals import StopSignal
from audioset_batch.learn.training.checkpoint import (
    BEST,
    RunState,
    checkpoint_path,
    checkpoints,
    load_checkpoint,
    prune,
    read_state,
    save_checkpoint,
)
from audioset_batch.learn.training.examples import Batch, Examples, Notify
from audioset_batch.learn.training.keras_api import keras
from audioset_batch.learn.training.logs import RunLog
from audioset_batch.learn.training.losses import BY_NAME
from audioset_batch.learn.training.metrics import ClassMetrics, class_metrics
from audioset_batch.learn.training.options import TrainOptions
from audioset_batch.learn.training.sampling import BatchSource

_AHEAD: Final = 4
_SCORED_AT_ONCE: Final = 512


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


@dataclass(slots=True)
class Trainer:
    """One run in one folder, resumed if it has begun.

    Attributes:
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

    model: Any
    loss: str
    source: BatchSource
    options: TrainOptions
    phases: Sequence[Phase]
    train_dir: Path
    validation: Examples | None = None
    tensorboard: bool = False
    stop: StopSignal = field(default_factory=StopSignal)
    notify: Notify = lambda line: None
    _state: RunState = field(init=False, default_factory=RunState)
    _phase_start: int = field(init=False, default=0)
    _log: RunLog = field(init=False)

    def run(self) -> RunState:
        """Train to the end of the last phase, or until early stopping.

        Raises:
            Diverged: The loss or a weight is not finite; the last checkpoint is from before.
            Interrupted: The stop request was set; everything done so far is saved.
        """
        resumed = self._newest_checkpoint()
        if resumed is not None:
            self._state = read_state(resumed)
            self.notify(f"resuming after step {self._state.step}: {resumed}")
        self._log = RunLog(self.train_dir, self._state.step, self.tensorboard)
        try:
            for number, phase in enumerate(self.phases):
                if self._state.step < phase.last_step and not self._state.stopped_early:
                    self._run_phase(number, phase, resumed)
        except Diverged as error:
            raise self._diverged(str(error)) from error
        finally:
            self._log.close()
        return self._state

    def _newest_checkpoint(self) -> Path | None:
        """The newest checkpoint that can be read; a damaged one is passed over, and said so."""
        for path in reversed(checkpoints(self.train_dir)):
            try:
                read_state(path)
                return path
            except InputRefused as error:
                self.notify(str(error))
        return None

    def _run_phase(self, number: int, phase: Phase, resumed: Path | None) -> None:
        self._phase_start = self.phases[number - 1].last_step if number else 0
        phase.prepare(self.model)
        self.model.compile(optimizer=make_optimizer(self.options, phase.learning_rate), loss=BY_NAME[self.loss])
        if resumed is not None and self._state.step == read_state(resumed).step:
            load_checkpoint(resumed, self.model, with_optimizer=self._state.phase == number)
        self._state = replace(self._state, phase=number)
        while self._state.step < phase.last_step and not self._state.stopped_early:
            self._round(min(self._next_boundary(), phase.last_step), phase)

    def _next_boundary(self) -> int:
        step, options = self._state.step, self.options
        every = [options.export_model_steps] + ([options.eval_steps] if self.validation is not None else [])
        return min((step // n + 1) * n for n in every)

    def _round(self, last: int, phase: Phase) -> None:
        """Train up to step `last`; then save, validate, or stop."""
        first, began = self._state.step, time.monotonic()
        watcher = self._watcher(phase)
        self.model.fit(
            self._batches(first, last),
            steps_per_epoch=last - first,
            epochs=1,
            verbose=0,
            shuffle=False,
            callbacks=[watcher],
        )
        watcher.check()
        seconds = self._state.seconds + time.monotonic() - began
        self._state = replace(self._state, step=watcher.step, seconds=seconds)
        step = self._state.step
        if self.stop:
            self._save()
            raise Interrupted(
                f"{self.stop.signal_name} after step {step}: saved in {self.train_dir}; the same command continues"
            )
        if self.validation is not None and (step % self.options.eval_steps == 0 or step == phase.last_step):
            self._validate(self.validation)
        if step % self.options.export_model_steps == 0 or step == phase.last_step or self._state.stopped_early:
            self._save()

    def _diverged(self, what: str) -> Diverged:
        saved = self._newest_checkpoint()
        kept = f"the last checkpoint, {saved}, is from before" if saved else "no checkpoint was written"
        rate = self.phases[self._state.phase].learning_rate
        return Diverged(
            f"{what}; {kept}. Lower the learning rate ({rate:g}) or set --clip_gradient_norm 1, with another "
            "--train_dir or --start_new_model"
        )

    def _watcher(self, phase: Phase) -> Any:
        options, base = self.options, self._state.seconds

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

        return StepWatcher(self._state.step, options.log_steps, self.stop, log)

    def _batches(self, first: int, last: int) -> Iterator[tuple[Any, Any]]:
        """The steps' batches, made ahead in a thread while the device computes."""
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[Future[Batch]] = deque()
            for step in range(first, last + _AHEAD):
                if step < last:
                    waiting.append(pool.submit(self.source.batch, step))
                if step >= first + _AHEAD or step >= last:
                    if not waiting:
                        return
                    batch = waiting.popleft().result()
                    yield batch.inputs, batch.labels

    def _save(self) -> None:
        save_checkpoint(checkpoint_path(self.train_dir, self._state.step), self.model, self._state)
        prune(self.train_dir, self.options.keep_checkpoints)

    def _validate(self, examples: Examples) -> None:
        result = validation_metrics(self.model, examples)
        step, best = self._state.step, self._state.best_map
        better = best is None or result.mean_ap > best
        self._state = replace(
            self._state,
            best_map=result.mean_ap if better else best,
            best_step=step if better else self._state.best_step,
            validations_since_best=0 if better else self._state.validations_since_best + 1,
        )
        patience = self.options.early_stopping
        if patience and self._state.validations_since_best >= patience:
            self._state = replace(self._state, stopped_early=True)
        if better:
            save_checkpoint(self.train_dir / BEST, self.model, self._state, with_optimizer=False)
        self._log.validation(
            {
                "step": step,
                "map": result.mean_ap,
                "auc": result.mean_auc,
                "d_prime": result.mean_d_prime,
                "classes": result.classes_used,
                "seconds": self._state.seconds,
            }
        )
        self.notify(
            f"step {step}: mAP {result.mean_ap:.4f}, AUC {result.mean_auc:.4f}, d' {result.mean_d_prime:.3f}"
            + (" (best so far)" if better else "")
            + (f"; no better one in {patience} validations, stopping" if self._state.stopped_early else "")
        )


class StepWatcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts steps, logs the mean loss of every `log_steps`, ends the round when asked to stop."""

    def __init__(
        self, first: int, log_steps: int, stop: StopSignal, log: Callable[[int, float, float, float], None]
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


def scores_of(model: Any, examples: Examples, batch_size: int = _SCORED_AT_ONCE) -> npt.NDArray[np.float32]:
    """float32 (N, K): the model's probabilities, in the order of the examples."""
    scores = np.empty(examples.labels.shape, np.float32)
    batch_size = min(batch_size, max(1, len(examples)))
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
        return class_metrics(examples.labels, scores_of(model, examples))
    except ValueError as error:
        raise Diverged(f"validation: {error}") from error
