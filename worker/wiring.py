"""Settings into running parts. The only place that reads a clock, rolls dice or names a process."""

import asyncio
import dataclasses
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from worker import __version__
from worker.address import File, Server, address_of
from worker.api import Api
from worker.chronicle import Chronicle
from worker.clock import Clock
from worker.core import moved
from worker.core.decide import Policy
from worker.core.redact import clean
from worker.core.request import Defaults
from worker.db import Database, DatabaseProblem, schema_of, schema_problem
from worker.gate import Gate
from worker.log import Event, Log, logger
from worker.moving import Move, Moved
from worker.orders import Orders, Tally
from worker.presence import Signs
from worker.reconciler import Reconciler
from worker.runner import Runner
from worker.settings import Key, Settings
from worker.store import account, moving
from worker.store.caps import Cap
from worker.store.fleet import Member
from worker.tables import SCHEMA
from worker.terms import Terms
from worker.turn import Transaction

T = TypeVar("T")

CLOCK = Clock(now=lambda: datetime.now(UTC), monotonic=time.monotonic)  # noqa: TID251 - its owner


HEARTBEAT_SECONDS = 5.0
"""Between two touches of a daemon's sign of life."""


@asynccontextmanager
async def existing_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, open, to work on it; one that is missing, of another schema, or has moved, is
    refused with the way out. Raises DatabaseProblem.
    """
    async with readable_database(settings) as database:
        await database.read(lambda c: _must_be_here(c, database))
        yield database


async def change(database: Database, work: Callable[[Connection, datetime], T], purpose: str) -> T:
    """``work``'s result, in a transaction that sees whether the queue has moved meanwhile; it gets
    the time of the queue (UTC). Raises what ``work`` raises, or DatabaseProblem.
    """

    def checked(connection: Connection) -> T:
        _must_be_here(connection, database)
        return work(connection, database.now())

    return await database.write(checked, purpose)


def _must_be_here(connection: Connection, database: Database) -> None:
    problem = moving.problem(connection)
    if problem:
        raise DatabaseProblem(f"database {database.address} {problem}")


@asynccontextmanager
async def readable_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, open, to look at it; one that is missing or of another schema is refused with
    the way out. Raises DatabaseProblem.
    """
    address = address_of(settings.database_url)
    if not _is_there(address):
        raise DatabaseProblem(
            f"no database at {address}: run valossa-ingest migrate to make one, or name another "
            "with --database or WORKER_DATABASE_URL"
        )
    async with _database(settings) as database:
        problem = await database.read(schema_problem)
        if problem:
            raise DatabaseProblem(f"database {address} {problem}")
        yield database


