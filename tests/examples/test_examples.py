"""The scripts of examples/, run as their first lines say."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audioset_batch.merge import merge
from tests.support.dataset_data import make_data_dir

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(*argv: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_data_dir(tmp_path_factory.mktemp("example") / "data", "files")
    merge(root)
    return root


@pytest.mark.slow
def test_try_it(tmp_path: Path) -> None:
    done = run(EXAMPLES / "try-it.sh", tmp_path / "audioset")
    assert "2 unavailable, 4 ok" in done.stdout
    assert "data/eval_segments/audio/example0002_20000_30000.flac" in done.stdout
    assert len(list(tmp_path.rglob("*.flac"))) == 4


def test_labels(data_dir: Path) -> None:
    lines = run(sys.executable, EXAMPLES / "labels.py", data_dir).stdout.splitlines()
    assert [line.split(maxsplit=3) for line in lines] == [
        ["1", "of", "1", "Male speech, man speaking"],
        ["1", "of", "1", "Speech"],
        ["1", "of", "3", "Cat"],
        ["3", "of", "4", "Dog"],
    ]


def test_octave_bands(data_dir: Path, tmp_path: Path) -> None:
    run(sys.executable, EXAMPLES / "octave_bands.py", data_dir, tmp_path / "levels.npz")
    with np.load(tmp_path / "levels.npz") as arrays:
        assert len(arrays["ytids"]) == 4
        assert arrays["labels"].shape == (4, 4) and arrays["labels"].sum() == 6
        # Their tones of 200 Hz are the loudest in the band from 125 to 250 Hz.
        assert arrays["levels"].shape == (4, 10) and set(arrays["levels"].argmax(axis=1)) == {4}


@pytest.mark.parametrize("script", ["labels.py", "octave_bands.py"])
def test_wrong_usage_is_a_sentence(script: str) -> None:
    assert run(sys.executable, EXAMPLES / script, status=1).stderr.startswith("usage: ")
