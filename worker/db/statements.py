"""Compile a statement of the hot path once for SQLite, and hand it to the driver as it is.

SQLAlchemy takes some ten times as long to execute a statement as SQLite does, so the few statements
of every transaction go this way. PostgreSQL gets them from SQLAlchemy. Knows no table.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, cast

from sqlalchemy import Connection, Executable
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from worker.db.column_types import Moment, as_moment, as_text


class Prepared:
    """A statement with its parameters by name; moments go in and come out as datetimes."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement

    def __call__(self, connection: Connection, **values: object) -> Sequence[Sequence[Any]]:
        """Return the rows of its result. Raises as SQLAlchemy would; KeyError without a value."""
        if connection.dialect.name == "sqlite":
            rows, _ = self._handed(connection, values)
            moments = self._compiled[-1]
            return [_read(row, moments) for row in rows] if moments else rows
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
    def _compiled(self) -> tuple[str, list[str], Mapping[str, object], frozenset[int]]:
        compiled = self._statement.compile(dialect=sqlite.dialect())  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - as of every statement
        fixed = {n: v for n, v in compiled.params.items() if not compiled.binds[n].required}
        columns = getattr(self._statement, "selected_columns", ())
        moments = frozenset(n for n, c in enumerate(columns) if isinstance(c.type, Moment))
        return str(compiled), compiled.positiontup or [], fixed, moments


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


def _read(row: Sequence[Any], moments: frozenset[int]) -> Sequence[Any]:
    return [as_moment(v) if n in moments and v is not None else v for n, v in enumerate(row)]
