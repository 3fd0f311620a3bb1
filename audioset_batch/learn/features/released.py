"""The released features in numbers. Imports nothing, so that commands may use it for their help."""

from __future__ import annotations

from typing import Final

EMBEDDING_SIZE: Final = 128
"""Values per row (one row is 0.96 s of sound)."""

MAX_FRAMES: Final = 10
"""Rows of a full 10 s segment."""

CLASSES: Final = 527
"""Rows of class_labels_indices.csv."""

SPLITS: Final = {
    "eval": "eval_segments",
    "bal_train": "balanced_train_segments",
    "unbal_train": "unbalanced_train_segments",
}
"""Folder of the released archive -> stem of the segments CSV."""

EXPECTED_SHARDS: Final = {"eval": 4062, "bal_train": 4070, "unbal_train": 4096}
"""Distinct first two characters of the video ids; together the published 12,228 files."""
