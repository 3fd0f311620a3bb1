"""Who imports whom: what is shipped nothing of the tests, and no test by a path of its own making."""

import re

import pytest

from tests.support import CHECKOUT

IMPORTS_TESTS = re.compile(r"^\s*(from|import) tests\b|\bsys\.path\b.*\btests\b", re.MULTILINE)
CHANGES_THE_PATH = re.compile(r"^\s*sys\.path(\[.*\] *=|\.(insert|append|extend)\()", re.MULTILINE)


@pytest.mark.parametrize("folder", ["audioset_batch", "scripts", "jobs", "examples", "configs"])
def test_what_is_shipped_imports_nothing_of_the_tests(folder: str) -> None:
    files = [path for path in (CHECKOUT / folder).rglob("*") if path.suffix in (".py", ".sh", ".s", ".yaml")]
    assert files
    assert not [path for path in files if IMPORTS_TESTS.search(path.read_text(encoding="utf-8"))]


def test_no_test_changes_the_import_path() -> None:
    files = [*(CHECKOUT / "tests").rglob("*.py"), *(CHECKOUT / "benchmarks").glob("*.py")]
    assert len(files) > 100
    assert not [path for path in files if CHANGES_THE_PATH.search(path.read_text(encoding="utf-8"))]
