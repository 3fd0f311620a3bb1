"""Logistic regression and mixture of experts (`video_level_models.py` of the YouTube-8M starter code)."""

from __future__ import annotations

from typing import Any, Final

from audioset_batch.learn.training.keras_api import keras
from audioset_batch.learn.training.models.parts import mean_frame, normalized
from audioset_batch.learn.training.options import ModelOptions

_L2: Final = 1e-8


def outputs(options: ModelOptions, frames: Any, num_frames: Any, penalty: float) -> Any:
    """Probabilities (batch, K) from the normalised mean of a clip's rows."""
    video = normalized(options, mean_frame(frames, num_frames))
    return classifier(options.model, options, video, penalty)


def classifier(name: str, options: ModelOptions, video: Any, penalty: float) -> Any:
    """`LogisticModel` or `MoeModel` on (batch, width)."""
    return logistic(options, video, penalty) if name == "LogisticModel" else mixture(options, video, penalty)


def logistic(options: ModelOptions, video: Any, penalty: float) -> Any:
    """One dense layer with sigmoid."""
    return _dense(options.num_classes, penalty, name="logistic", activation="sigmoid")(video)


def mixture(options: ModelOptions, video: Any, penalty: float) -> Any:
    """Per class a softmax over `moe_num_mixtures` experts and one that always says no; gates have no bias."""
    classes, mixtures = options.num_classes, options.moe_num_mixtures
    gates = _dense(classes * (mixtures + 1), penalty, name="gates", use_bias=False)(video)
    experts = _dense(classes * mixtures, penalty, name="experts", activation="sigmoid")(video)
    gate = keras.ops.softmax(keras.ops.reshape(gates, (-1, classes, mixtures + 1)), axis=-1)
    expert = keras.ops.reshape(experts, (-1, classes, mixtures))
    return keras.ops.sum(gate[..., :mixtures] * expert, axis=-1)


def _dense(units: int, penalty: float, **settings: Any) -> Any:
    # TensorFlow's l2_regularizer is scale * sum(w^2) / 2, Keras' has no half.
    regularizer = keras.regularizers.L2(penalty * _L2 / 2)
    return keras.layers.Dense(units, kernel_regularizer=regularizer, **settings)
