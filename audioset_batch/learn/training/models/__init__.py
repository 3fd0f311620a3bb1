"""The networks. Importing a module of this package imports Keras; `build_model` does it when it is called."""

from __future__ import annotations

from typing import Any

from audioset_batch.learn.training.options import ATTENTION, VGG16, VIDEO_LEVEL, ModelOptions


def build_model(options: ModelOptions, regularization_penalty: float = 1.0, seed: int = 0) -> Any:
    """An untrained `keras.Model` as `options` describe it, not compiled.

    Embedding models take `frames` float32 (batch, max_frames, 128), zero from `num_frames` float32 (batch,) on;
    vgg16 takes `image` float32 (batch, size, size, 1) in 0..255. All give probabilities (batch, K).

    Args:
        options: The definition.
        regularization_penalty: Factor of the L2 terms.
        seed: Of the initial weights and of everything random inside, such as dropout.
    """
    from audioset_batch.learn.training.keras_api import keras

    keras.utils.set_random_seed(seed)
    if options.model == VGG16:
        from audioset_batch.learn.training.models.vgg16 import vgg16

        return vgg16(options)
    frames = keras.Input((options.max_frames, options.feature_sizes), name="frames")
    num_frames = keras.Input((), name="num_frames")
    if options.model in ATTENTION:
        from audioset_batch.learn.training.models import attention

        output = attention.outputs(options, frames, num_frames, seed)
    elif options.model in VIDEO_LEVEL:
        from audioset_batch.learn.training.models import video_level

        output = video_level.outputs(options, frames, num_frames, regularization_penalty)
    else:
        from audioset_batch.learn.training.models import frame_level

        output = frame_level.outputs(options, frames, num_frames, regularization_penalty, seed)
    return keras.Model({"frames": frames, "num_frames": num_frames}, output, name=options.model)
