"""scripts/newest-yt-dlp.sh with a registry and a pytest of our own."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.tools import link_tools, run, write_tool

TOOLS = ("bash", "cat", "dirname", "mktemp", "printf", "rm", "sort", "tail")
PYTHON = r"""
case "$1 $2" in
"-m pip")
    [ -f registry.json ] || { echo "ERROR: nobody answers" >&2; exit 1; }
    echo "pip $* constraint=$PIP_CONSTRAINT" >>calls
    while [ $# -gt 0 ]; do
        [ "$1" != --report ] || cp registry.json "$2"
        shift
    done ;;
"-m pytest") echo "pytest $* path=$PYTHONPATH" >>calls; exit "$(cat pytest-status)" ;;
-c*version\(*) echo 2026.10.26 ;;
-c*__file__*) echo "$PYTHONPATH/yt_dlp/__init__.py" ;;
*) exec PROGRAM "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    link_tools(tmp_path / "tools", (*TOOLS, "cp"))
    (tmp_path / "checkout/scripts").mkdir(parents=True)
    shutil.copy(CHECKOUT / "scripts/newest-yt-dlp.sh", tmp_path / "checkout/scripts")
    write_tool(tmp_path / "checkout/.venv/bin/python", PYTHON.replace("PROGRAM", sys.executable))
    return tmp_path / "checkout"


def registry(checkout: Path, newest: str, pytest_status: int = 0) -> None:
    others = [{"metadata": {"name": "certifi", "version": "3000.1.1"}}]
    report = {"install": [*others, {"metadata": {"name": "yt-dlp", "version": newest}}]}
    (checkout / "registry.json").write_text(json.dumps(report))
    (checkout / "pytest-status").write_text(str(pytest_status))


def newest(checkout: Path) -> tuple[int, list[str], str]:
    """Status, lines, calls."""
    temp = checkout / "temp"
    temp.mkdir()
    path = checkout.parent / "tools"
    done = run(checkout / "scripts/newest-yt-dlp.sh", path=path, TMPDIR=str(temp), PIP_CONSTRAINT="pins.txt")
    assert done.stderr == "" and list(temp.iterdir()) == []
    calls = checkout / "calls"
    return done.returncode, done.stdout.splitlines(), calls.read_text() if calls.exists() else ""


@pytest.mark.parametrize("version", ["2026.10.26", "2026.9.30"])
def test_nothing_newer(checkout: Path, version: str) -> None:
    registry(checkout, version)
    status, lines, calls = newest(checkout)
    assert status == 0 and "2026.10.26 is installed: no second run" in lines[-1]
    assert "pytest -m" not in calls and "--target" not in calls


def test_a_newer_one_passes(checkout: Path) -> None:
    registry(checkout, "2026.10.26.1")
    status, lines, calls = newest(checkout)
    assert (status, lines[-1]) == (0, "newest yt-dlp: 2026.10.26.1: all tests passed")
    tried, installed, tested = calls.splitlines()
    assert "--dry-run" in tried and "--target" in installed and "yt-dlp[default]" in installed
    assert tried.endswith("constraint="), "what is pinned does not hold"
    assert "tests/youtube tests/standin tests/demo" in tested and "/packages" in tested.split("path=")[1]


def test_a_newer_one_fails(checkout: Path) -> None:
    registry(checkout, "2999.1.1", pytest_status=1)
    status, lines, _ = newest(checkout)
    assert (status, lines[-1]) == (1, "newest yt-dlp: 2999.1.1: tests FAILED (status 1)")
    assert any("TESTS FAIL WITH THE NEWEST YT-DLP, 2999.1.1" in line for line in lines)


def test_no_registry_is_said_loudly(checkout: Path) -> None:
    status, lines, calls = newest(checkout)
    assert (status, calls) == (0, "")
    assert any("NO REGISTRY ANSWERS" in line for line in lines) and "ERROR: nobody answers" in lines
    assert lines[-1] == "newest yt-dlp: not tried, no registry answers"
