"""Many rows as one parameter and as one result: a statement a batch, whatever its size.

Each row that a driver is handed, or hands over, costs a change of threads. Knows no table.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    REAL,
    ColumnElement,
    Subquery,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
)

from worker.tables import as_text


def encoded(rows: Iterable[object]) -> str:
    """Rows, or single values, as the parameter that ``rows`` and ``values`` unpack. Text stays as
    it is, so that what the database could not store is refused here as it would be there.
    """
    return json.dumps(list(rows), ensure_ascii=False, default=_moment)


def decoded(text: str) -> list[Any]:
    """What ``gathered`` gives: a list for each row."""
    found: list[Any] = json.loads(text)
    return found


def rows(parameter: str, *columns: str) -> Subquery:
    """The rows of ``encoded`` as a table: their ``place`` from 0, and columns by these names."""
    each = func.json_each(bindparam(parameter, type_=Text)).table_valued(
        "key", "value", name=f"each_of_{parameter}"
    )
    fields = (
        func.json_extract(each.c.value, literal_column(f"'$[{place}]'")).label(name)
        for place, name in enumerate(columns)
    )
    return select(each.c.key.label("place"), each.c.value, *fields).subquery(parameter)


def gathered(columns: Sequence[ColumnElement[object]]) -> ColumnElement[str]:
    """All rows of a statement as one text that ``decoded`` reads."""
    return func.json_group_array(func.json_array(*map(_exact, columns)), type_=Text)


def _exact(column: ColumnElement[object]) -> ColumnElement[object]:
    """A number with every digit that tells it from its neighbours: json_array shows 15 of 17."""
    if not isinstance(column.type, REAL):
        return column
    digits = func.printf(literal_column("'%!.17g'"), column)
    return func.json(case((column.is_(None), literal_column("'null'")), else_=digits))


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return as_text(value)
    raise TypeError(f"{type(value).__name__} is no value of a table")
