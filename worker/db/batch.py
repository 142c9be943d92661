"""Many rows as one parameter and as one result: a statement a batch, whatever its size.

Each row that a driver is handed, or hands over, costs a change of threads or a message. What the
databases say differently of it stands here side by side. Knows no table.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Subquery,
    Text,
    TextClause,
    bindparam,
    case,
    column,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import REAL, TypeEngine

from worker.db.schema import as_text

_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]


def encoded(rows: Iterable[object]) -> str:
    """Rows as the parameter that ``rows`` unpacks. Text stays as it is, so that what the database
    could not store is refused here as it would be there.
    """
    return _ENCODER.encode(list(rows))


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return as_text(value)
    raise TypeError(f"{type(value).__name__} is no value of a table")


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_moment)


def decoded(text: str) -> list[Any]:
    """What ``gathered`` gives: a list for each row."""
    found: list[Any] = json.loads(text)
    return found


def rows(parameter: str, **types: TypeEngine[Any]) -> Subquery:
    """The rows of ``encoded`` as a table: their ``place`` from 0, and columns of these names."""
    fields = list(enumerate(types.items()))
    in_sqlite = (f"json_extract(value, '$[{n}]') AS {name}" for n, (name, _) in fields)
    in_postgresql = (
        f"CAST(value ->> {n} AS {type_.compile(_POSTGRESQL)}) AS {name}"
        for n, (name, type_) in fields
    )
    bound = bindparam(parameter, type_=Text)
    to_sqlite = f"SELECT key AS place, {', '.join(in_sqlite)} FROM json_each(:{parameter})"  # noqa: S608
    to_postgresql = text(
        f"SELECT place - 1 AS place, {', '.join(in_postgresql)} "  # noqa: S608 - our own names
        f"FROM json_array_elements(CAST(:{parameter} AS JSON)) "
        "WITH ORDINALITY AS each (value, place)"
    ).bindparams(bound)
    both = _Unpacking(to_sqlite, to_postgresql).bindparams(bound)
    shown = (column(name, type_) for name, type_ in types.items())
    return both.columns(column("place"), *shown).subquery(parameter)


class _Unpacking(TextClause):
    """A query of the elements of a parameter, in the words of either database."""

    inherit_cache = True

    def __init__(self, to_sqlite: str, to_postgresql: TextClause) -> None:
        super().__init__(to_sqlite)
        self.to_postgresql = to_postgresql


@compiles(_Unpacking, "postgresql")
def _to_postgresql(unpacking: _Unpacking, compiler: SQLCompiler, **how: object) -> str:
    return compiler.process(unpacking.to_postgresql, **how)


def gathered(columns: Sequence[ColumnElement[Any]]) -> ColumnElement[str]:
    """All rows of a statement as one text that ``decoded`` reads: of an ordered subquery in its
    order, which both databases keep and neither promises; of others in none.
    """
    return _Gathered(row(columns))


def row(columns: Sequence[ColumnElement[Any]]) -> ColumnElement[str]:
    """Values as a list; one in another makes a list in a list."""
    return _Row(*map(_exact, columns))


class _Gathered(FunctionElement[str]):
    type = Text()
    inherit_cache = True


class _Row(FunctionElement[str]):
    type = Text()
    inherit_cache = True


_WORDS = {
    _Gathered: {
        "sqlite": "json_group_array({})",
        "postgresql": "coalesce(json_agg({}), '[]')::text",
    },
    _Row: {"sqlite": "json_array({})", "postgresql": "json_build_array({})"},
}


@compiles(_Gathered)
@compiles(_Row)
def _in_its_words(one: _Gathered | _Row, compiler: SQLCompiler, **how: object) -> str:
    words = _WORDS[type(one)][compiler.dialect.name]
    return words.format(compiler.process(one.clauses, **how))


class _Exact(FunctionElement[float]):
    """A number with every digit that tells it from its neighbours: json_array shows 15 of 17."""

    inherit_cache = True


@compiles(_Exact, "sqlite")
def _exact_in_sqlite(one: _Exact, compiler: SQLCompiler, **how: object) -> str:
    (number,) = one.clauses
    digits = func.printf(literal_column("'%!.17g'"), number)
    shown = func.json(case((number.is_(None), literal_column("'null'")), else_=digits))
    return compiler.process(shown, **how)


@compiles(_Exact, "postgresql")
def _exact_in_postgresql(one: _Exact, compiler: SQLCompiler, **how: object) -> str:
    return compiler.process(one.clauses, **how)


def _exact(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _Exact(column) if isinstance(column.type, REAL) else column
