"""`manifest.csv` opened by a spreadsheet runs no formula, and ids keep their form."""

import pyarrow as pa
import pytest

from audioset_batch.merge.spreadsheet import for_spreadsheets

SCHEMA = pa.schema([("ytid", pa.string()), ("detail", pa.string()), ("host", pa.string()), ("attempts", pa.int64())])


@pytest.mark.parametrize(
    "text", ["=HYPERLINK(1)", "+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", "  =1", "\n=1", "\tx", "\rx"]
)
def test_text_that_begins_like_a_formula_is_quoted(text: str) -> None:
    rows = [["--abcdefghi", "=abcdefghij"], [text, None], ["node1", text], [-1, 2]]
    table = for_spreadsheets(pa.table(rows, SCHEMA))
    assert table.schema == SCHEMA
    assert table["ytid"].to_pylist() == rows[0]
    assert table["detail"].to_pylist() == [f"'{text}", None]
    assert table["host"].to_pylist() == ["node1", f"'{text}"]
    assert table["attempts"].to_pylist() == [-1, 2]


def test_other_text_stays_as_it_is() -> None:
    table = pa.table([["a"], ["HTTP 403 = forbidden, x@y -1\nand a line"], [""], [1]], SCHEMA)
    assert for_spreadsheets(table) is table
