"""scripts/count-lines.py counts what it says."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "count-lines.py"
MODULE = '''"""A docstring
of two lines."""

import os  # a comment

# another


class Both:
    """Docstring."""

    size: int = 1
    """Docstring of an attribute."""

    def first(self) -> str:
        """Docstring."""
        return """text,
no docstring"""

    def second(self) -> None: ...
'''


def run(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False)


def test_blank_lines_comments_and_docstrings_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "one.py").write_text(MODULE)
    (tmp_path / "two.py").write_text("\n".join(f"x{n} = {n}" for n in range(7)))
    (tmp_path / "room" / "three.py").write_text("\n".join(f"x{n} = {n}" for n in range(1, 9)))
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()[2:]}
    assert lines["room/"][1:3] == ["2", "15"], "7 lines of code in one.py, 8 in three.py"
    assert lines["room/"][4:] == ["one.Both", "(2),", "one.first", "(3)"]
    assert lines["total"][1:3] == ["3", "22"]
    assert done.stdout.endswith("lines that stand twice, in runs of 6 or more: 12\n")


def test_a_folder_without_python_is_named(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"count-lines: {tmp_path}: expected a folder with Python files, found none\n"
