"""The frame-level models of the YouTube-8M starter code (`frame_level_models.py`)."""

from __future__ import annotations

import math
from typing import Any, Final

from audioset_batch.learn.training.keras_api import keras
from audioset_batch.learn.training.models.parts import frame_mask, mean_frame, normalized
from audioset_batch.learn.training.models.video_level import classifier, logistic
from audioset_batch.learn.training.options import ModelOptions

_BATCH_NORM_EPSILON: Final = 0.001


def outputs(options: ModelOptions, frames: Any, num_frames: Any, penalty: float, seed: int) -> Any:
    """Probabilities (batch, K) from rows, each normalised on its own."""
    rows = normalized(options, frames)
    if options.model == "FrameLevelLogisticModel":
        return logistic(options, mean_frame(rows, num_frames), penalty)
    if options.model == "DbofModel":
        video = _bag_of_frames(options, rows, num_frames, seed)
    else:
        video = _lstm(options, rows, num_frames)
    return classifier(options.video_level_classifier_model, options, video, penalty)


def _bag_of_frames(options: ModelOptions, rows: Any, num_frames: Any, seed: int) -> Any:
    """Sampled rows -> wide cluster layer -> pooled over rows -> hidden layer."""
    sampled = FrameSampler(options.iterations, options.sample_random_frames, seed)(rows, num_frames)
    if options.dbof_add_batch_norm:
        sampled = _batch_norm(options, "input_bn")(sampled)
    clusters = _projection(options, sampled, options.dbof_cluster_size, "cluster", None)
    if options.dbof_pooling_method == "max":
        pooled = keras.ops.max(clusters, axis=1)
    else:
        pooled = keras.ops.mean(clusters, axis=1)
    return _projection(options, pooled, options.dbof_hidden_size, "hidden1", 0.01)


def _projection(options: ModelOptions, values: Any, units: int, name: str, bias_deviation: float | None) -> Any:
    """Product with normal weights of deviation 1/sqrt(width), batch norm or a random bias, activation."""
    deviation = 1 / math.sqrt(values.shape[-1])
    bias = keras.initializers.RandomNormal(stddev=deviation if bias_deviation is None else bias_deviation)
    values = keras.layers.Dense(
        units,
        use_bias=not options.dbof_add_batch_norm,
        kernel_initializer=keras.initializers.RandomNormal(stddev=deviation),
        bias_initializer=bias,
        name=f"{name}_weights",
    )(values)
    if options.dbof_add_batch_norm:
        values = _batch_norm(options, f"{name}_bn")(values)
    return keras.layers.Activation(options.dbof_activation)(values)


def _batch_norm(options: ModelOptions, name: str) -> Any:
    return keras.layers.BatchNormalization(
        momentum=options.dbof_batch_norm_decay, epsilon=_BATCH_NORM_EPSILON, name=name
    )


def _lstm(options: ModelOptions, rows: Any, num_frames: Any) -> Any:
    """Output of the last layer after the last row that is there (masked rows leave the state as it is)."""
    mask = frame_mask(rows, num_frames)
    for layer in range(options.lstm_layers):
        rows = keras.layers.LSTM(
            options.lstm_cells,
            return_sequences=layer < options.lstm_layers - 1,
            recurrent_initializer="glorot_uniform",
            name=f"lstm_{layer}",
        )(rows, mask=mask)
    return rows


class FrameSampler(keras.layers.Layer):  # type: ignore[misc]
    """Draws `iterations` of a clip's rows with replacement (or a random run of neighbours, the last one repeated).

    Only in training. Otherwise the rows that are there are taken evenly, so that predictions do not depend on
    chance; the starter code draws there too. (batch, rows, width) -> (batch, iterations, width).
    """

    def __init__(self, iterations: int, random: bool, seed: int) -> None:
        super().__init__(name="frame_sampler")
        self.iterations = iterations
        self.random = random
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, rows: Any, num_frames: Any, training: bool | None = None) -> Any:
        ops = keras.ops
        batch, last = ops.shape(rows)[0], ops.expand_dims(num_frames, -1) - 1.0
        steps = ops.arange(self.iterations, dtype="float32")[None, :]
        if training and self.random:
            chance = keras.random.uniform((batch, self.iterations), seed=self.generator)
            index = ops.floor(chance * (last + 1.0))
        elif training:
            chance = keras.random.uniform((batch, 1), seed=self.generator)
            index = ops.floor(chance * (ops.maximum(last + 1.0 - self.iterations, 0.0) + 1.0)) + steps
        else:
            index = ops.floor(steps * (last + 1.0) / self.iterations)
        index = ops.cast(ops.clip(index, 0.0, ops.maximum(last, 0.0)), "int32")
        return ops.take_along_axis(rows, ops.expand_dims(index, -1), axis=1)

    def compute_output_shape(self, rows_shape: Any, num_frames_shape: Any) -> Any:
        return (rows_shape[0], self.iterations, rows_shape[2])
