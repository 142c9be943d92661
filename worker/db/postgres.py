"""Keep a queue in a PostgreSQL database, by asyncpg: its connections, its lock and its time."""

import asyncio
import secrets
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import asyncpg
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from worker.clock import sleep_or_event
from worker.db.address import LOCK_KEY, DatabaseProblem, Server, Unreachable
from worker.db.postgres_errors import explained, state_of
from worker.db.postgres_listener import Listener

T = TypeVar("T")

OLDEST = 14
"""The oldest version of the server that is worked with."""

CONNECT_SECONDS = 10.0
LAST_SECONDS = 1.0
"""The time that a transaction has to notice that its connection was closed."""
NET_SECONDS = 3.0
"""After so long the queue may have changed without a notification."""

AGAIN_SECONDS = 0.5
"""Between tries to learn if a transaction was committed."""

SESSION = {"application_name": "valossa-ingest", "timezone": "UTC"}
"""What a server is told when a connection begins: more than that a pooler refuses."""

_SETTINGS = {
    # The intent is on disk before its request (law 1), whatever the database's default is.
    "synchronous_commit": "on",
    # A worker whose machine is gone does not block the others for ever.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    # A plan for one batch is not worth compiling.
    "jit": "off",
    # The queue's lock is waited for, and bulk commands end, whatever a role's limits are.
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
}
_SET = "SELECT " + ", ".join(f"set_config('{k}', '{v}', false)" for k, v in _SETTINGS.items())
_MARK, _NO_ROW = "valossa_ingest.session", "SELECT 0"

WATCH = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
"""Half a minute, in seconds and milliseconds. The kernel's defaults repeat unconfirmed bytes for a
quarter of an hour, and wait for an answer without an end.
"""

_ROLES: dict[str, dict[str, Any]] = {
    "write": {"isolation_level": "READ COMMITTED"},
    "read": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}

LOCK = (
    f"SELECT pg_advisory_xact_lock({LOCK_KEY}), clock_timestamp() AS now, "
    "to_regclass('commits') IS NOT NULL AS has_table, set_config('lock_timeout', '5s', true), "
    "set_config('idle_in_transaction_session_timeout', '10s', true)"
)
"""One write transaction at a time, as in SQLite, so that the rows that a verb has read hold until
it has written. The time is read under the lock. Waits for the row locks of other programs end, and
a worker that is frozen or cut off gives the lock back.
"""

_NUMBER = (
    "INSERT INTO commits (session, number) VALUES (:session, :number) ON CONFLICT (session) "
    "DO UPDATE SET number = excluded.number, at = excluded.at"
)
_LOCK_AND_NUMBER = f"WITH numbered AS ({_NUMBER}) {LOCK}"
_NUMBERED = "SELECT number FROM commits WHERE session = $1"
"""Each transaction writes its number, so that a connection which broke in a commit can be followed
up. The server's own transaction number would not do: after a crash another one may get it.
"""
_FORGET = text("DELETE FROM commits WHERE at < clock_timestamp() - interval '30 days'")

_GREETINGS = {
    "write": text("SELECT clock_timestamp()"),
    # A table that another program has locked for itself blinds no reader, and holds up no stop.
    "read": text("SELECT clock_timestamp(), set_config('lock_timeout', '5s', false)"),
}
"""By role; the first column is the server's time."""


class _UnsureError(Exception):
    """The connection broke in a commit. Its arguments: the transaction's result and the error."""


