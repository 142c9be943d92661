"""Run transactions on the database of one queue, in either engine; read the schema's number."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from sqlalchemy import Connection, inspect, select, table, text, update
from sqlalchemy.exc import StatementError

from worker.db.address import QUEUE_SCHEMA, DatabaseProblem, File, Server, address_of
from worker.db.schema import SCHEMA, account, metadata
from worker.db.sqlite import Sqlite

if TYPE_CHECKING:
    from worker.db.postgres import Postgres

PATIENCE_SECONDS = 5.0
"""A longer wait for the database's lock is logged, once."""

BAD_VALUE = (StatementError, ValueError, OverflowError)
"""The errors of a value that cannot be stored, from the driver or on the way to it (law 14)."""

_VERSION = "alembic_version"

T = TypeVar("T")


def refusal(error: Exception) -> str:
    """Return the sentence about a row that the database refuses to write."""
    cause = getattr(error, "orig", None) or error
    first_line = str(cause.__cause__ or cause).split("\n", 1)[0]
    return f"the database refuses to write this row: {first_line}"


class Database:
    """A queue's database. A transaction is one call of ``read`` or ``write`` with a plain function
    of a connection; write transactions of all processes come one after the other. Never cancel
    their awaits: a cancelled transaction may have committed.
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
        engine = _engine(self.address, dice)
        self._engine = engine(now=now, waiting=waiting, patience_seconds=patience_seconds)
        self.now = self._engine.now

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def runs_in_thread(self) -> bool:
        """Return True if transactions run in a thread, so a blocked event loop holds none up."""
        return isinstance(self.address, File)

    async def write(self, work: Callable[[Connection], T], purpose: str) -> T:
        """Return ``work``'s result, committed to disk. ``purpose`` names in the log the work that
        waits for a locked database. Raises what ``work`` raises (rolled back), or DatabaseProblem.
        """
        return await self._engine.transaction("write", work, purpose)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return ``work``'s result on one consistent state. Raises DatabaseProblem."""
        return await self._engine.transaction("read", work, "to read")

    def data_version(self) -> int:
        """Return a number that changes when the queue may have changed. Raises DatabaseProblem."""
        return self._engine.version()

    async def close(self) -> None:
        """Close all connections; break off and roll back the transactions under way."""
        await self._engine.close()


def _engine(
    address: File | Server, dice: Callable[[], float]
) -> "Callable[..., Sqlite | Postgres]":
    if isinstance(address, File):
        return partial(Sqlite, path=address.path, dice=dice)
    try:
        from worker.db.postgres import Postgres  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError as error:
        raise DatabaseProblem(
            f"database {address}: {error.name} is not installed: pip install "
            "'valossa-ingest[postgres]'"
        ) from None
    return partial(Postgres, address)


def place_of(connection: Connection, address: File | Server) -> str:
    """Return the path of the database's file, or its server and schema, for people."""
    if isinstance(address, File):
        return str(address)
    return f"{address}, schema {schema_name(connection)}"


def schema_name(connection: Connection) -> str:
    """Return the schema of a server's database in which the queue is, or would be made."""
    return str(connection.scalar(text(f"SELECT {QUEUE_SCHEMA}")))


def rewrite(connection: Connection) -> None:
    """Rewrite the shared row unchanged: this fails where a claim would."""
    connection.execute(update(account).values(id=account.c.id))


def schema_of(connection: Connection) -> str | None:
    """Return the database's revision, None if it has no tables of this program."""
    if "version_num" not in _columns(connection, _VERSION):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def _columns(connection: Connection, name: str) -> set[str]:
    if not inspect(connection).has_table(name):
        return set()
    return {*connection.execute(select(text("*")).select_from(table(name)).limit(0)).keys()}


def _foreign(connection: Connection, found: str | None) -> str | None:
    """Return the name of a table that another program has made, None if there is none."""
    if found and not (re.fullmatch(r"\d{4}", found) and _columns(connection, "videos")):
        return _VERSION
    tables = {each.name: {*each.columns.keys()} for each in metadata.tables.values()}
    for name, ours in {**tables, _VERSION: {"version_num"}}.items():
        theirs = set() if found and name != "videos" else _columns(connection, name)
        if theirs and len(theirs & ours) * 2 < len(ours):
            return name
    return None


def schema_problem(connection: Connection) -> str | None:
    """Return why this program cannot work on the schema, None if it can."""
    # 1. Another program's tables. 2. No tables. 3. An older schema. 4. A newer one. 5. Ours.
    found = schema_of(connection)
    if foreign := _foreign(connection, found):
        return (
            f"has a table {foreign} that another program has made: name a database of its own, or, "
            "on a server, a schema of its own (CREATE SCHEMA videos; add ?search_path=videos)"
        )
    if found is None:
        return "has no tables of this program: run valossa-ingest migrate"
    if found < SCHEMA:
        return f"has schema {found}, this program needs {SCHEMA}: run valossa-ingest migrate"
    if found > SCHEMA:
        return f"has schema {found}, newer than this program's {SCHEMA}: install the newer program"
    return None
