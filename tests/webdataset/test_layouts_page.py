"""The Python on docs/layouts.md runs as it stands."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.loopback import Project

PAGE = Path(__file__).parents[2] / "docs" / "layouts.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_runs(finished: Project, tmp_path: Path, number: int) -> None:
    code = BLOCKS[number]
    if "from datasets" in code and importlib.util.find_spec("torchcodec") is None:
        pytest.skip("NOT TESTED HERE: needs `pip install 'datasets[audio]'`")
    if "/scratch/parquet" in code:
        finished.run("export", str(finished.data), "--parquet", "--to", str(tmp_path / "parquet"))
    code = code.replace("/scratch/audioset", str(finished.data)).replace("/scratch/parquet", str(tmp_path / "parquet"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_reader_is_there() -> None:
    assert len(BLOCKS) == 5
