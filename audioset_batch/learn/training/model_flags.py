"""`train_dir/model_flags.json`: what the model in that folder is, so that nothing else is ever loaded into it.

Holds the keys of the YouTube-8M starter code (`model`, `feature_sizes`, `feature_names`, `frame_features`,
`label_loss`) and every further option of the model, the normalisation of its input among them.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.training.options import ModelOptions
from audioset_batch.sharedfs.publish import atomic_write_json

FLAGS_NAME: Final = "model_flags.json"
_NAMES: Final = tuple(each.name for each in dataclasses.fields(ModelOptions))
_RETIRED: Final = ("mel_bands", "low_frequency_at")
"""Earlier versions stored these; they had one value only."""


def write_flags(train_dir: Path, options: ModelOptions) -> None:
    """Store `options`, replacing what is there."""
    atomic_write_json(train_dir / FLAGS_NAME, dataclasses.asdict(options))


def read_flags(train_dir: Path) -> ModelOptions:
    """The options of the model in `train_dir`.

    Raises:
        UsageError: There is none.
        InputRefused: The file is damaged or of another program.
    """
    path = train_dir / FLAGS_NAME
    if not path.is_file():
        raise UsageError(f"{path} does not exist: expected a folder that `audioset-batch train --train_dir` filled")
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in _NAMES if name not in stored]
        unknown = [name for name in stored if name not in (*_NAMES, *_RETIRED)]
        if missing or unknown:
            raise ValueError(f"keys missing: {', '.join(missing) or '-'}; unknown: {', '.join(unknown) or '-'}")
        stored["class_names"] = tuple(stored["class_names"])
        return ModelOptions(**{name: stored[name] for name in _NAMES})
    except (OSError, ValueError, TypeError) as error:
        raise InputRefused(f"{path}: not the flags of a model of this program: {error}") from error


def check_or_write_flags(train_dir: Path, options: ModelOptions) -> None:
    """Store `options`, or compare them with those of a model that is already there.

    Raises:
        UsageError: They differ.
    """
    if not (train_dir / FLAGS_NAME).is_file():
        write_flags(train_dir, options)
        return
    stored = read_flags(train_dir)
    different = [
        f"{name}: stored {getattr(stored, name)!r}, given {getattr(options, name)!r}"
        for name in _NAMES
        if getattr(stored, name) != getattr(options, name)
    ]
    if different:
        raise UsageError(
            f"{train_dir / FLAGS_NAME} describes another model ({'; '.join(different)}): give the same flags, "
            "another --train_dir, or --start_new_model to discard that model"
        )
