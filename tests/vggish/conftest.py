"""One engine for all tests that need the whole network: building it takes seconds."""

from __future__ import annotations

import pytest

from audioset_batch.vggish.engine import Engine, random_engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    return random_engine(seed=7, batch_size=16)
