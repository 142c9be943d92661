"""Open a queue's database to work on it or to read it; make, migrate and move it on the way.

Refuses a database that cannot be used, and says the way out. Knows no verb of the queue.
"""

import asyncio
import dataclasses
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from worker import wiring
from worker.core.relocation import on_its_way, sentence
from worker.db import place
from worker.db.address import DatabaseProblem, File, Server, address_of
from worker.db.database import Database, schema_of, schema_problem
from worker.relocate import Move, Moved
from worker.settings import Settings
from worker.store import relocation, shared_state

T = TypeVar("T")


@asynccontextmanager
async def existing_database(settings: Settings) -> AsyncIterator[Database]:
    """Yield a database to work on. Raises DatabaseProblem if missing, of another schema, moved."""
    _must_be_safe(settings.database_url)
    async with readable_database(settings) as database:
        await database.read(lambda c: _must_be_here(c, database))
        yield database


async def change(database: Database, work: Callable[[Connection, datetime], T], purpose: str) -> T:
    """Return the result of ``work``, which gets the time of the queue (UTC). Raises what ``work``
    raises, or DatabaseProblem if the queue has moved meanwhile.
    """

    def checked(connection: Connection) -> T:
        _must_be_here(connection, database)
        return work(connection, database.now())

    return await database.write(checked, purpose)


def _must_be_here(connection: Connection, database: Database) -> None:
    if problem := relocation.problem(connection):
        raise DatabaseProblem(f"database {database.address} {problem}")


@asynccontextmanager
async def readable_database(settings: Settings) -> AsyncIterator[Database]:
    """Yield a database to read. Raises DatabaseProblem if it is missing or of another schema."""
    address = address_of(settings.database_url)
    if not _is_there(address):
        raise DatabaseProblem(
            f"no database at {address}: run valossa-ingest migrate to make one, or name another "
            "with --database or WORKER_DATABASE_URL"
        )
    async with wiring.database(settings) as database:
        if problem := await database.read(schema_problem):
            raise DatabaseProblem(f"database {address} {problem}")
        yield database


@asynccontextmanager
async def made_database(settings: Settings) -> AsyncIterator[Database]:
    """Yield a database, made if missing; an old schema is not touched. Raises DatabaseProblem."""
    address = address_of(settings.database_url)
    if not _is_there(address) or (isinstance(address, Server) and await _is_bare(settings)):
        await migrate(settings)
    async with existing_database(settings) as database:
        yield database


def read_beside(database: Database, settings: Settings) -> AbstractAsyncContextManager[Database]:
    """Return the queue of the settings to be read, if it is there and not ``database`` itself.
    Opening it raises DatabaseProblem where it could not be worked on.
    """
    address = address_of(settings.database_url)
    if address == database.address or not _is_there(address):
        return nullcontext(database)
    return existing_database(settings)


def _is_there(address: File | Server) -> bool:
    """Return False for a missing file. Raises DatabaseProblem if the system refuses its path."""
    if isinstance(address, Server):
        return True
    try:
        if stat.S_ISREG(address.path.stat().st_mode):
            return True
        problem = (
            "it cannot be opened: check the path, its folder and its permissions (it is no file)"
        )
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not address.path.is_symlink():
            return False
        problem = f"{error.strerror}: name another with --database"
    raise DatabaseProblem(f"database {address}: {problem}")


def _is_one_file(address: File | Server, other: File | Server) -> bool:
    """Return True for two names of the same file, of which the first is there."""
    if isinstance(address, Server) or isinstance(other, Server) or not _is_there(other):
        return False
    return address.path.samefile(other.path)


def _must_be_safe(url: str) -> None:
    """Raise DatabaseProblem for a file that workers cannot share."""
    address = address_of(url)
    _is_there(address)
    if isinstance(address, File) and (problem := place.problem_of(address.path, place.mounts())):
        raise DatabaseProblem(f"database {address} {problem}")


async def _is_bare(settings: Settings) -> bool:
    async with wiring.database(settings) as database:
        return await database.read(schema_of) is None


async def migrate(settings: Settings) -> None:
    """Make the database, or bring it to the schema of this program. Raises DatabaseProblem."""
    from worker.db.migrate import upgrade  # noqa: PLC0415 - alembic is slow to load, and rarely needed

    _must_be_safe(settings.database_url)
    async with wiring.database(settings) as database:
        problem = await database.read(schema_problem)
        if problem and not problem.endswith("run valossa-ingest migrate"):
            raise DatabaseProblem(f"database {database.address} {problem}")
        await upgrade(database)


async def move(
    settings: Settings, source: str, target: str, who: str, tell: Callable[[str], None]
) -> Moved:
    """Move a queue between two URLs; a missing schema is made. Raises DatabaseProblem."""
    if shown(source) == shown(target):
        raise DatabaseProblem(f"--from and --to are both {shown(source)}: name another with --to")
    for url in (source, target):
        _must_be_safe(url)
    if not _is_there(address := address_of(source)):
        raise DatabaseProblem(f"no database at {address}: name the queue as it is now with --from")
    if _is_one_file(address, address_of(target)):
        raise DatabaseProblem(
            f"--from {shown(source)} and --to {shown(target)} are one file: name another with --to"
        )
    there = dataclasses.replace(settings, database_url=target)
    async with readable_database(dataclasses.replace(settings, database_url=source)) as old:
        await _make_ready(source, (await old.read(shared_state.read)).moved_to, there)
        async with readable_database(there) as new:
            return await Move(
                source=old,
                target=new,
                source_name=shown(source),
                target_name=shown(target),
                now=old.now,
                who=who,
                tell=tell,
                pause=asyncio.sleep,
            ).run()


async def _make_ready(source: str, mark: str | None, target: Settings) -> None:
    """Make the tables of a target without any. Raises DatabaseProblem if ``mark`` forbids it."""
    name = shown(target.database_url)
    if mark not in {None, name, on_its_way(name)}:
        raise DatabaseProblem(f"database {shown(source)} {sentence(mark or '')}")
    if mark == name and not _is_there(address_of(target.database_url)):
        raise DatabaseProblem(
            f"database {shown(source)} has moved to {name}, which is missing: restore a backup of "
            "it"
        )
    if await _is_bare(target):
        await migrate(target)


def shown(url: str) -> str:
    """Return a URL without its secrets, the same from every folder. Raises DatabaseProblem."""
    address = address_of(url)
    return f"sqlite:///{address}" if isinstance(address, File) else address.name
