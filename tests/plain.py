"""Plain SQL to a queue's database of either kind, as any program may send it."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg

T = TypeVar("T")
Row = Mapping[str, object]

PATIENCE_SECONDS = 30.0
"""Longer than anything in a test may take; whoever waits longer has found a hang."""

QUEUE_LOCK = """
SELECT pg_advisory_xact_lock(hashtext('valossa-ingest'), hashtext(current_schema()))
"""
"""What keeps all others from writing to a queue of a server."""


class Plain(Protocol):
    """One connection. What it is told is committed at once, but for what it is told under the lock
    that keeps everybody else from writing.
    """

    @property
    def locked(self) -> bool:
        """Whether it holds the lock."""
        ...

    def execute(self, sql: str, *values: object) -> list[Row]:
        """The rows of one statement, with values in the place of its question marks."""
        ...

    def repeat(self, sql: str, values: Iterable[Sequence[object]]) -> None:
        """One statement for each of these values, all of them or none."""
        ...

    def script(self, sql: str) -> None:
        """Several statements."""
        ...

    def lock(self) -> None:
        """Keep everybody else from writing."""
        ...

    def unlock(self) -> None:
        """Let them, and take back what was told under the lock."""
        ...


class _File:
    """A connection to an SQLite file."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)
        self._connection.row_factory = sqlite3.Row

    @property
    def locked(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, *values: object) -> list[Row]:
        return [dict(row) for row in self._connection.execute(sql, values)]

    def repeat(self, sql: str, values: Iterable[Sequence[object]]) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(sql, values)

    def script(self, sql: str) -> None:
        self._connection.executescript(sql)

    def lock(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


class Aside:
    """An event loop in a thread of its own, for a test that waits while its own does not turn."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()

    def run(self, waiting: Coroutine[Any, Any, T]) -> T:
        """What it comes to."""
        return self._thread.submit(self._runner.run, waiting).result()

    def close(self) -> None:
        """End the thread."""
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()


class _Server:
    """A connection to a database of a PostgreSQL server."""

    def __init__(self, url: str) -> None:
        self._aside = Aside()
        self._locked = False
        try:
            self._connection = self._aside.run(_connected(url))
        except BaseException:
            self._aside.close()
            raise

    @property
    def locked(self) -> bool:
        return self._locked

    def execute(self, sql: str, *values: object) -> list[Row]:
        return [dict(row) for row in self._aside.run(self._connection.fetch(_filled(sql, values)))]

    def repeat(self, sql: str, values: Iterable[Sequence[object]]) -> None:
        if statements := ";".join(_filled(sql, each) for each in values):
            self.script(statements)

    def script(self, sql: str) -> None:
        self._aside.run(self._connection.execute(sql))

    def lock(self) -> None:
        self.script(f"BEGIN; {QUEUE_LOCK}")
        self._locked = True

    def unlock(self) -> None:
        self.script("ROLLBACK")
        self._locked = False

    def close(self) -> None:
        self._aside.run(_ended(self._connection))
        self._aside.close()


async def _connected(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, timeout=PATIENCE_SECONDS, server_settings={"timezone": "UTC"})


async def _ended(connection: asyncpg.Connection) -> None:
    connection.terminate()


def _filled(sql: str, values: Sequence[object]) -> str:
    """The statement with its values written out: so they are of any type that fits."""
    parts = sql.split("?")
    assert len(parts) == len(values) + 1
    return parts[0] + "".join(
        f"{_said(v)}{part}" for v, part in zip(values, parts[1:], strict=True)
    )


def _said(value: object) -> str:
    if value is None:
        return "NULL"
    return (
        str(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"
    )


def is_server(address: Path | str) -> bool:
    """Whether it is a database of a PostgreSQL server."""
    return str(address).startswith("postgresql:")


@contextmanager
def plain(address: Path | str) -> Iterator[Plain]:
    """A connection to the database at a path or an address."""
    make: Callable[[str], _File | _Server] = _Server if is_server(address) else _File
    connection = make(str(address))
    try:
        yield connection
    finally:
        connection.close()
