"""Engines: the whole network, built once, and a light one for tests of what is around it."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from audioset_batch.learn.vggish.engine import Engine, random_engine
from audioset_batch.learn.vggish.network import Network
from audioset_batch.learn.vggish.pca import Pca
from audioset_batch.learn.vggish.weights import Weights


@pytest.fixture(scope="session")
def engine() -> Engine:
    return random_engine(seed=7, batch_size=16)


class LightNetwork:
    """Means over the examples' frames, projected: as dependent on the sound as VGGish, and in no time."""

    batch_size = 16

    def __init__(self) -> None:
        self._matrix = np.random.default_rng(0).standard_normal((64, 128), dtype=np.float32) / 8

    def embed(self, examples: np.ndarray) -> np.ndarray:
        assert len(examples) <= self.batch_size
        return examples.mean(axis=1) @ self._matrix


@pytest.fixture(scope="session")
def light_engine() -> Engine:
    weights = Weights({"kernel": np.zeros(1, np.float32)}, "random weights, seed 7", 7)
    return Engine(cast(Network, LightNetwork()), Pca(np.eye(128), np.zeros(128), "none"), weights)
