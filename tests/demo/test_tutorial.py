"""The tutorial's commands exist, with these options; its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from audioset_batch.cli import build_parser

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("tutorial-learning.md", "features.md", "embeddings.md", "training.md")
# Signs of a usage line, not of a command: [optional], a|b, an ellipsis.
_SCHEMATIC = re.compile(r"[\[|]|\.\.\.")


def commands(page: str) -> list[str]:
    """Commands of the page's code blocks, continued lines joined."""
    blocks = re.findall(r"^```\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = (line.removeprefix("$ ") for line in lines)
    return [line for line in words if line.startswith("audioset-batch ") and not _SCHEMATIC.search(line)]


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = commands(page)
    assert len(found) >= 3
    for line in found:
        try:
            build_parser().parse_args(shlex.split(line, comments=True)[1:])
        except SystemExit:
            pytest.fail(f"{page}: {line}\n{capsys.readouterr().err}")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (DOCS / page).read_text()):
        assert target.startswith("http") or (DOCS / target).exists(), target
