"""The network, the PCA and the account of where both came from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audioset_batch.learn.vggish.audio import RESAMPLER
from audioset_batch.learn.vggish.frontend import SAMPLE_RATE, examples
from audioset_batch.learn.vggish.network import Network, device_name
from audioset_batch.learn.vggish.pca import Pca, standardising_pca
from audioset_batch.learn.vggish.weights import Weights, random_weights

_CALIBRATION_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class Engine:
    """All that turns log-mel examples into released-style embeddings."""

    network: Network
    pca: Pca
    weights: Weights
    final_relu: bool = False

    def provenance(self) -> dict[str, Any]:
        """What output metadata says; plain JSON values."""
        return {
            "weights": self.weights.source,
            "weights_sha256": self.weights.fingerprint,
            "random_weights_seed": self.weights.seed,
            "pca": self.pca.source,
            "pca_sha256": self.pca.fingerprint,
            "final_relu": self.final_relu,
            "resampler": RESAMPLER,
            "device": device_name(),
            "audioset_batch": version("audioset-batch"),
        }


def load_engine(weights: Weights, pca: Pca, batch_size: int, *, final_relu: bool = False) -> Engine:
    """The engine of given weights and PCA parameters."""
    return Engine(Network(weights, batch_size, final_relu=final_relu), pca, weights, final_relu)


def random_engine(seed: int, batch_size: int, *, final_relu: bool = False) -> Engine:
    """An engine with untrained weights, for demonstrations; its embeddings mean little.

    Every dimension is scaled to unit variance over 48 synthetic sounds, so that quantization keeps something.
    """
    weights = random_weights(seed)
    network = Network(weights, batch_size, final_relu=final_relu)
    outputs = network.embed(_calibration_examples(seed))
    pca = standardising_pca(outputs, f"standardisation over synthetic sounds, seed {seed}")
    # Backends differ in the last digits; rounding lets shards made on different nodes agree.
    rounded = Pca(np.round(pca.vectors, 3), np.round(pca.means, 2), pca.source)
    return Engine(network, rounded, weights, final_relu)


def _calibration_examples(seed: int) -> NDArray[np.float32]:
    """48 examples: tones, sweeps and noise of different pitch and level."""
    rng = np.random.default_rng([seed, 1])
    time = np.arange(_CALIBRATION_SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    sounds = []
    for index in range(48):
        level = 10.0 ** rng.uniform(-2.0, -0.1)
        pitch, end = 10.0 ** rng.uniform(2.2, 3.7, size=2)
        if index % 3 == 0:
            sound = np.sin(2 * np.pi * pitch * time)
        elif index % 3 == 1:
            sound = np.sin(2 * np.pi * (pitch * time + (end - pitch) * time**2 / 2))
        else:
            sound = rng.standard_normal(time.size) / 3
        sounds.append(examples(level * sound))
    return np.concatenate(sounds)
