"""docs/architecture.md draws what is there."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "audioset_batch"
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_layers_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    drawn = re.search(r"(?s)```\n(.*?)```", section("Layers"))
    assert drawn is not None
    lines = [re.split(r"\s{2,}", line)[0] for line in drawn[1].splitlines()]
    assert [set(line.split(" · ")) for line in lines] == [set(layer.split(" | ")) for layer in layers]


def test_every_package_has_a_line() -> None:
    listed = re.findall(r"(?m)^\| `([a-z_/]+)/` \|", section("Rooms"))
    folders = [path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")]
    # `learn` holds only packages; the models are a part of training.
    assert sorted([*listed, ".", "learn", "learn/training/models"]) == sorted(folders)


@pytest.mark.parametrize("mention", sorted(set(re.findall(r"`((?:[a-z_]+/)*\w+\.py(?:::[\w.]+)?)`", PAGE))))
def test_what_is_named_is_there(mention: str) -> None:
    file, _, name = mention.partition("::")
    path = next((base / file for base in (PACKAGE, ROOT) if (base / file).is_file()), None)
    assert path is not None, f"{file} is neither in {PACKAGE} nor in {ROOT}"
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for part in name.split(".") if name else ():
        found = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part]
        assert found, f"{file} has no {name}"
        body = found[0].body
