"""The database of one queue, whichever engine keeps it: transactions, and the schema's number.

Knows no verb of the queue.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, Self, TypeVar

from sqlalchemy import Connection, inspect, text, update
from sqlalchemy.exc import StatementError

from worker.db.address import DatabaseProblem, File, Server, Unreachable, address_of
from worker.db.schema import SCHEMA, account
from worker.db.sqlite import Sqlite

__all__ = [
    "BAD_VALUE",
    "Database",
    "DatabaseProblem",
    "Unreachable",
    "rewrite",
    "schema_of",
    "schema_problem",
]

PATIENCE_SECONDS = 5.0
"""Waiting this long for the database's lock is worth one line in the log."""

BAD_VALUE = (StatementError, ValueError, OverflowError)
"""What a value that cannot be stored raises, in the driver or on the way to it (law 14)."""

T = TypeVar("T")


class Engine(Protocol):
    """What the two engines have in common."""

    def now(self) -> datetime:
        """The time of the queue (UTC)."""
        ...

    async def transaction(self, role: str, work: Callable[[Connection], T], purpose: str) -> T:
        """``work``'s result, committed to disk; ``role`` is "write" or "read"."""
        ...

    def version(self) -> int:
        """A number that changes when there may be something new."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Database:
    """A queue's database. A transaction is one call of ``read`` or ``write`` with a plain function
    of a connection; write transactions of all processes come one after the other. Their awaits must
    never be cancelled: a cancelled one may have committed (design.md, section 8).
    """

    def __init__(
        self,
        url: str,
        *,
        dice: Callable[[], float],
        now: Callable[[], datetime],
        waiting: Callable[[str], None],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.address = address_of(url)
        self._engine = _engine(self.address, dice, now, waiting, patience_seconds)
        self.now = self._engine.now

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def runs_in_thread(self) -> bool:
        """Whether the work of a transaction has a thread of its own, so that the event loop may
        stand still meanwhile and hold nobody up.
        """
        return isinstance(self.address, File)

    async def write(self, work: Callable[[Connection], T], purpose: str) -> T:
        """``work``'s result, committed to disk; ``purpose`` says in the log what waits if the
        database is locked. Raises what ``work`` raises (rolled back), or DatabaseProblem.
        """
        return await self._engine.transaction("write", work, purpose)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """``work``'s result on one consistent state. Raises DatabaseProblem."""
        return await self._engine.transaction("read", work, "to read")

    def data_version(self) -> int:
        """A number that changes when there may be something new in the queue. Raises
        DatabaseProblem.
        """
        return self._engine.version()

    async def close(self) -> None:
        """Close all connections; what is under way is broken off and rolled back."""
        await self._engine.close()


def _engine(
    address: File | Server,
    dice: Callable[[], float],
    now: Callable[[], datetime],
    waiting: Callable[[str], None],
    patience_seconds: float,
) -> Engine:
    if isinstance(address, File):
        return Sqlite(
            address, dice=dice, now=now, waiting=waiting, patience_seconds=patience_seconds
        )
    try:
        from worker.db.postgres import Postgres  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError as error:
        raise DatabaseProblem(
            f"database {address}: {error.name} is not installed: pip install "
            "'valossa-ingest[postgres]'"
        ) from None
    return Postgres(address, now=now, waiting=waiting, patience_seconds=patience_seconds)


def rewrite(connection: Connection) -> None:
    """Write what stands there already: this fails where a claim would, and changes nothing."""
    connection.execute(update(account).values(id=account.c.id))


def schema_of(connection: Connection) -> str | None:
    """The revision that the database is at, None where it has no tables of this program."""
    if not inspect(connection).has_table("alembic_version"):
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
