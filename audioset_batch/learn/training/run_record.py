"""`train_dir/run.json`: what a run is trained on and how, so that it is only ever continued in the same way."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.training.checkpoint import checkpoints
from audioset_batch.learn.training.examples import Examples
from audioset_batch.learn.training.options import TrainOptions
from audioset_batch.sharedfs.publish import atomic_write_json

RECORD_NAME: Final = "run.json"

_MAY_CHANGE: Final = frozenset(
    {"export_model_steps", "log_steps", "eval_steps", "early_stopping", "keep_checkpoints", "finetune_steps"}
)
"""How often something is written, and how long the last phase is."""
_LENGTH: Final = frozenset({"max_steps", "num_epochs"})
"""May change too, unless a second phase begins where they end the first one."""
_SAMPLED: Final = 1024


def fingerprint(examples: Examples) -> str:
    """Number and SHA-256 of clips: all ids and labels, and the input of up to 1,024 clips spread evenly over them.

    It does not depend on where the files are or in which form.
    """
    digest = hashlib.sha256("\n".join(examples.video_ids.tolist()).encode())
    digest.update(repr(examples.labels.shape).encode())
    digest.update(np.ascontiguousarray(examples.labels).view(np.uint8).data)
    rows = np.unique(np.linspace(0, len(examples) - 1, min(_SAMPLED, len(examples))).astype(np.int64))
    for first in range(0, len(rows), 64):
        for name, values in sorted(examples.inputs(rows[first : first + 64]).items()):
            digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return f"{len(examples):,} clips, SHA-256 {digest.hexdigest()[:16]}"


def file_fingerprint(path: Path | None) -> str | None:
    """SHA-256 of a file, None for none."""
    if path is None:
        return None
    with path.open("rb") as file:
        return f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def check_or_write_record(train_dir: Path, options: TrainOptions, facts: dict[str, Any]) -> None:
    """Store how this run is trained, or compare it with the run in `train_dir` that it would continue.

    Args:
        train_dir: Folder of the model.
        options: How it is trained.
        facts: What else must be the same: data, validation data, hold-out, weights. Plain JSON values.

    Raises:
        UsageError: They differ.
        InputRefused: The record is damaged.
    """
    path = train_dir / RECORD_NAME
    now = facts | dataclasses.asdict(options)
    if path.is_file() and checkpoints(train_dir):
        stored = read_record(train_dir)
        phases = options.finetune_steps or stored.get("finetune_steps")
        ignored = _MAY_CHANGE if phases else _MAY_CHANGE | _LENGTH
        different = [
            f"{name} was {stored.get(name)}, is {value}"
            for name, value in now.items()
            if name not in ignored and stored.get(name) != value
        ]
        if different:
            raise UsageError(
                f"{train_dir} holds a run with other data or settings ({'; '.join(different)}): give the same data and "
                "flags to continue it, another --train_dir, or --start_new_model to discard it"
            )
    atomic_write_json(path, now)


def read_record(train_dir: Path) -> dict[str, Any]:
    """How the run in `train_dir` was trained; empty if nothing says so.

    Raises:
        InputRefused: The record is damaged.
    """
    path = train_dir / RECORD_NAME
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputRefused(f"{path}: not the record of a run, or damaged: {error}") from error
    if not isinstance(stored, dict):
        raise InputRefused(f"{path}: expected a JSON object, found {type(stored).__name__}")
    return stored
