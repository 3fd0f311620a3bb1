"""What a training run is made of: the model's definition and the training's settings, with each model's defaults.

Names are those of the YouTube-8M starter code's flags where it has one. No Keras is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

from audioset_batch.errors import UsageError
from audioset_batch.learn.features.arrays import CLASSES, DEQUANTIZERS, EMBEDDING_SIZE, MAX_FRAMES

VIDEO_LEVEL: Final = ("LogisticModel", "MoeModel")
FRAME_LEVEL: Final = ("FrameLevelLogisticModel", "DbofModel", "LstmModel")
ATTENTION: Final = ("DecisionLevelAttentionModel", "FeatureLevelAttentionModel")
VGG16: Final = "vgg16"
MODELS: Final = (*VIDEO_LEVEL, *FRAME_LEVEL, *ATTENTION, VGG16)

LOSSES: Final = ("CrossEntropyLoss", "HingeLoss", "SoftmaxLoss", "BinaryCrossentropy")
OPTIMIZERS: Final = ("AdamOptimizer", "AMSGrad", "GradientDescentOptimizer", "AdagradOptimizer", "RMSPropOptimizer")
BALANCING: Final = ("none", "panns", "ast")
MIXUP: Final = ("none", "panns", "ast")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}; got {value!r}")


def _at_least(name: str, value: Any, least: float) -> None:
    if value < least:
        raise UsageError(f"{name}: expected at least {least}, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Everything that defines the network and its input; stored as `model_flags.json`.

    Attributes:
        model: One of `MODELS`.
        num_classes: K.
        feature_names: Always `audio_embedding` (or `log_mel` for vgg16).
        feature_sizes: Width of a row, 128.
        frame_features: True if the model sees rows, False if their mean.
        max_frames: Rows per clip, zero-padded.
        label_loss: One of `LOSSES`.
        dequantization: Key of `DEQUANTIZERS`: how 8 bits became numbers.
        l2_normalize: Rows (or their mean) have norm 1.
        dbof_batch_norm_decay: Of the moving averages; the default needs thousands of steps to settle.
        attention_units: Width of the hidden layers of the attention models.
        attention_layers: How many there are.
        image_size: Side of vgg16's square image, in pixels.
        clip_seconds: Sound that makes one image; shorter clips are padded with silence, longer ones cut.
        log_mel_low: Log-mel value that becomes pixel 0.
        log_mel_high: Log-mel value that becomes pixel 255.
        mel_bands: Bands of the spectrogram.
        low_frequency_at: Edge of the image where the lowest band lies.
        class_names: Folder names by index, where the classes came from folders.
    """

    model: str = "LogisticModel"
    num_classes: int = CLASSES
    feature_names: str = "audio_embedding"
    feature_sizes: int = EMBEDDING_SIZE
    frame_features: bool = False
    max_frames: int = MAX_FRAMES
    label_loss: str = "CrossEntropyLoss"
    dequantization: str = "youtube8m"
    l2_normalize: bool = True
    moe_num_mixtures: int = 2
    iterations: int = 30
    dbof_add_batch_norm: bool = True
    sample_random_frames: bool = True
    dbof_cluster_size: int = 8192
    dbof_hidden_size: int = 1024
    dbof_pooling_method: str = "max"
    dbof_activation: str = "sigmoid"
    dbof_batch_norm_decay: float = 0.999
    video_level_classifier_model: str = "MoeModel"
    lstm_cells: int = 1024
    lstm_layers: int = 2
    attention_units: int = 1024
    attention_layers: int = 3
    dropout: float = 0.5
    image_size: int = 224
    clip_seconds: float = 10.0
    log_mel_low: float = -4.605
    log_mel_high: float = 5.0
    mel_bands: int = 64
    low_frequency_at: str = "bottom"
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("model", self.model, MODELS)
        _one_of("label_loss", self.label_loss, LOSSES)
        _one_of("dequantization", self.dequantization, tuple(DEQUANTIZERS))
        _one_of("dbof_pooling_method", self.dbof_pooling_method, ("max", "average"))
        _one_of("dbof_activation", self.dbof_activation, ("sigmoid", "relu", "relu6", "tanh"))
        _one_of("video_level_classifier_model", self.video_level_classifier_model, VIDEO_LEVEL)
        _one_of("low_frequency_at", self.low_frequency_at, ("bottom",))
        for name in ("num_classes", "max_frames", "moe_num_mixtures", "iterations", "dbof_cluster_size"):
            _at_least(name, getattr(self, name), 1)
        for name in ("dbof_hidden_size", "lstm_cells", "lstm_layers", "attention_units", "attention_layers"):
            _at_least(name, getattr(self, name), 1)
        _at_least("image_size", self.image_size, 32)
        if not 0.0 <= self.dbof_batch_norm_decay < 1.0 or not 0.0 <= self.dropout < 1.0:
            raise UsageError("dbof_batch_norm_decay and dropout must be at least 0 and below 1")
        if self.model != VGG16 and (self.feature_names, self.feature_sizes) != ("audio_embedding", EMBEDDING_SIZE):
            raise UsageError(
                "expected feature_names audio_embedding and feature_sizes 128, as AudioSet's features have, "
                f"got {self.feature_names} and {self.feature_sizes}"
            )
        if self.frame_features != (self.model not in VIDEO_LEVEL):
            raise UsageError(
                f"{self.model} works on {'the mean of the rows' if self.frame_features else 'single rows'}: "
                f"{'leave out' if self.frame_features else 'give'} --frame_features"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How the model is trained.

    Attributes:
        batch_size: Clips per step.
        base_learning_rate: Of the first step.
        learning_rate_decay: Factor applied every `learning_rate_decay_examples` clips, in stairs.
        clip_gradient_norm: Largest norm of each variable's gradient; 0 for none.
        regularization_penalty: Factor of the model's own L2 terms.
        num_epochs: Passes over the data, unless `max_steps` ends it before.
        max_steps: Steps, or None.
        export_model_steps: Steps between checkpoints.
        log_steps: Steps between rows of the log.
        eval_steps: Steps between validations, if there is validation data.
        early_stopping: End after that many validations without a better mAP; 0 for never.
        balanced_sampling: One of `BALANCING`.
        mixup: One of `MIXUP`.
        seed: Of everything random.
        keep_checkpoints: Newest checkpoints that stay.
        finetune_steps: vgg16: last steps, in which block5 is trained too.
        finetune_learning_rate: Their learning rate.
    """

    batch_size: int = 1024
    base_learning_rate: float = 0.01
    learning_rate_decay: float = 0.95
    learning_rate_decay_examples: int = 4_000_000
    optimizer: str = "AdamOptimizer"
    clip_gradient_norm: float = 1.0
    regularization_penalty: float = 1.0
    num_epochs: int = 5
    max_steps: int | None = None
    export_model_steps: int = 1000
    log_steps: int = 10
    eval_steps: int = 1000
    early_stopping: int = 0
    balanced_sampling: str = "none"
    mixup: str = "none"
    seed: int = 0
    keep_checkpoints: int = 2
    finetune_steps: int = 0
    finetune_learning_rate: float = 1e-5

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("balanced_sampling", self.balanced_sampling, BALANCING)
        _one_of("mixup", self.mixup, MIXUP)
        for name in ("batch_size", "num_epochs", "export_model_steps", "log_steps", "eval_steps", "keep_checkpoints"):
            _at_least(name, getattr(self, name), 1)
        for name in ("early_stopping", "finetune_steps", "seed", "clip_gradient_norm", "regularization_penalty"):
            _at_least(name, getattr(self, name), 0)
        if self.max_steps is not None:
            _at_least("max_steps", self.max_steps, 1)
        if self.base_learning_rate <= 0 or self.learning_rate_decay <= 0 or self.learning_rate_decay_examples < 1:
            raise UsageError("learning rate, its decay and learning_rate_decay_examples must be above 0")


_ATTENTION_TRAINING: Final = TrainOptions(
    batch_size=500,
    base_learning_rate=1e-3,
    learning_rate_decay=1.0,
    clip_gradient_norm=0.0,
    max_steps=50_000,
    num_epochs=1_000_000,
    balanced_sampling="panns",
)
"""Kong's: batches of 500 balanced over classes, Adam 1e-3, some 50,000 steps whatever the number of epochs."""

_VGG16_TRAINING: Final = TrainOptions(
    batch_size=32,
    base_learning_rate=1e-3,
    learning_rate_decay=1.0,
    clip_gradient_norm=0.0,
    num_epochs=10,
    export_model_steps=200,
    eval_steps=200,
)


def default_model_options(model: str) -> ModelOptions:
    """The published definition of a model.

    Raises:
        UsageError: No such model.
    """
    _one_of("model", model, MODELS)
    options = ModelOptions(model=model, frame_features=model not in VIDEO_LEVEL)
    if model in ATTENTION:
        return replace(options, label_loss="BinaryCrossentropy", dequantization="centered", l2_normalize=False)
    if model == VGG16:
        return replace(options, label_loss="BinaryCrossentropy", feature_names="log_mel")
    return options


def default_train_options(model: str) -> TrainOptions:
    """The published training of a model."""
    if model in ATTENTION:
        return _ATTENTION_TRAINING
    return _VGG16_TRAINING if model == VGG16 else TrainOptions()


def option_names(kind: type[ModelOptions] | type[TrainOptions]) -> tuple[str, ...]:
    """Names of the fields, in order."""
    return tuple(field.name for field in fields(kind))
