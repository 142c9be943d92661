"""Another program: plain SQL that both databases take, on a connection of its own.

Values stand for ``?``, moments come as SQLite keeps them. Each call waits for its answer: one that
has to wait for a transaction of the test's own event loop hangs.
"""

import asyncio
import re
import sqlite3
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg

from worker.db.address import File, Server, address_of

PATIENCE_SECONDS = 30.0
_AT_ONCE = 500

T = TypeVar("T")
Row = dict[str, Any]
Answer = tuple[list[str], list[tuple[Any, ...]]]


class Plain(Protocol):
    """A session of another program."""

    def answer(self, statement: str, values: Sequence[object]) -> Answer:
        """Return the names of the columns of a result, and its rows."""
        ...

    def lock(self) -> None:
        """Begin a transaction that keeps other processes from writing to the queue."""
        ...

    def close(self) -> None:
        """Leave; what is not committed is undone."""
        ...

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a result."""
        return self.answer(statement, values)[1]

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Return the same, by name."""
        names, rows = self.answer(statement, values)
        return [dict(zip(names, row, strict=True)) for row in rows]


class _InFile(Plain):
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
        )

    def answer(self, statement: str, values: Sequence[object]) -> Answer:
        cursor = self._connection.execute(statement, values)
        return [name for name, *_ in cursor.description or ()], cursor.fetchall()

    def lock(self) -> None:
        self.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        self._connection.close()


class _OnServer(Plain):
    def __init__(self, url: str) -> None:
        told = {"timezone": "UTC", "application_name": "another program"}
        self._connection = done(asyncpg.connect(url, server_settings=told))

    def answer(self, statement: str, values: Sequence[object]) -> Answer:
        found = done(self._connection.fetch(filled(statement, values)))
        names = [*found[0].keys()] if found else []
        return names, [tuple(map(_shown, row)) for row in found]

    def lock(self) -> None:
        self.execute("BEGIN")
        self.execute(
            "SELECT pg_advisory_xact_lock(hashtext('valossa-ingest'), hashtext(current_schema()))"
        )

    def close(self) -> None:
        done(_closed(self._connection))


def opened(url: str) -> Plain:
    """Return another program's session on the database of an address."""
    address = address_of(url)
    return _InFile(address.path) if isinstance(address, File) else _OnServer(url)


@contextmanager
def session(url: str) -> Iterator[Plain]:
    """Yield the same, for a block."""
    found = opened(url)
    try:
        yield found
    finally:
        found.close()


def is_server(address: str) -> bool:
    """Return True if it is a database of a PostgreSQL server."""
    return isinstance(address_of(address), Server)


def execute(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return one statement, committed."""
    with session(url) as other:
        return other.execute(statement, *values)


def insert_all(url: str, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Many rows, all with the same columns."""
    marks = f"({', '.join('?' * len(rows[0]))})"
    with session(url) as other:
        other.execute("BEGIN")
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            values = ", ".join([marks] * len(some))
            sql = f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES {values}"
            other.execute(sql, *(value for row in some for value in row.values()))
        other.execute("COMMIT")


def filled(statement: str, values: Sequence[object]) -> str:
    """Return a statement with its values as literals, whose type the database infers."""
    given = iter(values)
    return re.sub(r"\?", lambda _: _literal(next(given)), statement)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def _shown(value: object) -> object:
    return str(value.replace(tzinfo=None)) if isinstance(value, datetime) else value


async def _closed(connection: asyncpg.Connection) -> None:
    connection.terminate()


def done(step: Coroutine[Any, Any, T]) -> T:
    """Return what it comes to, in a loop of its own: a test's own loop does not turn meanwhile."""
    return asyncio.run_coroutine_threadsafe(step, _beside()).result(PATIENCE_SECONDS)


@cache
def _beside() -> asyncio.AbstractEventLoop:
    """Return an event loop in its own thread, which runs while the test's own loop is blocked."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop
