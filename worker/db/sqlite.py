"""An SQLite file as an engine: its connections, its lock, and what its errors mean to people.

Knows no verb of the queue, and the threads of its connections only as such.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from worker.db.address import DatabaseProblem, File
from worker.db.threaded import LockedError, ThreadedConnection, transaction, unlocked

T = TypeVar("T")

_BEGIN = {
    "write": ("BEGIN IMMEDIATE",),
    "read": ("BEGIN", "SELECT count(*) FROM sqlite_schema"),
}
"""BEGIN alone takes no lock: the first look does, and may find a program that closes the file."""

_REMEDIES = {
    "SQLITE_FULL": "the disk is full: make room",
    "SQLITE_READONLY": "it is read-only: check the owner and the mode of the file and its folder",
    "SQLITE_CANTOPEN": "it cannot be opened: check the path, its folder and its permissions",
    "SQLITE_NOTADB": "it is no SQLite database: name another file, or restore a backup",
    "SQLITE_CORRUPT": "it is damaged: restore a backup",
    "SQLITE_IOERR": "the disk reports an error: check the disk and its free space",
}


class Sqlite:
    """The connections to one file: one that writes, one that reads, and one that looks whether
    anybody has written. Its time is what ``now`` gives, this machine's.
    """

    def __init__(
        self,
        file: File,
        *,
        dice: Callable[[], float],
        now: Callable[[], datetime],
        waiting: Callable[[str], None],
        patience_seconds: float,
    ) -> None:
        self.now = now
        self._path = file.path
        self._dice = dice
        self._waiting = waiting
        self._patience_seconds = patience_seconds
        self._turn = {role: asyncio.Lock() for role in _BEGIN}
        self._open: dict[str, ThreadedConnection] = {}
        self._watcher: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    async def transaction(self, role: str, work: Callable[[Connection], T], purpose: str) -> T:
        """``work``'s result, committed to disk; ``role`` is "write" or "read"."""
        async with self._turn[role]:
            try:
                side = await self._side(role, purpose)
                step = partial(transaction, _BEGIN[role], work)
                return await self._locked(lambda: side.run(step), purpose)
            except DBAPIError as error:
                raise _explained(error, self._path) from error

    def version(self) -> int:
        """A number that changes when somebody else, or our own writing side, has committed."""
        # Without a hop to a thread, which would cost an idle daemon more than all the rest: the
        # answer takes microseconds, waits for no lock and leaves none.
        self._must_be_there()
        try:
            if self._watcher is None:
                self._watcher = sqlite3.connect(self._path, timeout=0, isolation_level=None)
                self._file = _file_at(self._path)
            version: int = self._watcher.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise _explained(OperationalError("look", None, error), self._path) from error
        return version

    async def close(self) -> None:
        """Close all connections."""
        if self._watcher is not None:  # first: the last one to close may have the whole log to copy
            self._watcher.close()
            self._watcher = None
        for side in self._open.values():
            await side.close()
        self._open.clear()

    def _must_be_there(self) -> None:
        """SQLite goes on writing to a file that has been removed or replaced: an intent in it would
        be on disk for nobody (laws 1 and 9). Raises DatabaseProblem.
        """
        if self._file not in {None, _file_at(self._path)}:
            raise DatabaseProblem(
                f"database {self._path}: it was removed or replaced while it was in use: "
                "put it back, or start again to work on what is there now"
            )

    async def _side(self, role: str, purpose: str) -> ThreadedConnection:
        """The open connection."""
        self._must_be_there()
        if role not in self._open:
            _probe(self._path)
            side = await ThreadedConnection.open(self._path)
            try:
                await self._locked(lambda: side.run(partial(_prepare, path=self._path)), purpose)
            except BaseException:
                await side.close()
                raise
            self._open[role] = side
            self._file = _file_at(self._path)
        return self._open[role]

    async def _locked(self, step: Callable[[], Awaitable[T]], purpose: str) -> T:
        """Take ``step`` as soon as the lock is free, polling in small random steps: the busy
        handler's own sleeps grow to 100 ms. Says once what waits.
        """
        clock = asyncio.get_running_loop()
        give_word = clock.time() + self._patience_seconds
        while True:
            try:
                return await step()
            except LockedError:
                pass
            if clock.time() > give_word:
                self._waiting(purpose)
                give_word = float("inf")
            await asyncio.sleep(0.001 + 0.003 * self._dice())


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file it is, None if there is none to be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _probe(path: Path) -> None:
    """Open and close the file first: where that fails in aiosqlite, a thread stays behind that
    breaks with a traceback when the event loop is closed before it.
    """
    try:
        sqlite3.connect(path).close()
    except sqlite3.OperationalError as error:
        raise OperationalError("open", None, error) from error


def _prepare(connection: Connection, path: Path) -> None:
    """Every commit on disk before the next step (law 1); a database that is not WAL is refused."""
    mode = unlocked(connection, "PRAGMA journal_mode=WAL").scalar_one()
    if mode != "wal":
        raise DatabaseProblem(
            f"database {path}: it works in journal mode {mode}, not WAL: keep it on a local disk"
        )
    connection.exec_driver_sql("PRAGMA synchronous=FULL")


def _explained(error: DBAPIError, path: Path) -> Exception:
    """A database that cannot be used as a sentence; a bad value stays what it was."""
    name = getattr(error.driver_exception, "sqlite_errorname", "")
    for prefix, remedy in _REMEDIES.items():
        if name.startswith(prefix):
            return DatabaseProblem(f"database {path}: {remedy} ({error.driver_exception})")
    if isinstance(error, OperationalError):
        return DatabaseProblem(f"database {path} cannot be used: {error.driver_exception}")
    return error
