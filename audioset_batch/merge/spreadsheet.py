"""Quote text that a spreadsheet would take for a formula."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_IDS: Final = frozenset({"ytid"})
"""Columns that are not quoted: an id may begin with `-`, and users search for it."""
_FORMULA: Final = r"^(\s*[=+\-@]|[\t\r])"


def for_spreadsheets(table: pa.Table) -> pa.Table:
    """The table with a `'` before each text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return."""
    for index, field in enumerate(table.schema):
        if not pa.types.is_string(field.type) or field.name in _IDS:
            continue
        column = table.column(index)
        formula = pc.match_substring_regex(column, _FORMULA)
        if pc.any(formula).as_py():
            quoted = pc.binary_join_element_wise("'", column, "")
            table = table.set_column(index, field, pc.if_else(formula, quoted, column))
    return table
