"""The losses of the YouTube-8M starter code (`losses.py`), and Keras' mean binary cross entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from audioset_batch.learn.training.keras_api import keras

CROSS_ENTROPY_EPSILON: Final = 1e-5
_SOFTMAX_EPSILON: Final = 1e-7

Loss = Callable[[Any, Any], Any]
"""(labels, predictions), each (batch, K) -> loss of each clip, (batch,); Keras takes the mean."""


def cross_entropy(labels: Any, predictions: Any) -> Any:
    """Summed over classes, epsilon inside both logarithms."""
    ops = keras.ops
    labels = ops.convert_to_tensor(labels)
    true = labels * ops.log(predictions + CROSS_ENTROPY_EPSILON)
    false = (1.0 - labels) * ops.log(1.0 - predictions + CROSS_ENTROPY_EPSILON)
    return -ops.sum(true + false, axis=-1)


def hinge(labels: Any, predictions: Any) -> Any:
    """`max(0, 1 - sign * prediction)` summed over classes, sign +1 or -1."""
    ops = keras.ops
    sign = 2.0 * ops.convert_to_tensor(labels) - 1.0
    return ops.sum(ops.maximum(0.0, 1.0 - sign * predictions), axis=-1)


def softmax(labels: Any, predictions: Any) -> Any:
    """Cross entropy between the labels, scaled to sum 1, and the softmax of the predictions."""
    ops = keras.ops
    labels = ops.convert_to_tensor(labels)
    share = labels / ops.maximum(ops.sum(labels, axis=-1, keepdims=True), _SOFTMAX_EPSILON)
    return -ops.sum(share * ops.log_softmax(predictions, axis=-1), axis=-1)


def binary_crossentropy(labels: Any, predictions: Any) -> Any:
    """Mean over classes: Keras' own, epsilon 1e-7 by clipping."""
    return keras.losses.binary_crossentropy(labels, predictions)


BY_NAME: Final[dict[str, Loss]] = {
    "CrossEntropyLoss": cross_entropy,
    "HingeLoss": hinge,
    "SoftmaxLoss": softmax,
    "BinaryCrossentropy": binary_crossentropy,
}
"""By the name that `label_loss` uses."""
