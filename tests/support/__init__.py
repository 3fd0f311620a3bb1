"""What tests of several parts share: made-up data, a private SLURM, workers to watch, waiting for things to happen."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""The repository that the tests are in."""
