"""What scripts/fresh-machine.sh says where it can make no machine. That it can make one, CI shows: it runs in one."""

from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.tools import link_tools, run, write_tool

SCRIPT = CHECKOUT / "scripts/fresh-machine.sh"
TOOLS = ("bash", "cat", "dirname", "id")  # git is none of a minimal machine


def test_usage() -> None:
    done = run(SCRIPT, "-h", path=Path("/usr/bin"))
    assert (done.returncode, done.stderr) == (0, "") and "--or-here" in done.stdout
    done = run(SCRIPT, "--usr", path=Path("/usr/bin"))
    assert done.returncode == 2 and "unknown argument: --usr" in done.stderr and "usage:" in done.stderr


MISSING = {
    "no root": ({"id": "echo 1000"}, "that takes root"),
    "no apt": ({"id": "echo 0"}, "there is no apt-get"),
    "no commit": ({"id": "echo 0", "apt-get": "", "git": "exit 128"}, "git does not see a commit"),
    "no mounts": (
        {"id": "echo 0", "apt-get": "", "git": "", "unshare": "echo 'Operation not permitted' >&2; exit 1"},
        "no right to mount or to enter a folder (Operation not permitted)",
    ),
    "no debootstrap": (
        {"id": "echo 0", "apt-get": "exit 100", "git": "", "unshare": ""},
        "debootstrap is missing, and apt-get cannot install it",
    ),
    "no mirror": (
        {"id": "echo 0", "apt-get": "", "git": "", "unshare": "", "debootstrap": "", "sed": ""},
        "apt-get does not say where it gets the packages",
    ),
}


@pytest.mark.parametrize(("programs", "why"), MISSING.values(), ids=MISSING)
def test_where_none_can_be_made_it_says_why_and_what_it_does_instead(
    tmp_path: Path, programs: dict[str, str], why: str
) -> None:
    tools = link_tools(tmp_path / "tools", TOOLS)
    for name, text in programs.items():
        (tools / name).unlink(missing_ok=True)
        write_tool(tools / name, text)
    done = run(SCRIPT, path=tools, TMPDIR=str(tmp_path))
    assert done.returncode == 3
    assert f"NO FRESH MACHINE CAN BE MADE HERE: {why}" in done.stderr
    assert "NOTHING WAS RUN" in done.stderr and "make demo; make test;" in done.stderr

    done = run(SCRIPT, "--or-here", "echo one; exit 5", "echo two; echo $PWD", path=tools, TMPDIR=str(tmp_path))
    assert done.returncode == 1, "one of the commands failed"
    assert done.stdout.splitlines()[-3:] == ["one", "two", str(CHECKOUT)]
    assert "RUNNING IN THIS CHECKOUT INSTEAD" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]
