"""`.ci/run` with a `make` that says what pytest says: the status comes through, the newest yt-dlp is first and last."""

import shutil
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.tools import link_tools, run, write_tool

TOOLS = ("bash", "cat", "dirname", "grep", "id", "mktemp", "rm", "sed", "tail", "tee")  # apt-get is not among them
SAID = """
echo "$* CI=$CI"
echo "=== short test summary info ==="; echo "FAILED tests/x.py::y"; echo "SKIPPED [1] z"
echo "=== 1 failed, 2 passed in 3.45s ==="
echo "=== 40 passed, 1 skipped in 600.00s (0:10:00) ==="
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    link_tools(tmp_path / "tools", TOOLS)
    (tmp_path / "checkout/.ci").mkdir(parents=True)
    shutil.copy(CHECKOUT / ".ci/run", tmp_path / "checkout/.ci")
    write_tool(tmp_path / "checkout/setup.sh", 'echo "setup $*"')
    write_tool(tmp_path / "tools/make", SAID)
    write_tool(tmp_path / "checkout/scripts/newest-yt-dlp.sh", "echo newest yt-dlp: 2999.01.01: all tests passed")
    return tmp_path / "checkout"


def ci_run(checkout: Path) -> tuple[int, list[str]]:
    temp = checkout / "temp"
    temp.mkdir()
    done = run(checkout / ".ci/run", path=checkout.parent / "tools", TMPDIR=str(temp))
    assert done.stderr == "" and list(temp.iterdir()) == []
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("status", [0, 2])
def test_status_and_closing_lines(checkout: Path, status: int) -> None:
    write_tool(checkout.parent / "tools/make", f"{SAID}\nexit {status}")
    returned, lines = ci_run(checkout)
    assert returned == status
    assert "--keep-going test-all FRESH=1 CI=true" in lines
    closing = lines[lines.index("=== closing lines of pytest") :]
    assert "FAILED tests/x.py::y" in closing and "SKIPPED [1] z" not in closing
    assert closing[-4:-2] == [
        "=== 1 failed, 2 passed in 3.45s ===",
        "=== 40 passed, 1 skipped in 600.00s (0:10:00) ===",
    ]
    assert closing[-1].startswith(f"=== .ci/run: status {status} after")


@pytest.mark.parametrize(
    ("newest", "told"),
    [
        ("echo newest yt-dlp: 9: all tests passed", "9: all tests passed"),
        ("echo newest yt-dlp: 9: tests FAILED; exit 1", "9: tests FAILED"),
        ("exit 1", "NOT TRIED"),
    ],
)
def test_the_newest_yt_dlp_is_told_of_first_and_last_and_does_not_fail_the_run(
    checkout: Path, newest: str, told: str
) -> None:
    write_tool(checkout / "scripts/newest-yt-dlp.sh", f"echo trying\n{newest}")
    returned, lines = ci_run(checkout)
    assert returned == 0
    assert told in lines[0] and lines[-2] == lines[0]
    assert "setup --pinned --with test,learn" in lines and "trying" in lines, "what it said is not lost"


def test_an_environment_that_cannot_be_made_is_told(checkout: Path) -> None:
    write_tool(checkout / "setup.sh", "echo no python here; exit 1")
    write_tool(checkout.parent / "tools/make", "exit 2")
    returned, lines = ci_run(checkout)
    assert returned == 2
    assert "NOT TRIED" in lines[0] and "no python here" in lines
