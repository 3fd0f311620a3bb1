""".ci/run with a `make` that says what pytest says: the status comes through, the closing lines come last."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "dirname", "grep", "id", "mktemp", "rm", "sed", "tail", "tee")  # apt-get is not among them


@pytest.mark.parametrize("status", [0, 2])
def test_status_and_closing_lines(tmp_path: Path, status: int) -> None:
    (tmp_path / "tools").mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "tools" / name).symlink_to(found)
    make = tmp_path / "tools" / "make"
    make.write_text(
        '#!/bin/sh\necho "$* CI=$CI"\n'
        'echo "=== short test summary info ==="; echo "FAILED tests/x.py::y"\n'
        'echo "=== 1 failed, 2 passed in 3.45s ==="\n'
        f"exit {status}\n"
    )
    make.chmod(0o755)
    done = subprocess.run(
        ["bash", CHECKOUT / ".ci/run"],
        env={"PATH": f"{tmp_path}/tools", "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "test-all CI=true" in done.stdout
    closing = done.stdout.split("=== closing lines of pytest\n")[1]
    assert "FAILED tests/x.py::y" in closing
    assert "1 failed, 2 passed in 3.45s" in closing
