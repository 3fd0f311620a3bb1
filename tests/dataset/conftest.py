"""Data directories for tests of the front door."""

from pathlib import Path

import pytest

from audioset_batch.merge import merge
from tests.support.dataset_data import make_data_dir


@pytest.fixture(params=["files", "tars", "open tars"])
def anyhow(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A merged data directory, in each layout."""
    root = make_data_dir(tmp_path / "data", request.param)
    merge(root)
    return root


@pytest.fixture
def unmerged(tmp_path: Path) -> Path:
    """A data directory of files, without a merged table."""
    return make_data_dir(tmp_path / "data", "files")


@pytest.fixture
def merged(unmerged: Path) -> Path:
    """The same, with it."""
    merge(unmerged)
    return unmerged
