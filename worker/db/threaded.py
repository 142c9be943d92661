"""One connection to an SQLite file, on a thread of its own: a transaction is one hop to it.

aiosqlite's own calls are a hop for each statement. Knows no verb of the queue, and of other
connections only that the file may be locked.
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite
from sqlalchemy import Connection, CursorResult, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

T = TypeVar("T")

LOOK_UP_STEPS = 50_000
"""Steps of SQLite's machine, some milliseconds, after which it looks whether it is to go on."""


class ThreadedConnection(aiosqlite.Connection):
    """A connection that runs whole pieces of work in its thread; to be awaited before."""

    def __init__(self, path: Path) -> None:
        connect = partial(sqlite3.connect, path, timeout=0, isolation_level=None)
        super().__init__(connect, iter_chunk_size=1)
        self._core: Connection | None = None
        self._abandoned = threading.Event()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """The connection to ``path``. Raises sqlite3.Error."""
        side = cls(path)
        await side
        return side

    async def run(self, work: Callable[[Connection], T]) -> T:
        """``work``'s result. It goes on to its end, whatever becomes of the caller."""
        done: T = await self._execute(self._work, work)  # type: ignore[no-untyped-call]
        return done

    def _work(self, work: Callable[[Connection], T]) -> T:
        if self._core is None:
            self._core = self._connected()
        return work(self._core)

    def _connected(self) -> Connection:
        raw = self._conn
        # Text that is not UTF-8 comes as lone surrogates, so that one such row is told apart
        # instead of stopping everybody (law 14).
        raw.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        raw.set_progress_handler(self._abandoned.is_set, LOOK_UP_STEPS)
        engine = create_engine(
            "sqlite://", creator=lambda: raw, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        return engine.connect()

    async def close(self) -> None:
        """Close it; work that is under way is broken off and rolled back."""
        self._abandoned.set()
        await self.run(Connection.close)
        await super().close()


class LockedError(Exception):
    """Somebody else holds the lock; nothing was done."""


def transaction(begin: Sequence[str], work: Callable[[Connection], T], connection: Connection) -> T:
    """``work``'s result, committed; rolled back where it raises. ``begin`` are the statements that
    take the lock. Raises LockedError.
    """
    try:
        for statement in begin:
            unlocked(connection, statement).close()
        result = work(connection)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return result


def unlocked(connection: Connection, statement: str) -> CursorResult[Any]:
    """A statement that needs the lock. Raises LockedError."""
    try:
        return connection.exec_driver_sql(statement)
    except DBAPIError as error:
        code = getattr(error.driver_exception, "sqlite_errorcode", 0)
        if code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise LockedError from error
        raise
