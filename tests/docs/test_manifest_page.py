"""`docs/manifest.md` is what the code says."""

from pathlib import Path

import pytest

from audioset_batch.record import document

PAGE = Path(__file__).parents[2] / "docs" / "manifest.md"


def test_page_is_made_from_the_code() -> None:
    assert PAGE.read_text() == document.markdown(), "run `make reference`"


def test_a_new_column_needs_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "COLUMNS", (*document.COLUMNS, "loudness"))
    with pytest.raises(ValueError, match=r"columns without words.*: loudness"):
        document.markdown()
