"""What several embedding models are made of. `frames` is (batch, rows, width), `num_frames` is (batch,)."""

from __future__ import annotations

from typing import Any

from audioset_batch.learn.training.keras_api import keras
from audioset_batch.learn.training.options import ModelOptions


def frame_mask(frames: Any, num_frames: Any) -> Any:
    """bool (batch, rows): True where a row holds data."""
    rows = keras.ops.arange(frames.shape[1], dtype="float32")
    return keras.ops.less(rows[None, :], keras.ops.expand_dims(num_frames, -1))


def mean_frame(frames: Any, num_frames: Any) -> Any:
    """(batch, width): sum of the rows / `num_frames`. Padding is zero; a clip without rows gives zeros."""
    count = keras.ops.maximum(keras.ops.expand_dims(num_frames, -1), 1.0)
    return keras.ops.sum(frames, axis=1) / count


def normalized(options: ModelOptions, values: Any) -> Any:
    """The last axis scaled to norm 1, if the options say so; rows of zeros stay."""
    return keras.layers.UnitNormalization(axis=-1)(values) if options.l2_normalize else values
