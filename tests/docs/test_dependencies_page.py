"""docs/dependencies.md says of every package why it is needed."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["learn"]
    names = {re.split(r"[^\w-]", requirement, maxsplit=1)[0] for requirement in wanted}
    rows = re.findall(r"(?m)^\| ([^|]+) \|", (ROOT / "docs/dependencies.md").read_text())
    listed = {name.lower() for row in rows for name in re.findall(r"[\w-]+", row)}
    assert {name for name in names if name.lower() not in listed} == set()
