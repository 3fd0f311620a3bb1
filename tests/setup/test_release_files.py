"""Files that a release has to keep in step."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import audioset_batch

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"(?m)^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text())
    assert newest is not None, "CHANGELOG.md: expected `## VERSION (unreleased)` or `## VERSION (YYYY-MM-DD)`"
    assert {project["version"], citation["version"], newest[1]} == {audioset_batch.__version__}


def test_commit_hooks_are_the_programs_of_make_lint() -> None:
    hooks = [
        hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repository["hooks"]
    ]
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    programs = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert programs == set(re.findall(r"\$\(BIN\)/([\w-]+)", lint))


@pytest.mark.parametrize("page", ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"])
def test_lines_of_markdown_fit_an_editor(page: str) -> None:
    long = [line for line in (ROOT / page).read_text().splitlines() if len(line) > 100 and not line.startswith("|")]
    assert not long
