"""Compile a statement of the hot path once for SQLite, and hand it to the driver as it is.

SQLAlchemy takes some ten times as long to execute a statement as SQLite does, so the few statements
of every transaction go this way. PostgreSQL gets them from SQLAlchemy. Knows no table.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Executable, Float
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from worker.db.column_types import Moment, as_moment, as_text

_Reading = tuple[int, Callable[[str], object]]
"""A place in a row, and what reads the text that is there."""


class Prepared:
    """A statement with its parameters by name; moments go in and come out as datetimes."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement

    def __call__(self, connection: Connection, **values: object) -> Sequence[Sequence[Any]]:
        """Return the rows of its result. Raises as SQLAlchemy would; KeyError without a value."""
        if connection.dialect.name == "sqlite":
            ((text,),), _ = self._handed(connection, values)
            rows: list[list[Any]] = json.loads(text)
            for place, read in self._compiled[-1]:
                for row in rows:
                    row[place] = None if row[place] is None else read(row[place])
            return rows
        return connection.execute(self._statement, values).all()

    def write(self, connection: Connection, **values: object) -> int:
        """Return the number of rows that it wrote. Raises as above."""
        if connection.dialect.name == "sqlite":
            return self._handed(connection, values)[1]
        return connection.execute(self._statement, values).rowcount

    def _handed(
        self, connection: Connection, values: Mapping[str, object]
    ) -> tuple[list[Any], int]:
        sql, order, fixed, _ = self._compiled
        given = {**fixed, **values}
        named = [given[name] for name in order]
        return execute(
            connection, sql, [as_text(v) if isinstance(v, datetime) else v for v in named]
        )

    @cached_property
    def _compiled(self) -> tuple[str, list[str], Mapping[str, object], Sequence[_Reading]]:
        compiled = self._statement.compile(dialect=sqlite.dialect())  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - as of every statement
        fixed = {n: v for n, v in compiled.params.items() if not compiled.binds[n].required}
        columns = list(getattr(self._statement, "selected_columns", ()))
        sql = _in_one_row(str(compiled), columns) if columns else str(compiled)
        return sql, compiled.positiontup or [], fixed, list(_readings(columns))


def execute(
    connection: Connection, sql: str, parameters: Sequence[Any] = ()
) -> tuple[list[Any], int]:
    """Execute a statement by SQLite's own driver, and return its rows and the number of those that
    it wrote. Raises as SQLAlchemy would.
    """
    driver = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    try:
        cursor = driver.execute(sql, parameters)
        return cursor.fetchall(), cursor.rowcount
    except sqlite3.Error as error:
        raise DBAPIError.instance(sql, None, error, sqlite3.Error) from error


def _in_one_row(sql: str, columns: Sequence[ColumnElement[Any]]) -> str:
    """Return a query of the same rows as one JSON text. At each row the driver gives the lock of
    the interpreter away, and waits for it as long as the event loop is at work.
    """
    names = [f"c{place}" for place in range(len(columns))]
    both = zip(names, columns, strict=True)
    exact = (f"nullif(quote({n}), 'NULL')" if _is_float(c) else n for n, c in both)
    return (
        f"WITH found ({', '.join(names)}) AS ({sql}) "  # noqa: S608 - our own names
        f"SELECT json_group_array(json_array({', '.join(exact)})) FROM found"
    )


def _is_float(column: ColumnElement[Any]) -> bool:
    return isinstance(column.type, Float)  # of which SQLite's JSON shows 15 digits


def _readings(columns: Sequence[ColumnElement[Any]]) -> Iterator[_Reading]:
    for place, column in enumerate(columns):
        if isinstance(column.type, Moment):
            yield place, as_moment
        elif _is_float(column):
            yield place, float
