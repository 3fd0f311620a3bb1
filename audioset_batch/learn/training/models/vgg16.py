"""Keras' VGG16 on spectrogram images, with a multi-label head."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.training.keras_api import keras
from audioset_batch.learn.training.options import ModelOptions

IMAGENET_BGR_MEANS: Final = (103.939, 116.779, 123.68)
"""What the `caffe` preprocessing subtracts, in the order blue, green, red."""
FINETUNED_BLOCK: Final = "block5"


def vgg16(options: ModelOptions) -> Any:
    """Grey image 0..255 -> three equal channels -> preprocessing -> block1..block5 -> mean -> sigmoid.

    Random weights; `load_base_weights` puts others there. The convolutions are frozen.
    """
    size = options.image_size
    image = keras.Input((size, size, 1), name="image")
    # Red, green and blue are equal, so there is nothing to swap: only the means are taken off.
    means = keras.ops.reshape(keras.ops.convert_to_tensor(IMAGENET_BGR_MEANS, dtype="float32"), (1, 1, 1, 3))
    pixels = keras.ops.concatenate([image, image, image], axis=-1) - means
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(size, size, 3))
    base.trainable = False
    pooled = keras.layers.GlobalAveragePooling2D()(base(pixels, training=False))
    output = keras.layers.Dense(options.num_classes, activation="sigmoid", name="predictions")(pooled)
    return keras.Model({"image": image}, output, name=options.model)


def require_weights(path: Path) -> None:
    """Look that there is such a file.

    Raises:
        UsageError: There is none.
    """
    if not path.is_file():
        raise UsageError(
            f"no VGG16 weights at {path}: download vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 where there is "
            "internet access (docs/training.md says from where), or leave out --weights to start from random ones"
        )


def load_base_weights(model: Any, path: Path) -> None:
    """Load Keras' `vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5` into block1..block5.

    Raises:
        UsageError: There is no such file.
        InputRefused: It is something else.
    """
    require_weights(path)
    try:
        base_of(model).load_weights(str(path))
    except Exception as error:
        raise InputRefused(
            f"{path}: expected VGG16 weights without top (vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5, "
            f"58,889,256 bytes): {error}"
        ) from error


def base_of(model: Any) -> Any:
    """The VGG16 inside."""
    return model.get_layer("vgg16")


def set_finetuning(model: Any, on: bool) -> None:
    """Train block5 besides the head, or the head only. Takes effect with the next `compile`."""
    base = base_of(model)
    base.trainable = on
    for layer in base.layers:
        layer.trainable = on and layer.name.startswith(FINETUNED_BLOCK)
