"""Keep a queue in an SQLite file: its connections, its lock and the meaning of its errors."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import aiosqlite
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from worker.db.address import DatabaseProblem, LogLostError
from worker.db.schema import metadata
from worker.db.statements import execute

T = TypeVar("T")

_BEGIN = {"write": ("BEGIN IMMEDIATE",), "read": ("BEGIN", "SELECT count(*) FROM sqlite_schema")}
"""BEGIN alone takes no lock: the first read does, and may meet a program that closes the file."""

_REMEDIES = {
    "SQLITE_FULL": "the disk is full: make room",
    "SQLITE_READONLY": "it is read-only: check the owner and the mode of the file and its folder",
    "SQLITE_CANTOPEN": "it cannot be opened: check the path, its folder and its permissions",
    "SQLITE_NOTADB": "it is no SQLite database: name another file, or restore a backup",
    "SQLITE_CORRUPT": "it is damaged: restore a backup",
    "SQLITE_IOERR": "the disk reports an error: check the disk and its free space",
}

LOOK_UP_STEPS = 50_000
"""Steps of SQLite's machine, some milliseconds, between checks for an abandoned connection."""


@dataclass(kw_only=True, eq=False)
class Sqlite:
    """The connections to one file: one writes, one reads, and one watches for commits of others."""

    path: Path
    dice: Callable[[], float]
    now: Callable[[], datetime]  # this machine's clock
    waiting: Callable[[str], None]
    patience_seconds: float

    def __post_init__(self) -> None:
        self._log_path, self._index_path = (
            Path(os.path.realpath(self.path) + ending) for ending in ("-wal", "-shm")
        )
        self._busy = {role: asyncio.Lock() for role in _BEGIN}
        self._open: dict[str, ThreadedConnection] = {}
        self._watcher: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None

    async def transaction(self, role: str, work: Callable[[Connection], T], purpose: str) -> T:
        """Return ``work``'s result, committed to disk; ``role`` is "write" or "read"."""
        async with self._busy[role]:
            try:
                connection = await self._connection(role, purpose)
                step = partial(_transaction, _BEGIN[role], work)
                return await self._locked(lambda: connection.run(step), purpose)
            except DBAPIError as error:
                raise _explained(error, self.path) from error
            except LogLostError:
                await self.close()  # the last one to close puts the log that it has into the file
                raise

    def version(self) -> int:
        """Return a number that changes after every commit, those of our own writer included."""
        # Without a hop to a thread, which would cost an idle daemon more than all the rest: the
        # answer takes microseconds, waits for no lock and leaves none.
        self._must_be_there()
        try:
            if self._watcher is None:
                self._watcher = sqlite3.connect(self.path, timeout=0, isolation_level=None)
                self._know_files()
            return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise _explained(OperationalError("look", None, error), self.path) from error

    async def close(self) -> None:
        """Close all connections."""
        if self._watcher is not None:  # first: the last one to close may have the whole log to copy
            self._watcher.close()
            self._watcher = None
        for connection in self._open.values():
            await connection.close()
        self._open.clear()
        self._log = None

    def _know_files(self) -> None:
        self._file = self._file or _file_at(self.path)
        self._log = self._log or _file_at(self._log_path)

    def _must_be_there(self) -> None:
        """Refuse a file that was removed or replaced: SQLite goes on writing to it, where no other
        program sees an intent (laws 1 and 9). Raises DatabaseProblem.
        """
        if self._file not in {None, _file_at(self.path)}:
            raise DatabaseProblem(
                f"database {self.path}: it was removed or replaced while it was in use: "
                "put it back, or start again to work on what is there now"
            )
        log = _file_at(self._log_path)
        if self._open or self._watcher:
            self._log = self._log or log
            lost = self._log != log
        else:  # SQLite makes the log before its index, and deletes it after
            lost = not log and self._index_path.exists() and not self._log_path.exists()
        if lost:
            raise LogLostError(
                f"database {self.path}: its log (-wal) was deleted or replaced: videos in flight "
                "may be in doubt. Stop all that works on it: the last one saves the log. Where "
                f"{self._index_path} is left then, the last commits are lost: delete it, and go on "
                "as after a restored backup (config/deploy/README.md)"
            )

    async def _connection(self, role: str, purpose: str) -> "ThreadedConnection":
        self._must_be_there()
        if role not in self._open:
            self._file = self._file or _file_at(self.path)  # first: it may go away meanwhile
            _probe(self.path)
            connection = ThreadedConnection(self.path)
            await connection
            try:
                prepare = partial(_prepare, role=role, path=self.path)
                await self._locked(lambda: connection.run(prepare), purpose)
                self._must_be_there()
            except BaseException:
                await connection.close()
                raise
            self._open[role] = connection
            self._know_files()
        return self._open[role]

    async def _locked(self, step: Callable[[], Awaitable[T]], purpose: str) -> T:
        """Take ``step`` as soon as the lock is free; log once if the wait is long. Polls in small
        random steps, since SQLite's own busy handler sleeps for up to 100 ms.
        """
        clock = asyncio.get_running_loop()
        report_at = clock.time() + self.patience_seconds
        while True:
            try:
                return await step()
            except LockedError:
                pass
            if clock.time() > report_at:
                self.waiting(purpose)
                report_at = float("inf")
            await asyncio.sleep(0.001 + 0.003 * self.dice())


