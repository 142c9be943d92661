"""Connections to one SQLite file, and transactions on them. Knows no verb of the queue."""

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from worker.sqlite import LockedError, Side, transaction, unlocked
from worker.tables import SCHEMA

PATIENCE_SECONDS = 5.0
"""Waiting this long for the database's lock is worth one line in the log."""

T = TypeVar("T")

_REMEDIES = {
    "SQLITE_FULL": "the disk is full: make room",
    "SQLITE_READONLY": "it is read-only: check the owner and the mode of the file and its folder",
    "SQLITE_CANTOPEN": "it cannot be opened: check the path, its folder and its permissions",
    "SQLITE_NOTADB": "it is no SQLite database: name another file, or restore a backup",
    "SQLITE_CORRUPT": "it is damaged: restore a backup",
    "SQLITE_IOERR": "the disk reports an error: check the disk and its free space",
}


class DatabaseProblem(Exception):  # noqa: N818 - a user's problem, told in a sentence
    """The database cannot be used; the message names the file and the way out."""


class Database:
    """The connections to one SQLite file: one that writes, one that reads, and one that looks
    whether anybody has written.

    A transaction is one call of ``read`` or ``write`` with a plain function of a connection. Their
    awaits must never be cancelled: a cancelled one may have committed (design.md, section 8).
    """

    def __init__(
        self,
        url: str,
        *,
        dice: Callable[[], float],
        waiting: Callable[[str], None],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.path = path_of(url)
        self._dice = dice
        self._waiting = waiting
        self._patience_seconds = patience_seconds
        self._turn = {"write": asyncio.Lock(), "read": asyncio.Lock()}
        self._open: dict[str, Side] = {}
        self._eye: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def write(self, work: Callable[[Connection], T], purpose: str) -> T:
        """``work``'s result, committed to disk; ``purpose`` says in the log what waits if the
        database is locked. Raises what ``work`` raises (rolled back), or DatabaseProblem.
        """
        return await self._transaction("write", "BEGIN IMMEDIATE", work, purpose)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """``work``'s result on one consistent state. Raises DatabaseProblem."""
        return await self._transaction("read", "BEGIN", work, "to read")

    def data_version(self) -> int:
        """A number that changes when somebody else, or our own writing side, has committed. Raises
        DatabaseProblem.
        """
        # Without a hop to a thread, which would cost an idle daemon more than all the rest: the
        # answer takes microseconds, waits for no lock and leaves none.
        self._must_be_there()
        try:
            if self._eye is None:
                self._eye = sqlite3.connect(self.path, timeout=0, isolation_level=None)
                self._file = _file_at(self.path)
            version: int = self._eye.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise _explained(OperationalError("look", None, error), self.path) from error
        return version

    async def close(self) -> None:
        """Close all connections."""
        if self._eye is not None:  # first: the last one to close may have the whole log to copy
            self._eye.close()
            self._eye = None
        for side in self._open.values():
            await side.close()
        self._open.clear()

    async def _transaction(
        self, role: str, begin: str, work: Callable[[Connection], T], purpose: str
    ) -> T:
        async with self._turn[role]:
            try:
                side = await self._side(role, purpose)
                step = partial(transaction, begin, work)
                return await self._locked(lambda: side.run(step), purpose)
            except DBAPIError as error:
                raise _explained(error, self.path) from error

    def _must_be_there(self) -> None:
        """SQLite goes on writing to a file that has been removed or replaced: an intent in it would
        be on disk for nobody (laws 1 and 9). Raises DatabaseProblem.
        """
        if self._file not in {None, _file_at(self.path)}:
            raise DatabaseProblem(
                f"database {self.path}: it was removed or replaced while it was in use: "
                "put it back, or start again to work on what is there now"
            )

    async def _side(self, role: str, purpose: str) -> Side:
        """The open connection."""
        self._must_be_there()
        if role not in self._open:
            _probe(self.path)
            side = await Side.open(self.path)
            try:
                await self._locked(lambda: side.run(partial(_prepare, path=self.path)), purpose)
            except BaseException:
                await side.close()
                raise
            self._open[role] = side
            self._file = _file_at(self.path)
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


def path_of(url: str) -> Path:
    """The absolute path of ``sqlite:///file`` or of a bare path. Raises DatabaseProblem."""
    if "://" not in url:
        return Path(url).expanduser().absolute()
    shown = re.sub(r"//[^@/]*@", "//…@", url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whose texts may quote a password
        raise DatabaseProblem(
            f"database_url {shown!r} cannot be read: write sqlite:///videos.db or a path"
        ) from None
    if parsed.get_backend_name() != "sqlite" or parsed.host or not parsed.database or parsed.query:
        raise DatabaseProblem(
            f"database_url {shown!r} is no SQLite file: write sqlite:///videos.db or a path"
        )
    return Path(parsed.database).expanduser().absolute()


def rewrite(connection: Connection) -> None:
    """Write what stands there already: this fails where a claim would, and changes nothing."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {version}")


def schema_of(connection: Connection) -> str | None:
    """The revision that the database is at, None where it has no tables of this program."""
    known = text("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
    if not connection.execute(known).scalar_one():
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def schema_problem(connection: Connection) -> str | None:
    """Why this program cannot work on this schema, None if it can."""
    found = schema_of(connection)
    if found is None:
        return "has no tables of this program: run valossa-ingest migrate"
    if found < SCHEMA:
        return f"has schema {found}, this program needs {SCHEMA}: run valossa-ingest migrate"
    if found > SCHEMA:
        return f"has schema {found}, newer than this program's {SCHEMA}: install the newer program"
    return None


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
