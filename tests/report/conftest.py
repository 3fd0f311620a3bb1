"""Made-up data sets, merged, and a browser that fails loudly where it has to be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.merge import merge
from tests.support.browser import Page, browse, find_browser
from tests.support.report_data import CLASSES, plan, write_dataset, write_ontology


@pytest.fixture(scope="session")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subsets, 3,000 segments of 40 classes of which one was never planned, with the ontology. Do not change it."""
    root = tmp_path_factory.mktemp("report") / "made-up"
    mids = list(CLASSES)[:-1]
    subsets = {"eval_segments": plan(1000, 1, mids), "balanced_train_segments": plan(2000, 2, mids)}
    write_dataset(root, subsets, done=0.9)
    write_ontology(root, CLASSES)
    merge(root, write_csv=False)
    return root


@pytest.fixture(scope="session")
def chromium() -> Iterator[Page]:
    """One tab of a headless Chromium. Without one the test is skipped, but under CI (`CI=true`) it fails."""
    program = find_browser()
    if program is None:
        text = "NO CHROMIUM HERE, THE REPORT IS NOT TESTED IN A BROWSER (apt-get install chromium)"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(text)
        pytest.skip(text)
    with browse(program) as page:
        yield page
