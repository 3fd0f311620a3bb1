"""Networks and losses against their definitions, written out in NumPy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from audioset_batch.errors import UsageError
from audioset_batch.learn.training.models import build_model
from audioset_batch.learn.training.options import (
    ATTENTION,
    FRAME_LEVEL,
    MODELS,
    VGG16,
    VIDEO_LEVEL,
    ModelOptions,
    default_model_options,
    default_train_options,
)

EMBEDDING_MODELS = (*VIDEO_LEVEL, *FRAME_LEVEL, *ATTENTION)
SMALL = {
    "num_classes": 6,
    "dbof_cluster_size": 16,
    "dbof_hidden_size": 8,
    "lstm_cells": 5,
    "attention_units": 7,
    "iterations": 12,
}
LENGTHS = np.array([10, 4, 1, 0], np.float32)


def small(model: str, **changes: Any) -> ModelOptions:
    return replace(default_model_options(model), **SMALL, **changes)


def clips(seed: int = 0) -> dict[str, np.ndarray]:
    frames = np.random.default_rng(seed).normal(0, 1, (4, 10, 128)).astype(np.float32)
    frames[np.arange(10) >= LENGTHS[:, None]] = 0
    return {"frames": frames, "num_frames": LENGTHS}


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {variable.path: np.asarray(variable) for variable in model.weights}


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("LogisticModel", 128 * 527 + 527),
        ("MoeModel", 128 * 527 * 3 + 128 * 527 * 2 + 527 * 2),
        ("FrameLevelLogisticModel", 128 * 527 + 527),
        (
            "DbofModel",
            4 * (128 + 8192 + 1024) + 128 * 8192 + 8192 * 1024 + 1024 * 527 * 5 + 527 * 2,
        ),
        ("LstmModel", 4 * 1024 * (128 + 1024 + 1) + 4 * 1024 * (1024 + 1024 + 1) + 1024 * 527 * 5 + 527 * 2),
        (
            "DecisionLevelAttentionModel",
            129 * 1024 + 2 * 1025 * 1024 + 3 * 4 * 1024 + 2 * 1025 * 527,
        ),
        (
            "FeatureLevelAttentionModel",
            129 * 1024 + 2 * 1025 * 1024 + 4 * 4 * 1024 + 2 * 1025 * 1024 + 1025 * 527,
        ),
    ],
)
def test_default_sizes_are_the_published_ones(model: str, parameters: int) -> None:
    assert build_model(default_model_options(model)).count_params() == parameters


@pytest.mark.parametrize("model", EMBEDDING_MODELS)
def test_predictions_are_probabilities_that_padding_does_not_change(model: str) -> None:
    network = build_model(small(model), seed=3)
    inputs = clips()
    scores = np.asarray(network.predict_on_batch(inputs))
    assert scores.shape == (4, 6) and np.isfinite(scores).all()
    assert scores.min() >= 0 and scores.max() <= 1
    again = build_model(small(model), seed=3)
    assert np.array_equal(np.asarray(again.predict_on_batch(inputs)), scores)
    if model not in (*VIDEO_LEVEL, "FrameLevelLogisticModel"):
        # These sum over rows and rely on padding that is zero.
        junk = {"frames": inputs["frames"].copy(), "num_frames": LENGTHS}
        junk["frames"][1, 4:] = 9.0
        assert np.asarray(network.predict_on_batch(junk))[1] == pytest.approx(scores[1], abs=1e-6)


def test_logistic_model_is_a_sigmoid_of_the_normalised_mean() -> None:
    network = build_model(small("LogisticModel"))
    inputs, weights = clips(), arrays(build_model(small("LogisticModel")))
    mean = inputs["frames"].sum(axis=1) / np.maximum(LENGTHS, 1)[:, None]
    expected = sigmoid(unit(mean) @ weights["logistic/kernel"] + weights["logistic/bias"])
    assert np.asarray(network.predict_on_batch(inputs)) == pytest.approx(expected, abs=1e-5)


def test_frame_level_logistic_model_normalises_before_it_averages() -> None:
    network = build_model(small("FrameLevelLogisticModel"))
    inputs, weights = clips(), arrays(network)
    mean = unit(inputs["frames"]).sum(axis=1) / np.maximum(LENGTHS, 1)[:, None]
    expected = sigmoid(mean @ weights["logistic/kernel"] + weights["logistic/bias"])
    assert np.asarray(network.predict_on_batch(inputs)) == pytest.approx(expected, abs=1e-5)


def test_mixture_of_experts_has_a_gate_that_says_no() -> None:
    network = build_model(small("MoeModel", moe_num_mixtures=3))
    inputs, weights = clips(), arrays(network)
    video = unit(inputs["frames"].sum(axis=1) / np.maximum(LENGTHS, 1)[:, None])
    assert "gates/bias" not in weights
    gates = np.exp((video @ weights["gates/kernel"]).reshape(4, 6, 4))
    gates /= gates.sum(axis=-1, keepdims=True)
    experts = sigmoid(video @ weights["experts/kernel"] + weights["experts/bias"]).reshape(4, 6, 3)
    expected = (gates[..., :3] * experts).sum(axis=-1)
    assert np.asarray(network.predict_on_batch(inputs)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("model", ATTENTION)
def test_attention_pools_over_the_rows_that_are_there(model: str) -> None:
    network = build_model(small(model))
    inputs, weights = clips(), arrays(network)
    rows = inputs["frames"]
    for layer in range(3):
        rows = rows @ weights[f"embedding_{layer}/kernel"] + weights[f"embedding_{layer}/bias"]
        rows = np.maximum(rows / np.sqrt(1 + 1e-3), 0)
    cla = rows @ weights["cla/kernel"] + weights["cla/bias"]
    att = rows @ weights["att/kernel"] + weights["att/bias"]
    if model == "DecisionLevelAttentionModel":
        cla, att = sigmoid(cla), np.exp(att) / np.exp(att).sum(axis=-1, keepdims=True)
    else:
        att = sigmoid(att)
    att = np.clip(att, 1e-7, 1 - 1e-7) * (np.arange(10) < LENGTHS[:, None])[..., None]
    pooled = (cla * att).sum(axis=1) / np.maximum(att.sum(axis=1), 1e-7)
    if model == "FeatureLevelAttentionModel":
        hidden = np.maximum(pooled / np.sqrt(1 + 1e-3), 0)
        pooled = sigmoid(hidden @ weights["output/kernel"] + weights["output/bias"])
    assert np.asarray(network.predict_on_batch(inputs)) == pytest.approx(pooled, abs=1e-5)


@pytest.mark.parametrize("random", [True, False])
def test_frames_are_sampled_in_training_and_taken_evenly_otherwise(random: bool) -> None:
    from audioset_batch.learn.training.models.frame_level import FrameSampler

    rows = np.broadcast_to(np.arange(10, dtype=np.float32)[None, :, None], (300, 10, 2))
    lengths = np.full(300, 7, np.float32)
    sampler = FrameSampler(30, random, seed=1)
    even = np.asarray(sampler(rows, lengths, training=False))[0, :, 0]
    assert np.bincount(even.astype(int)).tolist() == [5, 4, 4, 5, 4, 4, 4]
    drawn = np.asarray(sampler(rows, lengths, training=True))[..., 0]
    assert drawn.shape == (300, 30) and drawn.max() == 6
    if random:
        assert np.bincount(drawn.astype(int).ravel()) / 9000 == pytest.approx(np.full(7, 1 / 7), abs=0.02)
    else:
        assert np.array_equal(drawn[0], np.minimum(np.arange(30), 6))


def test_lstm_output_is_that_of_the_last_row() -> None:
    network = build_model(small("LstmModel", video_level_classifier_model="LogisticModel"))
    inputs = clips()
    alone = {"frames": inputs["frames"][1:2, :4], "num_frames": LENGTHS[1:2]}
    shorter = build_model(small("LstmModel", video_level_classifier_model="LogisticModel", max_frames=4))
    for mine, theirs in zip(shorter.weights, network.weights, strict=True):
        mine.assign(np.asarray(theirs))
    expected = np.asarray(shorter.predict_on_batch(alone))[0]
    assert np.asarray(network.predict_on_batch(inputs))[1] == pytest.approx(expected, abs=1e-6)
    bias = arrays(network)["lstm_0/lstm_cell/bias"]
    assert bias.reshape(4, -1).mean(axis=1).tolist() == [0, 1, 0, 0]


def test_losses_are_those_of_the_starter_code() -> None:
    from audioset_batch.learn.training.losses import BY_NAME

    labels = np.array([[1, 0, 1], [0, 0, 0]], np.float32)
    scores = np.array([[0.9, 0.2, 0.0], [1.0, 0.5, 0.1]], np.float32)
    eps = 1e-5
    clips_loss = -(labels * np.log(scores + eps) + (1 - labels) * np.log(1 - scores + eps)).sum(axis=1)
    assert np.asarray(BY_NAME["CrossEntropyLoss"](labels, scores)) == pytest.approx(clips_loss, rel=1e-4)
    assert clips_loss[0] == pytest.approx(0.10535 + 0.22314 + 11.51293, abs=1e-3)
    assert np.asarray(BY_NAME["HingeLoss"](labels, scores)) == pytest.approx([0.1 + 1.2 + 1.0, 2.0 + 1.5 + 1.1])
    log_softmax = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    expected = [-(log_softmax[0, 0] + log_softmax[0, 2]) / 2, 0.0]
    assert np.asarray(BY_NAME["SoftmaxLoss"](labels, scores)) == pytest.approx(expected, rel=1e-5)
    mean = -(labels * np.log(np.clip(scores, 1e-7, 1)) + (1 - labels) * np.log(np.clip(1 - scores, 1e-7, 1)))
    assert np.asarray(BY_NAME["BinaryCrossentropy"](labels, scores)) == pytest.approx(mean.mean(axis=1), rel=2e-2)


def test_the_l2_term_is_half_the_sum_of_squares_times_its_weight() -> None:
    network = build_model(small("LogisticModel"), regularization_penalty=1e6)
    kernel = arrays(network)["logistic/kernel"]
    assert float(sum(network.losses)) == pytest.approx(1e6 * 1e-8 * (kernel**2).sum() / 2, rel=1e-5)


def test_learning_rate_falls_in_stairs_of_examples() -> None:
    from audioset_batch.learn.training.loop import learning_rate_at, make_optimizer

    options = default_train_options("LogisticModel")
    schedule = make_optimizer(options, 0.01)._learning_rate
    for step, expected in ((0, 0.01), (3906, 0.01), (3907, 0.0095), (7813, 0.009025)):
        assert learning_rate_at(options, 0.01, step) == pytest.approx(expected)
        assert float(schedule(step)) == pytest.approx(expected)


def test_gradients_are_clipped_per_variable() -> None:
    from audioset_batch.learn.training.keras_api import keras
    from audioset_batch.learn.training.loop import make_optimizer

    options = replace(
        default_train_options("LogisticModel"), optimizer="GradientDescentOptimizer", learning_rate_decay=1.0
    )
    optimizer = make_optimizer(options, 1.0)
    variables = [keras.Variable(np.zeros(2, np.float32)), keras.Variable(np.zeros(2, np.float32))]
    optimizer.apply([np.array([30.0, 40.0], np.float32), np.array([0.3, 0.4], np.float32)], variables)
    assert np.asarray(variables[0]) == pytest.approx([-0.6, -0.8])
    assert np.asarray(variables[1]) == pytest.approx([-0.3, -0.4])


@pytest.mark.parametrize("model", MODELS)
def test_published_defaults(model: str) -> None:
    options, training = default_model_options(model), default_train_options(model)
    assert options.num_classes == 527 and options.max_frames == 10
    if model in ATTENTION:
        assert (training.batch_size, training.base_learning_rate, training.max_steps) == (500, 1e-3, 50_000)
        assert (options.dequantization, options.l2_normalize, training.balanced_sampling) == (
            "centered",
            False,
            "panns",
        )
    elif model != VGG16:
        assert (training.batch_size, training.base_learning_rate, training.num_epochs) == (1024, 0.01, 5)
        assert (training.learning_rate_decay, training.learning_rate_decay_examples) == (0.95, 4_000_000)
        assert (options.dequantization, options.l2_normalize, options.label_loss) == (
            "youtube8m",
            True,
            "CrossEntropyLoss",
        )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": "Logistic"}, "LogisticModel, MoeModel"),
        ({"label_loss": "x"}, "CrossEntropyLoss"),
        ({"feature_sizes": 1024}, "feature_sizes 128"),
        ({"frame_features": True}, "leave out"),
        ({"model": "DbofModel"}, "give --frame_features"),
        ({"lstm_layers": 0}, "at least 1"),
    ],
)
def test_impossible_options_are_refused_with_the_valid_ones(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        ModelOptions(**changes)
