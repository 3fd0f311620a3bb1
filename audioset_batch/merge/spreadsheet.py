"""Text as a spreadsheet may open it: a cell that begins like a formula is none."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_IDS: Final = frozenset({"ytid"})
"""Columns that keep their form: an id may begin with `-`, and is looked up as it is."""
_FORMULA: Final = r"^(\s*[=+\-@]|[\t\r])"


def for_spreadsheets(table: pa.Table) -> pa.Table:
    """The table with a `'` before every text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return."""
    for index, field in enumerate(table.schema):
        if not pa.types.is_string(field.type) or field.name in _IDS:
            continue
        column = table.column(index)
        formula = pc.match_substring_regex(column, _FORMULA)
        if pc.any(formula).as_py():
            quoted = pc.binary_join_element_wise("'", column, "")
            table = table.set_column(index, field, pc.if_else(formula, quoted, column))
    return table
