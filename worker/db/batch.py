"""Hand many rows to a statement as one parameter, unpacked in the words of either database."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Subquery, Text, TextClause, bindparam, column, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import NamedColumn

from worker.db.column_types import as_text


def encoded(rows: Iterable[object]) -> str:
    """Return rows as the parameter that ``rows`` unpacks; the database itself refuses bad text."""
    return _ENCODER.encode(list(rows))


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return as_text(value)
    raise TypeError(f"{type(value).__name__} is no value of a table")


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_moment)


def rows(parameter: str, *columns: NamedColumn[Any]) -> Subquery:
    """Return the rows of ``encoded`` as a table: their ``place`` from 0, and columns like these."""
    fields = (f"json_extract(value, '$[{n}]') AS {each.name}" for n, each in enumerate(columns))
    to_sqlite = f"SELECT key AS place, {', '.join(fields)} FROM json_each(:{parameter})"  # noqa: S608
    both = _Unpacking(to_sqlite, parameter, columns).bindparams(bindparam(parameter, type_=Text))
    shown = (column(each.name, each.type) for each in columns)
    return both.columns(column("place"), *shown).subquery(parameter)


class _Unpacking(TextClause):
    inherit_cache = True

    def __init__(self, to_sqlite: str, parameter: str, alike: Sequence[NamedColumn[Any]]) -> None:
        super().__init__(to_sqlite)
        self.parameter, self.alike = parameter, alike


@compiles(_Unpacking, "postgresql")
def _to_postgresql(unpacking: _Unpacking, compiler: SQLCompiler, **how: object) -> str:
    fields = (
        f"CAST(value ->> {n} AS {each.type.compile(compiler.dialect)}) AS {each.name}"
        for n, each in enumerate(unpacking.alike)
    )
    to_postgresql = text(
        f"SELECT place - 1 AS place, {', '.join(fields)} "  # noqa: S608 - our own names
        f"FROM json_array_elements(CAST(:{unpacking.parameter} AS JSON)) "
        "WITH ORDINALITY AS each (value, place)"
    ).bindparams(bindparam(unpacking.parameter, type_=Text))
    return compiler.process(to_postgresql, **how)
