"""The smoke test that Google publishes with VGGish: a 1 kHz tone of three seconds, and what must come out.

Values of `vggish_smoke_test.py` (tensorflow/models) as of 2023: input made at 16 kHz, no ReLU at the end,
tolerance 10 %. Ten per cent of the raw mean are 7e-5, which backends need not reach, so that one value also passes
within `RAW_MEAN_TOLERANCE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from audioset_batch.learn.vggish.engine import Engine
from audioset_batch.learn.vggish.frontend import SAMPLE_RATE, examples

RELATIVE_TOLERANCE: Final = 0.1
RAW_MEAN_TOLERANCE: Final = 0.01
"""Absolute; 3 % of the standard deviation of the raw embeddings."""

EXPECTED: Final = {"raw mean": 0.000657, "raw std": 0.343, "quantized mean": 126.0, "quantized std": 89.3}


@dataclass(frozen=True, slots=True)
class Check:
    """One number of the smoke test."""

    name: str
    expected: float
    got: float
    passed: bool

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "DIFFERS"
        return f"{self.name:<15} expected {self.expected:>12.6g}   got {self.got:>12.6g}   {verdict}"


def smoke_test(engine: Engine) -> list[Check]:
    """Run the published test; every check says whether it passed."""
    tone = np.sin(2 * np.pi * 1000.0 * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)
    raw = engine.network.embed(examples(tone))
    quantized = engine.pca.postprocess(raw)
    got = {
        "raw mean": float(raw.mean()),
        "raw std": float(raw.std()),
        "quantized mean": float(quantized.mean()),
        "quantized std": float(quantized.std()),
    }
    return [Check(name, EXPECTED[name], got[name], _passes(name, got[name])) for name in EXPECTED]


def _passes(name: str, got: float) -> bool:
    difference = abs(got - EXPECTED[name])
    if name == "raw mean" and difference <= RAW_MEAN_TOLERANCE:
        return True
    return difference <= RELATIVE_TOLERANCE * abs(EXPECTED[name])