@asynccontextmanager
async def made_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, open; a missing one is made, an old schema is not touched. Raises
    DatabaseProblem.
    """
    address = address_of(settings.database_url)
    if not _is_there(address) or (isinstance(address, Server) and await _is_empty(settings)):
        await migrate(settings)
    async with existing_database(settings) as database:
        yield database


def _is_there(address: File | Server) -> bool:
    """Whether the file exists, of a server only whoever connects can tell; a path that cannot even
    be asked for is a DatabaseProblem.
    """
    if isinstance(address, Server):
        return True
    try:
        return address.path.exists()
    except OSError as error:
        raise DatabaseProblem(
            f"database {address}: {error.strerror}: name another with --database"
        ) from error


async def _is_empty(settings: Settings) -> bool:
    """Whether the database has no tables of this program."""
    async with _database(settings) as database:
        return await database.read(schema_of) is None


async def migrate(settings: Settings) -> None:
    """Make the database, or bring it to the schema of this program. Raises DatabaseProblem."""
    from worker.migrate import upgrade  # noqa: PLC0415 - alembic is slow to load, and rarely needed

    async with _database(settings) as database:
        found = await database.read(schema_of)
        if found is not None and found > SCHEMA:
            problem = await database.read(schema_problem)
            raise DatabaseProblem(f"database {database.address} {problem}")
        await upgrade(database)


async def move(
    settings: Settings, source: str, target: str, who: str, tell: Callable[[str], None]
) -> Moved:
    """Move the queue at the URL ``source`` to ``target``, whose schema is made if it has none.
    Raises DatabaseProblem.
    """
    if shown(source) == shown(target):
        raise DatabaseProblem(f"--from and --to are both {shown(source)}: name another with --to")
    there = dataclasses.replace(settings, database_url=target)
    async with readable_database(dataclasses.replace(settings, database_url=source)) as old:
        await _make_ready(source, (await old.read(account.read)).moved_to, there)
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
    """Make the tables of a target that has none, but for a source whose ``mark`` says that it must
    not move there; an old schema is not touched. Raises DatabaseProblem.
    """
    name = shown(target.database_url)
    if mark not in {None, name, moved.on_its_way(name)}:
        raise DatabaseProblem(f"database {shown(source)} {moved.sentence(mark or '')}")
    if mark == name and not _is_there(address_of(target.database_url)):
        told = f"database {shown(source)} has moved to {name}, which is missing"
        raise DatabaseProblem(f"{told}: restore a backup of it")
    async with _database(target) as database:
        bare = await database.read(schema_of) is None
    if bare:
        await migrate(target)


def shown(url: str) -> str:
    """The URL of a database as it may be shown, the same from every folder. Raises
    DatabaseProblem.
    """
    address = address_of(url)
    return f"sqlite:///{address}" if isinstance(address, File) else str(address)


def _database(settings: Settings) -> Database:
    log = logger()
    return Database(
        settings.database_url,
        dice=random.random,
        now=CLOCK.now,
        waiting=lambda purpose: log.warning(Event.DATABASE_WAITED_FOR, purpose=purpose),
    )


@asynccontextmanager
async def runner(
    settings: Settings,
    key: Key,
    database: Database,
    orders: Orders,
    watch: Callable[[Tally], None],
) -> AsyncIterator[Runner]:
    """A runner with everything that it needs, ready to run once."""
    worker = secrets.token_hex(8)
    log: Log = logger().bind(worker=worker)
    async with api(settings, key) as client:
        yield Runner(
            database=database,
            transaction=_transaction(settings, worker, database),
            api=client,
            gate=_gate(settings),
            orders=orders,
            chronicle=Chronicle(log, watch),
            signs=Signs(member(worker, orders, database.now()), _turned(database.address, orders)),
        )


def member(worker: str, orders: Orders, now: datetime) -> Member:
    """One run of this process, as the others will see it."""
    return Member(
        id=worker,
        host=host(),
        pid=os.getpid(),
        command="drain" if orders.drain else "run",
        started_at=now,
    )


def host() -> str:
    """The name of this machine."""
    return clean(socket.gethostname())


@asynccontextmanager
async def reconciler(
    settings: Settings, key: Key, database: Database, who: str
) -> AsyncIterator[Reconciler]:
    """What settles doubts for a person, whatever ``on_doubt`` says, ready to ask once."""
    asking = dataclasses.replace(settings, on_doubt="reconcile")
    transaction = _transaction(asking, who, database)
    judgement = transaction.judgement
    assert judgement is not None  # noqa: S101 - as just asked for
    async with api(settings, key) as client:
        yield Reconciler(
            api=client,
            gate=_gate(settings),
            write=database.write,
            transaction=transaction,
            judgement=judgement,
            chronicle=Chronicle(logger(), lambda _: None),
            news=_nothing,
        )


def _gate(settings: Settings) -> Gate:
    return Gate(
        slots=settings.concurrency,
        rate=settings.rate,
        period_seconds=settings.period_seconds,
        monotonic=CLOCK.monotonic,
    )


def _transaction(settings: Settings, worker: str, database: Database) -> Transaction:
    clock = Clock(now=database.now, monotonic=CLOCK.monotonic)
    return Transaction(terms=terms(settings, worker), clock=clock, dice=random.random)


def heartbeat_of(database: Path) -> Path:
    """The file beside the database that a daemon touches while its loop turns."""
    return database.with_name(f"{database.name}.alive")


def _heartbeat(database: Path) -> Callable[[], None]:
    """Touch the file, but not more often than it can be looked at."""
    path, next_at = heartbeat_of(database), 0.0

    def touch() -> None:
        nonlocal next_at
        if CLOCK.monotonic() >= next_at:
            next_at = CLOCK.monotonic() + HEARTBEAT_SECONDS
            try:
                path.touch()
            except OSError as error:
                logger().warning(Event.HEARTBEAT_FAILED, path=str(path), reason=error.strerror)

    return touch


def _turned(address: File | Server, orders: Orders) -> Callable[[], None]:
    """What a run does at each turn: a drain shows no sign of life but its end."""
    if orders.drain or isinstance(address, Server):
        return _nothing
    return _heartbeat(address.path)


def _nothing() -> None:
    """Nobody asks for news."""


def api(settings: Settings, key: Key) -> Api:
    """The client of the API."""
    return Api(
        url=settings.api_url,
        key=key.value,
        slots=settings.concurrency,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        timeout_seconds=settings.timeout_seconds,
        now=CLOCK.now,
        agent=f"valossa-ingest/{__version__}",
    )


def orders(
    settings: Settings,
    *,
    drain: bool,
    wait: bool = False,
    limit: int | None = None,
    max_seconds: float | None = None,
) -> Orders:
    """How a run is to be done."""
    return Orders(
        drain=drain,
        wait=wait,
        limit=limit,
        max_seconds=max_seconds,
        timeout_seconds=settings.timeout_seconds,
        grace_seconds=settings.grace,
        poll_seconds=settings.poll_seconds,
        retry_after_max_seconds=settings.retry_after_max_seconds,
        defaults=defaults(settings),
    )


def defaults(settings: Settings) -> Defaults:
    """What rows that name none are sent with."""
    return Defaults(
        language=settings.default_language,
        callback_url=settings.default_callback_url,
        email_group=settings.default_email_group,
    )


def terms(settings: Settings, worker: str) -> Terms:
    """What the settings say to a ledger."""
    settle, on_doubt = settings.doubt_settle_seconds, settings.on_doubt
    return Terms(
        worker=worker,
        rate=settings.rate,
        period_seconds=settings.period_seconds,
        timeout_seconds=settings.timeout_seconds,
        url_margin_seconds=settings.url_margin_seconds,
        policy=Policy(
            max_attempts=settings.max_attempts,
            backoff_base_seconds=settings.backoff_base_seconds,
            backoff_max_seconds=settings.backoff_max_seconds,
        ),
        repeat_doubts_after=settle if on_doubt == "retry" else None,
        absent_after=settle if on_doubt == "reconcile" else None,
        caps=caps(settings),
    )


def caps(settings: Settings) -> tuple[Cap, ...]:
    """The caps that are set."""
    set_ = (
        ("max_per_day", settings.max_per_day, timedelta(hours=24)),
        ("max_total", settings.max_total, None),
    )
    return tuple(
        Cap(name=name, most=most, window=window) for name, most, window in set_ if most is not None
    )
