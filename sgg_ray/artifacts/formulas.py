"""Cells that a spreadsheet would compute instead of showing them: they are written with an apostrophe before them."""

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute

# OWASP, "CSV injection", with the full-width forms that some spreadsheets take for the same. A number is none.
FORMULA = "^[=+@\t\r＝＋－＠-]"
NUMBER = r"^([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan))$"
MARK = "'"
pc: Any = pyarrow.compute  # its functions are made when it is loaded, which type checkers do not see


def without_formulas(table: pa.Table) -> tuple[pa.Table, int]:
    """The table with every text that begins like a formula marked as text, names too; and how many cells these are.

    Spreadsheets hide the apostrophe, other programs see it.
    """
    marked = 0
    for place, name in enumerate(table.schema.names):
        column = table.column(place)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        formulas = pc.and_not(
            pc.match_substring_regex(column, FORMULA), pc.match_substring_regex(column, NUMBER)
        )
        found = pc.sum(formulas).as_py() or 0
        if found:
            with_mark = pc.binary_join_element_wise(
                pa.scalar(MARK, column.type), column, pa.scalar("", column.type)
            )
            table = table.set_column(place, name, pc.if_else(formulas, with_mark, column))
            marked += found
    return table.rename_columns([_marked(name) for name in table.schema.names]), marked


def _marked(name: str) -> str:
    return MARK + name if re.match(FORMULA, name) and not re.match(NUMBER, name) else name