class Postgres:
    """The connections to one database: one that writes, one that reads, one that listens."""

    def __init__(
        self,
        server: Server,
        *,
        now: Callable[[], datetime],
        waiting: Callable[[str], None],
        patience_seconds: float,
    ) -> None:
        self._server = server
        self._here = now
        self._ahead = timedelta(0)
        self._waiting = waiting
        self._patience_seconds = patience_seconds
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            poolclass=NullPool,
            hide_parameters=True,
        )
        self._session = secrets.token_hex(8)
        self._number = 0
        self._busy = {role: asyncio.Lock() for role in _ROLES}
        self._open: dict[str, AsyncConnection] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = asyncio.Event()
        self._listener = Listener(self._connect, NET_SECONDS)

    def now(self) -> datetime:
        """Return the server's time (UTC): read in the last transaction, carried on by our clock."""
        return self._here() + self._ahead

    async def transaction(self, role: str, work: Callable[[Connection], T], purpose: str) -> T:
        """Return ``work``'s committed result. Runs to its end, even if the caller is cancelled."""
        task = asyncio.create_task(self._transaction(role, work, purpose))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def version(self) -> int:
        """Return a number that changes with each notification of new work and each NET_SECONDS."""
        return self._listener.heard()

    async def close(self) -> None:
        """Close all connections."""
        self._closed.set()
        await self._listener.close()
        for role in tuple(self._open):
            await self._drop(role)
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=LAST_SECONDS)
            for task in late:
                task.cancel()  # it waits for a silent server, and has nothing uncommitted there
        await self._engine.dispose()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # the caller, if there still is one, gets it

    async def _transaction(self, role: str, work: Callable[[Connection], T], purpose: str) -> T:
        async with self._busy[role]:
            try:
                connection = await self._connection(role)
                if role == "read":
                    return await connection.run_sync(_whole, work)
                return await connection.run_sync(self._write, work, purpose)
            except _UnsureError as unsure:
                await self._drop(role)
                result, cause = unsure.args
                await self._learn(cause, purpose)
                return cast("T", result)
            except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                problem = explained(error, self._server)
                if isinstance(problem, DatabaseProblem):
                    await self._drop(role)
                raise problem from error

    def _write(self, connection: Connection, work: Callable[[Connection], T], purpose: str) -> T:
        begun = connection.begin()
        try:
            self._lock(connection, purpose)
            result = work(connection)
        except BaseException:
            _roll_back(connection)
            raise
        try:
            begun.commit()
        except (DBAPIError, OSError) as error:
            if isinstance(error, DBAPIError) and state_of(error)[:2] not in {"", "08", "57"}:
                raise
            raise _UnsureError(result, error) from error
        return result

    def _lock(self, connection: Connection, purpose: str) -> None:
        """Take the queue's lock and read the time under it; write this transaction's number."""
        # At first there may be no table of numbers. Later both are one statement, since each takes
        # the way to the server and back.
        number = {"session": self._session, "number": self._number + 1}
        loop = asyncio.get_running_loop()
        late = loop.call_later(self._patience_seconds, self._waiting, purpose)
        try:
            lock = (text(_LOCK_AND_NUMBER), number) if self._number else (text(LOCK),)
            _, now, has_table, *_ = connection.execute(*lock).one()
        finally:
            late.cancel()
        self._ahead = now - self._here()
        if has_table and not self._number:
            connection.execute(_FORGET)
            connection.execute(text(_NUMBER), number)
        self._number += has_table

    async def _learn(self, cause: Exception, purpose: str) -> None:
        """Wait for a commit's fate. Raises Unreachable if it was not done, or after ``close``."""
        loop = asyncio.get_running_loop()
        late = loop.call_later(self._patience_seconds, self._waiting, purpose)
        try:
            while (done := await self._committed()) is None:
                if self._closed.is_set():
                    raise Unreachable(
                        f"database {self._server}: the connection broke in a commit, and nobody "
                        "could learn whether it was done"
                    ) from cause
                await sleep_or_event(self._closed, AGAIN_SECONDS)
        finally:
            late.cancel()
        if not done:
            raise explained(cause, self._server) from cause

    async def _committed(self) -> bool | None:
        """Return True if the last transaction was committed, None if the server does not answer.
        Takes the queue's lock, which that transaction held to its end.
        """
        try:
            connection = await self._connect()
            try:
                async with connection.transaction():
                    await connection.execute(LOCK)
                    found: int | None = await connection.fetchval(_NUMBERED, self._session)
            finally:
                connection.terminate()
        except asyncpg.UndefinedTableError:  # it would have made the tables
            return False
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return None
        return found == self._number

    async def _connection(self, role: str) -> AsyncConnection:
        if self._closed.is_set():
            raise DatabaseProblem(f"database {self._server} is closed")
        if role not in self._open:
            connection = await self._engine.connect()
            self._open[role] = await connection.execution_options(**_ROLES[role])
            await connection.run_sync(self._greet, _GREETINGS[role])
        return self._open[role]

    def _greet(self, connection: Connection, greeting: TextClause) -> None:
        """Read the server's time."""
        self._ahead = _whole(connection, lambda c: c.scalar(greeting)) - self._here()

    async def _drop(self, role: str) -> None:
        """Break the connection off; the next transaction opens its own."""
        connection = self._open.pop(role, None)
        if connection is not None:
            await connection.invalidate()
            await connection.close()

    async def _connect(self) -> asyncpg.Connection:
        connection = await self._connect_once()
        try:
            self._must_be_new(connection.get_server_version().major)
            # The number that a pooler gives to a connection is none of the server's.
            own = f"pg_backend_pid() = {connection.get_server_pid()}"
            if await connection.execute(f"{_SET} WHERE {own}") == _NO_ROW:
                await self._must_keep_sessions(connection)
                await connection.execute(_SET)
        except BaseException:
            connection.terminate()
            raise
        _watch(connection._transport.get_extra_info("socket"))  # noqa: SLF001 - no other way to it
        return connection

    def _must_be_new(self, version: int) -> None:
        """Raise DatabaseProblem for a server that may not know the settings, or is untried."""
        if version < OLDEST:
            raise DatabaseProblem(
                f"database {self._server}: PostgreSQL {version} is too old: name one of version "
                f"{OLDEST} or newer"
            )

    async def _connect_once(self) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(
                self._server.dsn, timeout=CONNECT_SECONDS, server_settings=SESSION
            )
        except ValueError as error:
            if isinstance(error, asyncpg.InterfaceError):
                raise
            raise DatabaseProblem(
                f"database {self._server}: its host is no name of a machine ({error}): correct it"
            ) from error

    async def _must_keep_sessions(self, first: asyncpg.Connection) -> None:
        """Raise DatabaseProblem if a pooler gives two connections one session by turns."""
        second = await self._connect_once()
        try:
            marks = {first: secrets.token_hex(8), second: secrets.token_hex(8)}
            for each, mark in marks.items():
                await each.execute(f"SELECT set_config('{_MARK}', '{mark}', false)")
            for each in (first, first, second, first, second):  # whichever one it gives next
                kept = f"current_setting('{_MARK}', true) = '{marks[each]}'"
                if await each.execute(f"SELECT 1 WHERE {kept}") == _NO_ROW:
                    raise DatabaseProblem(
                        f"database {self._server}: a pooler before it gives a session to one "
                        "transaction alone: name the server itself, or a pool in session mode"
                    )
        finally:
            second.terminate()


def _watch(peer: socket.socket) -> None:
    """Let the kernel notice a server that is gone without closing the connection."""
    if peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in WATCH.items():
        if hasattr(socket, name):  # absent on some systems
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _whole(connection: Connection, work: Callable[[Connection], T]) -> T:
    with connection.begin():
        return work(connection)


def _roll_back(connection: Connection) -> None:
    """Roll back; on a lost connection the server does so by itself."""
    try:
        connection.rollback()
    except (DBAPIError, OSError):
        connection.invalidate()