class ThreadedConnection(aiosqlite.Connection):
    """A connection with a thread of its own, to be awaited before its first use. A transaction is
    one hop to the thread, where aiosqlite's own calls are one for each statement.
    """

    def __init__(self, path: Path) -> None:
        connect = partial(sqlite3.connect, path, timeout=0, isolation_level=None)
        super().__init__(connect, iter_chunk_size=1)
        self._core: Connection | None = None
        self._abandoned = threading.Event()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Return ``work``'s result. It runs to its end, even if the caller is cancelled."""
        done: T = await self._execute(self._work, work)  # type: ignore[no-untyped-call]
        return done

    def _work(self, work: Callable[[Connection], T]) -> T:
        if self._core is None:
            raw = self._conn
            # Text that is not UTF-8 becomes lone surrogates, so that one such row is told apart
            # and does not stop the readers of all (law 14).
            raw.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
            raw.set_progress_handler(self._abandoned.is_set, LOOK_UP_STEPS)
            engine = create_engine(
                "sqlite://",
                creator=lambda: raw,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",
                hide_parameters=True,
            )
            self._core = engine.connect()
        return work(self._core)

    async def close(self) -> None:
        """Close the connection; break off and roll back the work in its thread."""
        self._abandoned.set()
        await self.run(Connection.close)
        await super().close()


class LockedError(Exception):
    """Another connection holds the lock; nothing was done."""


def _transaction(
    begin: Sequence[str], work: Callable[[Connection], T], connection: Connection
) -> T:
    """Return ``work``'s committed result. ``begin`` takes the lock. Raises LockedError."""
    try:
        for statement in begin:
            _unlocked(connection, statement)
        result = work(connection)
        if connection.connection.in_transaction:  # a migration has ended its own
            execute(connection, "COMMIT")
    except BaseException:
        connection.rollback()
        connection.connection.rollback()  # SQLAlchemy knows of no transaction here
        raise
    return result


def _unlocked(connection: Connection, statement: str) -> list[Any]:
    """Return the rows of a statement that needs the lock. Raises LockedError."""
    try:
        return execute(connection, statement)[0]
    except DBAPIError as error:
        code = getattr(error.driver_exception, "sqlite_errorcode", 0)
        if code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise LockedError from error
        raise


def _prepare(connection: Connection, role: str, path: Path) -> None:
    """Put every commit on disk before the next step (law 1); refuse a database that is not WAL. One
    that reads leaves a file without our tables as it is: another program made it.
    """
    mode = _unlocked(connection, "PRAGMA journal_mode")[0][0]
    if mode != "wal" and (role == "write" or _has_our_tables(connection)):
        mode = _unlocked(connection, "PRAGMA journal_mode=WAL")[0][0]
        if mode != "wal":
            raise DatabaseProblem(
                f"database {path}: it works in journal mode {mode}, not WAL: keep it on a local "
                "disk"
            )
    connection.exec_driver_sql("PRAGMA synchronous=FULL")


def _has_our_tables(connection: Connection) -> bool:
    names = _unlocked(connection, "SELECT name FROM sqlite_schema")
    return metadata.tables.keys() <= {name for (name,) in names}


def copy(connection: Connection, path: Path) -> dict[str, int]:
    """Copy the file as this transaction sees it, while others write; read the copy, and return the
    rows of its tables. Raises DatabaseProblem if they are not those of the file.
    """
    source = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    try:
        with closing(sqlite3.connect(path)) as target:
            source.backup(target)
        with closing(sqlite3.connect(path)) as target:
            (found,) = target.execute("PRAGMA integrity_check(1)").fetchone()
            numbers = _numbers(target)
    except sqlite3.Error as error:
        raise _explained(OperationalError("copy", None, error), path) from error
    if found != "ok" or numbers != _numbers(source):
        raise DatabaseProblem(f"database {path}: the copy is damaged ({found}): check the disk")
    return numbers


def _numbers(connection: sqlite3.Connection) -> dict[str, int]:
    count = "SELECT count(*) FROM {}"
    return {n: connection.execute(count.format(n)).fetchone()[0] for n in metadata.tables}


def _file_at(path: Path) -> tuple[int, int] | None:
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


def _explained(error: DBAPIError, path: Path) -> Exception:
    """Return a sentence for a database that cannot be used; return the error of a bad value."""
    name = getattr(error.driver_exception, "sqlite_errorname", "")
    for prefix, remedy in _REMEDIES.items():
        if name.startswith(prefix):
            return DatabaseProblem(f"database {path}: {remedy} ({error.driver_exception})")
    if isinstance(error, OperationalError):
        return DatabaseProblem(f"database {path} cannot be used: {error.driver_exception}")
    return error
