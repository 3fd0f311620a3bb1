"""VGGish as a Keras model, on whatever device the backend has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audioset_batch.learn.vggish.backend import import_keras
from audioset_batch.learn.vggish.frontend import BANDS, EXAMPLE_FRAMES
from audioset_batch.learn.vggish.variables import CONVOLUTIONS, DENSE, EMBEDDING, POOL_AFTER, SHAPES
from audioset_batch.learn.vggish.weights import Weights


def build_model(*, final_relu: bool = False) -> Any:
    """The Keras model: (N, 96, 64, 1) log-mel -> (N, 128); `get_weights()` is in the order of `SHAPES`.

    Args:
        final_relu: ReLU after the last layer, as Google's code had it before August 2020 and torchvggish
            still has. The released embeddings are without.
    """
    keras = import_keras()
    layers = keras.layers
    # Zeros: weights are always set afterwards, and drawing 72 million random numbers takes seconds.
    inputs = keras.Input((EXAMPLE_FRAMES, BANDS, 1), name="log_mel")
    x = inputs
    for name, filters in CONVOLUTIONS:
        short = name.rpartition("/")[2]
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            data_format="channels_last",
            kernel_initializer="zeros",
            name=short,
        )(x)
        if name in POOL_AFTER:
            x = layers.MaxPooling2D(2, padding="same", data_format="channels_last", name=f"pool_{short}")(x)
    x = layers.Reshape((-1,), name="flatten")(x)
    for name, units in DENSE:
        last = name == DENSE[-1][0]
        activation = "relu" if final_relu or not last else None
        x = layers.Dense(units, activation=activation, kernel_initializer="zeros", name=name.rpartition("/")[2])(x)
    return keras.Model(inputs, x, name="vggish")


class Network:
    """The network with its weights, run in batches of few different sizes so that it compiles few times.

    Args:
        weights: See `audioset_batch.learn.vggish.weights`.
        batch_size: Examples per call, at least 1.
        final_relu: See `build_model`.
    """

    def __init__(self, weights: Weights, batch_size: int = 64, *, final_relu: bool = False) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.batch_size = batch_size
        self._model = build_model(final_relu=final_relu)
        self._model.set_weights([weights.arrays[name] for name in SHAPES])

    def embed(self, examples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings before PCA, (N, 128) float32, of log-mel examples (N, 96, 64)."""
        result = np.empty((len(examples), EMBEDDING), np.float32)
        for first in range(0, len(examples), self.batch_size):
            batch = examples[first : first + self.batch_size, :, :, np.newaxis]
            count = len(batch)
            # A short batch is filled up to a power of two: each new size costs a compilation.
            size = min(self.batch_size, 1 << (count - 1).bit_length())
            if size > count:
                batch = np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), np.float32)])
            result[first : first + count] = np.asarray(self._model.predict_on_batch(batch))[:count]
        return result


def device_name() -> str:
    """What the backend computes on, for the record, e.g. `jax cpu`."""
    keras = import_keras()
    backend = str(keras.backend.backend())
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return f"jax {device.platform} ({device.device_kind})"
    if backend == "torch":
        import torch

        return f"torch {torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'}"
    return backend
