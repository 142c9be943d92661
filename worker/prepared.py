"""A statement that is compiled once, and handed to the driver as it is.

The few statements that every transaction of a run makes are said this way: SQLAlchemy takes some
ten times as long to execute one as SQLite does. Knows no table.
"""

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from worker.tables import as_text


class Prepared:
    """A statement with its parameters by name; moments go in as datetimes, and come out as text."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement

    def __call__(self, connection: Connection, **values: object) -> list[Any]:
        """The rows of its result. Raises as SQLAlchemy would, and KeyError where a value is not
        given.
        """
        sql, order, fixed = self._compiled
        given = {**fixed, **values}
        parameters = [_bound(given[name]) for name in order]
        driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            return driver.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise DBAPIError.instance(sql, None, error, sqlite3.Error) from error

    @cached_property
    def _compiled(self) -> tuple[str, list[str], Mapping[str, object]]:
        compiled = self._statement.compile(dialect=sqlite.dialect())
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - as of every statement
        fixed = {n: v for n, v in compiled.params.items() if not compiled.binds[n].required}
        return str(compiled), compiled.positiontup or [], fixed


def _bound(value: object) -> object:
    return as_text(value) if isinstance(value, datetime) else value
