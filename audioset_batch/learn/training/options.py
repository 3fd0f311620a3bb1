"""What a training run is made of: the model's definition and the training's settings, with each model's defaults.

A field carries its help text and the values it takes; `audioset-batch train` makes its flags from them. Names are those
of the YouTube-8M starter code's flags where it has one. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from audioset_batch.errors import UsageError
from audioset_batch.learn.features.released import CLASSES, EMBEDDING_SIZE, MAX_FRAMES

VIDEO_LEVEL: Final = ("LogisticModel", "MoeModel")
FRAME_LEVEL: Final = ("FrameLevelLogisticModel", "DbofModel", "LstmModel")
ATTENTION: Final = ("DecisionLevelAttentionModel", "FeatureLevelAttentionModel")
VGG16: Final = "vgg16"
MODELS: Final = (*VIDEO_LEVEL, *FRAME_LEVEL, *ATTENTION, VGG16)


def _option(
    default: Any,
    text: str = "",
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A field with its help text (none: no flag) and what its value must be: a choice, or within limits."""
    return field(
        default=default,
        metadata={"text": text, "choices": choices, "least": least, "above": above, "below": below},
    )


def _check(options: ModelOptions | TrainOptions) -> None:
    for each in fields(options):
        value, limits = getattr(options, each.name), each.metadata
        if value is None:
            continue
        if limits["choices"] and value not in limits["choices"]:
            raise UsageError(f"{each.name}: expected one of {', '.join(limits['choices'])}; got {value!r}")
        least, above, below = limits["least"], limits["above"], limits["below"]
        # Written so that NaN is refused too.
        if least is not None and not value >= least:
            raise UsageError(f"{each.name}: expected at least {least:g}, got {value}")
        if above is not None and not value > above:
            raise UsageError(f"{each.name}: expected more than {above:g}, got {value}")
        if below is not None and not value < below:
            raise UsageError(f"{each.name}: expected less than {below:g}, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Everything that defines the network and its input; stored as `model_flags.json`.

    Raises:
        UsageError: A value is not among the choices or outside the limits, or two do not fit together.
    """

    model: str = _option("LogisticModel", f"{', '.join(MODELS)} (LogisticModel)", choices=MODELS)
    num_classes: int = _option(CLASSES, "number of classes (default: that of the packed features, else 527)", least=1)
    feature_names: str = _option("audio_embedding", "audio_embedding (the only feature of AudioSet)")
    feature_sizes: int = _option(EMBEDDING_SIZE, "128 (the only size in AudioSet)")
    frame_features: bool = _option(False, "give the model single rows (default: as the model needs)")
    max_frames: int = _option(MAX_FRAMES, "rows per clip (10)", least=1)
    label_loss: str = _option(
        "CrossEntropyLoss",
        "CrossEntropyLoss, HingeLoss, SoftmaxLoss or BinaryCrossentropy (mean over classes)",
        choices=("CrossEntropyLoss", "HingeLoss", "SoftmaxLoss", "BinaryCrossentropy"),
    )
    dequantization: str = _option(
        "youtube8m", "youtube8m or centered (default: the model's own)", choices=("youtube8m", "centered")
    )
    l2_normalize: bool = _option(True, "scale rows or their mean to norm 1 (default: the model's own)")
    moe_num_mixtures: int = _option(2, "experts per class (2)", least=1)
    iterations: int = _option(30, "DbofModel: rows sampled per clip (30)", least=1)
    dbof_add_batch_norm: bool = _option(True, "(true)")
    sample_random_frames: bool = _option(True, "DbofModel: sample rows at random instead of consecutive rows (true)")
    dbof_cluster_size: int = _option(8192, "(8192)", least=1)
    dbof_hidden_size: int = _option(1024, "(1024)", least=1)
    dbof_pooling_method: str = _option("max", "max or average (max)", choices=("max", "average"))
    dbof_activation: str = _option(
        "sigmoid", "sigmoid, relu, relu6 or tanh (sigmoid)", choices=("sigmoid", "relu", "relu6", "tanh")
    )
    dbof_batch_norm_decay: float = _option(
        0.999, "(0.999; lower it for runs of less than a few thousand steps)", least=0, below=1
    )
    video_level_classifier_model: str = _option(
        "MoeModel",
        "classifier after DbofModel and LstmModel: MoeModel or LogisticModel (MoeModel)",
        choices=VIDEO_LEVEL,
    )
    lstm_cells: int = _option(1024, "(1024)", least=1)
    lstm_layers: int = _option(2, "(2)", least=1)
    attention_units: int = _option(1024, "width of the attention models (1024)", least=1)
    attention_layers: int = _option(3, "hidden layers of the attention models (3)", least=1)
    dropout: float = _option(0.5, "dropout of the attention models (0.5)", least=0, below=1)
    image_size: int = _option(224, "vgg16: side of the image in pixels (224, at least 32)", least=32)
    clip_seconds: float = _option(10.0, "vgg16: seconds of sound per image (10)", above=0)
    log_mel_low: float = _option(-4.605, "vgg16: log-mel value that is black (-4.605)")
    log_mel_high: float = _option(5.0, "vgg16: log-mel value that is white (5)")
    class_names: tuple[str, ...] = _option(())

    def __post_init__(self) -> None:
        _check(self)
        if not self.log_mel_high > self.log_mel_low:
            raise UsageError(f"log_mel_high: expected more than log_mel_low {self.log_mel_low}")
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

    Raises:
        UsageError: A value is not among the choices or outside the limits.
    """

    batch_size: int = _option(1024, "clips per step (1024; attention 500; vgg16 32)", least=1)
    base_learning_rate: float = _option(0.01, "initial learning rate (0.01; attention and vgg16 0.001)", above=0)
    learning_rate_decay: float = _option(
        0.95, "factor per learning_rate_decay_examples (0.95; attention and vgg16 1)", above=0
    )
    learning_rate_decay_examples: int = _option(4_000_000, "(4000000)", least=1)
    optimizer: str = _option(
        "AdamOptimizer",
        "AdamOptimizer, AMSGrad, GradientDescentOptimizer, AdagradOptimizer, RMSPropOptimizer",
        choices=("AdamOptimizer", "AMSGrad", "GradientDescentOptimizer", "AdagradOptimizer", "RMSPropOptimizer"),
    )
    clip_gradient_norm: float = _option(
        1.0, "gradient clipping per variable; 0: none (1; attention and vgg16 0)", least=0
    )
    regularization_penalty: float = _option(1.0, "factor of the model's L2 terms (1)", least=0)
    num_epochs: int = _option(5, "passes over the data (5; vgg16 10; attention by max_steps)", least=1)
    max_steps: int | None = _option(None, "(attention 50000, else by num_epochs)", least=1)
    export_model_steps: int = _option(1000, "steps between checkpoints (1000; vgg16 200)", least=1)
    log_steps: int = _option(10, "steps between rows of train_log.csv (10)", least=1)
    eval_steps: int = _option(1000, "steps between validations (1000; vgg16 200)", least=1)
    early_stopping: int = _option(0, "stop after this many validations without a better mAP; 0: never (0)", least=0)
    balanced_sampling: str = _option(
        "none",
        "none, panns (classes in turn) or ast (weighted) (none; attention panns)",
        choices=("none", "panns", "ast"),
    )
    mixup: str = _option("none", "none, panns or ast (none)", choices=("none", "panns", "ast"))
    seed: int = _option(0, "random seed (0)", least=0)
    keep_checkpoints: int = _option(2, "number of checkpoints to keep (2)", least=1)
    finetune_steps: int = _option(0, "vgg16: further steps that also train block5 (0)", least=0)
    finetune_learning_rate: float = _option(1e-5, "vgg16: learning rate of these steps (1e-5)", above=0)

    def __post_init__(self) -> None:
        _check(self)


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


def default_model_options(model: str, **changes: Any) -> ModelOptions:
    """The published definition of a model, but for `changes`.

    Raises:
        UsageError: No such model, or a value that it does not take.
    """
    values: dict[str, Any] = {"model": model, "frame_features": model not in VIDEO_LEVEL}
    if model in ATTENTION:
        values |= {"label_loss": "BinaryCrossentropy", "dequantization": "centered", "l2_normalize": False}
    if model == VGG16:
        values |= {"label_loss": "BinaryCrossentropy", "feature_names": "log_mel"}
    return ModelOptions(**values | changes)


def default_train_options(model: str, **changes: Any) -> TrainOptions:
    """The published training of a model, but for `changes`.

    Raises:
        UsageError: A value that it does not take.
    """
    options = _ATTENTION_TRAINING if model in ATTENTION else _VGG16_TRAINING if model == VGG16 else TrainOptions()
    # A limit on epochs would otherwise do nothing where the default is a number of steps.
    if "num_epochs" in changes:
        changes = {"max_steps": None} | changes
    return replace(options, **changes)
