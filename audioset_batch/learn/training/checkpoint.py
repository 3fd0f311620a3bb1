"""Checkpoints: every variable of model and optimizer in one .npz, whatever the Keras backend.

A checkpoint written with one backend can be continued with another. Files: `checkpoints/step-00001000.npz`, the
newest few, and `best.npz` beside that folder, without the optimizer.
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from audioset_batch.errors import Diverged, InputRefused, UsageError
from audioset_batch.sharedfs.publish import make_user_folder, replacing

FOLDER: Final = "checkpoints"
BEST: Final = "best.npz"
_META: Final = "meta"
_NAME: Final = re.compile(r"step-(\d{8,})\.npz")


@dataclass(frozen=True, slots=True)
class RunState:
    """How far a run has come.

    Attributes:
        step: Steps done.
        phase: Number of the phase that they ended in.
        best_map: Best mAP on the validation data so far; None before the first validation.
        best_step: Step of `best_map`.
        validations_since_best: For early stopping.
        seconds: Time spent in training, over all jobs.
        stopped_early: The run has ended by early stopping.
    """

    step: int = 0
    phase: int = 0
    best_map: float | None = None
    best_step: int = 0
    validations_since_best: int = 0
    seconds: float = 0.0
    stopped_early: bool = False


def save_checkpoint(path: Path, model: Any, state: RunState, with_optimizer: bool = True) -> None:
    """Write the model's variables (and its optimizer's) and `state`, atomically.

    Raises:
        Diverged: A number is not finite; nothing is written.
    """
    arrays = _arrays("model", model.variables)
    if with_optimizer:
        arrays |= _arrays("optimizer", model.optimizer.variables)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise Diverged(f"the weights are not finite after step {state.step}")
    arrays[_META] = np.frombuffer(json.dumps(asdict(state)).encode(), np.uint8)
    make_user_folder(path.parent)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_state(path: Path) -> RunState:
    """`state` as it was saved.

    Raises:
        InputRefused: Not a checkpoint, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return RunState(**json.loads(stored[_META].tobytes()))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputRefused(f"{path}: not a checkpoint of this program, or damaged: {error}") from error


def load_checkpoint(path: Path, model: Any, with_optimizer: bool = False) -> RunState:
    """Put the stored values into `model` (and its optimizer, which must be compiled in).

    Raises:
        InputRefused: Damaged, or of another model.
    """
    state = read_state(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            _assign(stored, "model", model.variables, path)
            if with_optimizer:
                model.optimizer.build(model.trainable_variables)
                _assign(stored, "optimizer", model.optimizer.variables, path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputRefused(f"{path}: damaged checkpoint: {error}") from error
    return state


def checkpoints(train_dir: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    found = [path for path in (train_dir / FOLDER).glob("step-*.npz") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_step_of)


def checkpoint_path(train_dir: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps is."""
    return train_dir / FOLDER / f"step-{step:08d}.npz"


def prune(train_dir: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for path in checkpoints(train_dir)[:-keep]:
        path.unlink(missing_ok=True)


def chosen_checkpoint(train_dir: Path, which: str) -> Path:
    """The file that `which` means: `best` (the latest if there was no validation), `latest`, or a path.

    Raises:
        UsageError: There is none.
    """
    best, saved = train_dir / BEST, checkpoints(train_dir)
    if which == "best" and best.is_file():
        return best
    if which in ("best", "latest"):
        if not saved:
            raise UsageError(f"{train_dir / FOLDER} holds no checkpoint: has `audioset-batch train` run there?")
        return saved[-1]
    if not Path(which).is_file():
        raise UsageError(f"--checkpoint {which}: expected best, latest or an existing file")
    return Path(which)


def _step_of(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _arrays(kind: str, variables: list[Any]) -> dict[str, Any]:
    """Name in the file -> array. Unlike `get_weights`, `Model.variables` has the state of random layers too."""
    from audioset_batch.learn.training.keras_api import keras

    return {f"{kind}/{i:04d}": np.asarray(keras.ops.convert_to_numpy(each)) for i, each in enumerate(variables)}


def _assign(stored: Any, kind: str, variables: list[Any], path: Path) -> None:
    names = sorted(name for name in stored.files if name.startswith(f"{kind}/"))
    if len(names) != len(variables):
        raise InputRefused(f"{path}: expected {len(variables)} arrays of the {kind}, found {len(names)}")
    for name, variable in zip(names, variables, strict=True):
        array = stored[name]
        if tuple(array.shape) != tuple(variable.shape):
            raise InputRefused(f"{path}: {variable.path} has shape {tuple(variable.shape)}, the file has {array.shape}")
        variable.assign(array)
