"""The programs that make the pictures are run by hand; loaded here, so that they go along with the code."""

import importlib

import pytest


@pytest.mark.parametrize("name", ["report", "status"])
def test_a_picture_can_be_made(name: str) -> None:
    if name == "report":
        pytest.importorskip("PIL", reason="NOT TESTED HERE: needs ./setup.sh --with learn")
    assert callable(importlib.import_module(f"tests.support.pictures.{name}").main)
