"""Samplers and mixup: what they draw, and that any step can be computed on its own."""

from __future__ import annotations

import numpy as np
import pytest

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.features.arrays import dequantize, dequantize_centered
from audioset_batch.learn.training.examples import EmbeddingExamples, Subset, held_out, mixed
from audioset_batch.learn.training.options import ModelOptions, default_model_options
from audioset_batch.learn.training.sampling import BatchSource, ClassQueue, Sampler, Shuffled, Weighted, make_sampler
from tests.support.synthetic_features import SyntheticFeatures


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return SyntheticFeatures(classes=12, seed=1).sample(300, seed=1).labels


@pytest.mark.parametrize("name", ["none", "panns", "ast"])
def test_a_sequence_does_not_depend_on_how_it_is_cut(name: str, labels: np.ndarray) -> None:
    whole = make_sampler(name, labels, 7).rows(0, 3000)
    fresh = make_sampler(name, labels, 7)
    assert np.array_equal(fresh.rows(1777, 450), whole[1777:2227])
    assert np.array_equal(fresh.rows(0, 64), whole[:64])
    assert not np.array_equal(make_sampler(name, labels, 8).rows(0, 3000), whole)


def test_shuffled_takes_every_clip_once_per_epoch() -> None:
    rows = Shuffled(100, 3).rows(0, 250)
    assert sorted(rows[:100]) == sorted(rows[100:200]) == list(range(100))
    assert not np.array_equal(rows[:100], rows[100:200])


def test_class_queue_visits_classes_in_turn_and_their_clips_in_turn() -> None:
    labels = np.zeros((7, 4), np.bool_)
    labels[[0, 1, 2, 3], 0] = True
    labels[[4, 5], 1] = True
    labels[6, 3] = True
    rows = ClassQueue(labels, 0).rows(0, 36)
    for turn in range(12):
        chosen = rows[3 * turn : 3 * turn + 3]
        assert sorted(np.flatnonzero(labels[row])[0] for row in chosen) == [0, 1, 3]
    of_first = [row for row in rows if row < 4]
    for lap in range(3):
        assert sorted(of_first[4 * lap : 4 * lap + 4]) == [0, 1, 2, 3]
    assert sum(rows == 6) == 12


def test_weighted_draws_by_inverse_class_counts(labels: np.ndarray) -> None:
    drawn = np.bincount(Weighted(labels, 0).rows(0, 400_000), minlength=len(labels)) / 400_000
    weights = (labels * (1000.0 / (labels.sum(axis=0) + 0.01))).sum(axis=1)
    assert drawn == pytest.approx(weights / weights.sum(), abs=1.5e-3)


@pytest.mark.parametrize("kind", [ClassQueue, Weighted])
def test_balance_without_labels_is_refused(kind: type[ClassQueue] | type[Weighted]) -> None:
    with pytest.raises(UsageError, match="no clip"):
        kind(np.zeros((5, 3), np.bool_), 0)


def examples(model: str = "LogisticModel", parts: int = 2) -> tuple[EmbeddingExamples, list]:
    options = ModelOptions(
        model=model,
        num_classes=12,
        dequantization=default_model_options(model).dequantization,
        frame_features=model != "LogisticModel",
    )
    sets = [SyntheticFeatures(classes=12, seed=1).sample(200, seed=n) for n in range(parts)]
    return EmbeddingExamples(sets, options), sets


@pytest.mark.parametrize(
    ("model", "function"), [("LogisticModel", dequantize), ("DecisionLevelAttentionModel", dequantize_centered)]
)
def test_rows_come_dequantized_and_zero_padded(model: str, function: object) -> None:
    data, sets = examples(model)
    short = int(np.flatnonzero(sets[1].lengths < 10)[0])
    inputs = data.inputs(np.array([3, 200 + short, 199]))
    length = sets[1].lengths[short]
    assert inputs["num_frames"].tolist() == [10, length, sets[0].lengths[199]]
    assert np.array_equal(inputs["frames"][0], function(sets[0].embeddings[3]))  # type: ignore[operator]
    assert not inputs["frames"][1, length:].any()
    assert np.array_equal(inputs["frames"][1, :length], function(sets[1].embeddings[short, :length]))  # type: ignore[operator]
    assert np.array_equal(data.labels[200:], sets[1].labels)


def test_other_numbers_of_classes_are_refused() -> None:
    features = SyntheticFeatures(classes=5).sample(3, seed=0)
    with pytest.raises(InputRefused, match="12 classes"):
        EmbeddingExamples([features], ModelOptions(num_classes=12))


def test_held_out_clips_depend_on_their_ids_only() -> None:
    data, _ = examples()
    chosen = held_out(data, 0.25)
    assert 0.15 < chosen.mean() < 0.35
    part = Subset(data, np.arange(100, 300))
    assert np.array_equal(held_out(part, 0.25), chosen[100:300])
    assert np.array_equal(part.inputs(np.array([5]))["frames"], data.inputs(np.array([105]))["frames"])


def test_mixup_is_linear_in_inputs_and_labels() -> None:
    first = {"frames": np.ones((2, 3, 4), np.float32), "num_frames": np.array([3, 1], np.float32)}
    second = {"frames": np.full((2, 3, 4), 5, np.float32), "num_frames": np.array([2, 2], np.float32)}
    result = mixed(first, second, np.array([0.25, 1.0], np.float32))
    assert result["frames"][:, 0, 0].tolist() == [4.0, 1.0]
    assert result["num_frames"].tolist() == [3.0, 2.0]


@pytest.mark.parametrize(("mixup", "unmixed"), [("none", 1.0), ("panns", 0.0), ("ast", 0.5)])
def test_mixup_conventions(mixup: str, unmixed: float) -> None:
    data, _ = examples()
    sampler: Sampler = Shuffled(len(data), 0)
    source = BatchSource(data, sampler, 300, mixup, seed=4)
    batch, again = source.batch(9), BatchSource(data, Shuffled(len(data), 0), 300, mixup, seed=4).batch(9)
    assert np.array_equal(batch.labels, again.labels)
    assert np.array_equal(batch.inputs["frames"], again.inputs["frames"])
    assert batch.labels.shape == (300, 12) and batch.labels.dtype == np.float32
    whole = np.isin(batch.labels, [0.0, 1.0]).all(axis=1).mean()
    # A pair with the same labels looks unmixed too.
    assert unmixed - 0.1 <= whole <= unmixed + 0.4
    if mixup == "ast":
        shares = batch.labels[(batch.labels > 0) & (batch.labels < 1)]
        assert 0.4 < np.median(np.maximum(shares, 1 - shares)) < 0.7
