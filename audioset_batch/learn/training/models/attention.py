"""Attention over a clip's rows, in decision space (arXiv 1711.00927) and feature space (arXiv 1903.00765)."""

from __future__ import annotations

from typing import Any, Final

from audioset_batch.learn.training.keras_api import keras
from audioset_batch.learn.training.models.parts import frame_mask, normalized
from audioset_batch.learn.training.options import ModelOptions

_CLIP: Final = 1e-7


def outputs(options: ModelOptions, frames: Any, num_frames: Any, seed: int) -> Any:
    """Probabilities (batch, K)."""
    layers = keras.layers
    mask = frame_mask(frames, num_frames)
    rows = normalized(options, frames)
    for layer in range(options.attention_layers):
        rows = layers.Dense(options.attention_units, name=f"embedding_{layer}")(rows)
        # Rows that are only padding must not enter the statistics.
        rows = layers.BatchNormalization(name=f"embedding_bn_{layer}")(rows, mask=mask)
        rows = layers.Activation("relu")(rows)
        rows = layers.Dropout(options.dropout, seed=seed + layer)(rows)
    if options.model == "DecisionLevelAttentionModel":
        decisions = layers.Dense(options.num_classes, activation="sigmoid", name="cla")(rows)
        attention = layers.Dense(options.num_classes, activation="softmax", name="att")(rows)
        # Weights that sum to 1 only up to rounding could leave 0..1 by that much.
        return keras.ops.clip(_pooled(decisions, attention, mask), 0.0, 1.0)
    features = layers.Dense(options.attention_units, name="cla")(rows)
    attention = layers.Dense(options.attention_units, activation="sigmoid", name="att")(rows)
    clip = layers.BatchNormalization(name="clip_bn")(_pooled(features, attention, mask))
    clip = layers.Dropout(options.dropout, seed=seed + options.attention_layers)(layers.Activation("relu")(clip))
    return layers.Dense(options.num_classes, activation="sigmoid", name="output")(clip)


def _pooled(values: Any, attention: Any, mask: Any) -> Any:
    """Mean of the rows that are there, weighted by the clipped attention of each unit."""
    ops = keras.ops
    weights = ops.clip(attention, _CLIP, 1.0 - _CLIP) * ops.expand_dims(ops.cast(mask, "float32"), -1)
    return ops.sum(values * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), _CLIP)
