"""Turn settings into running parts. Only here a clock is read, dice are rolled, a process named."""

import dataclasses
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from worker import __version__
from worker.api.client import Api
from worker.api.transport import Transport
from worker.api.uploads import ByteRate, uploading
from worker.clock import Clock
from worker.core import callback
from worker.core.file_address import address_of
from worker.core.model import Cap
from worker.core.redact import clean
from worker.core.run_state import RunState
from worker.core.stop_conditions import RunOptions
from worker.db.address import File, Server
from worker.db.database import Database
from worker.log import Event, logger
from worker.runner.follower import Follower
from worker.runner.limiter import Limiter
from worker.runner.loop import Runner
from worker.runner.pacer import Pacer
from worker.runner.pruner import Pruner
from worker.runner.reconciler import Reconciler
from worker.runner.reporter import Observe, Reporter
from worker.runner.transaction import QueueTransaction
from worker.settings import Key, Settings
from worker.store import shared_state
from worker.store.jobs import JobChange
from worker.store.uploads import Reach
from worker.store.workers import WorkerRow

CLOCK = Clock(now=partial(datetime.now, UTC), monotonic=time.monotonic)  # noqa: TID251 - its owner

TOUCH_SECONDS = 5.0
"""Between two touches of a daemon's heartbeat file."""


def database(settings: Settings) -> Database:
    """Return the database of the settings, not opened yet."""
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
    options: RunOptions,
    observe: Observe = lambda *_: None,
) -> AsyncIterator[Runner]:
    """Yield a runner with all its parts, ready to run once."""
    worker = secrets.token_hex(8)
    probe_after = None if options.drain else timedelta(seconds=settings.retry_after_max_seconds)
    base_url = settings.callback_base_url
    secret = await database.read(shared_state.callback_secret) if base_url else None

    def callback_url(video_id: int) -> str | None:
        return callback.url(base_url, secret, video_id) if base_url and secret else None

    rate = ByteRate(settings.upload_bytes_per_second, CLOCK.monotonic)
    async with api(settings, key) as client, uploading(client, key.value, rate) as upload_api:
        yield Runner(
            database=database,
            transaction=transaction(settings, worker, database.now, probe_after),
            api=client,
            upload_api=upload_api,
            limiter=_limiter(settings),
            options=options,
            reporter=Reporter(logger().bind(worker=worker), observe),
            row=member(worker, settings, options, database.now()),
            beat=_heartbeat(database.address, options),
            callback_url=callback_url,
        )


def member(worker: str, settings: Settings, options: RunOptions, now: datetime) -> WorkerRow:
    """Return the row of one run of this process among the workers."""
    return WorkerRow(
        id=worker,
        host=host(),
        pid=os.getpid(),
        command="drain" if options.drain else "run",
        started_at=now,
        rate=settings.rate,
        period_seconds=settings.period_seconds,
        rate_source=options.rate_source,
        upload_roots="\n".join(map(address_of, settings.roots)) or None,
    )


def host() -> str:
    """Return the name of this machine."""
    return clean(socket.gethostname())


@asynccontextmanager
async def reconciler(
    settings: Settings, key: Key, database: Database, who: str
) -> AsyncIterator[Reconciler]:
    """Yield a reconciler for a person, whatever ``on_doubt`` says, ready to ask once."""
    settings = dataclasses.replace(settings, on_doubt="reconcile")
    async with api(settings, key) as client:
        yield Reconciler(
            api=client,
            limiter=_limiter(settings),
            write=database.write,
            transaction=transaction(settings, who, database.now),
            state=RunState(began_at=CLOCK.monotonic()),
            reporter=Reporter(logger()),
        )


@asynccontextmanager
async def follower(
    settings: Settings,
    key: Key,
    database: Database,
    who: str,
    told: Callable[[JobChange], None],
) -> AsyncIterator[Follower]:
    """Yield a follower for a person, who settles doubts beside as ``on_doubt`` says."""
    async with reconciler(settings, key, database, who) as asks:
        own = transaction(settings, who, database.now)
        yield Follower(dataclasses.replace(asks, transaction=own), told)


def pruner(settings: Settings, database: Database) -> Pruner:
    """Return the one who prunes a queue."""
    clock = Clock(now=database.now, monotonic=CLOCK.monotonic)
    return Pruner(database, database.write, clock, Reporter(logger()), settings.follow)


def _limiter(settings: Settings) -> Limiter:
    return Limiter(
        rate=settings.rate, period_seconds=settings.period_seconds, monotonic=CLOCK.monotonic
    )


def transaction(
    settings: Settings,
    worker: str,
    now: Callable[[], datetime],
    probe_after: timedelta | None = None,
) -> QueueTransaction:
    """Return the work of a process by the clock of its queue."""
    clock = Clock(now=now, monotonic=CLOCK.monotonic)
    return QueueTransaction(
        worker=worker,
        settings=settings,
        clock=clock,
        dice=random.random,
        pacer=Pacer(settings=settings, clock=clock, dice=random.random, probe_after=probe_after),
        caps=caps(settings),
        reach=Reach(worker, settings.roots),
    )


def heartbeat_of(database: Path) -> Path:
    """Return the file beside the database that a daemon touches while its loop turns."""
    return database.with_name(f"{database.name}.alive")


def _heartbeat(address: File | Server, options: RunOptions) -> Callable[[], None]:
    if options.drain or isinstance(address, Server):
        return lambda: None
    path, next_at = heartbeat_of(address.path), 0.0

    def touch() -> None:
        nonlocal next_at
        if CLOCK.monotonic() >= next_at:
            next_at = CLOCK.monotonic() + TOUCH_SECONDS
            try:
                path.touch()
            except OSError as error:
                logger().warning(Event.HEARTBEAT_FAILED, path=str(path), reason=error.strerror)

    return touch


def api(settings: Settings, key: Key) -> Api:
    """Return the client of the API."""
    transport = Transport(
        url=settings.api_url,
        slots=settings.concurrency,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        timeout_seconds=settings.timeout_seconds,
        agent=f"valossa-ingest/{__version__}",
        proxy=settings.proxy,
    )
    return Api(transport, key.value, CLOCK.now)


def caps(settings: Settings) -> tuple[Cap, ...]:
    """Return the caps that are set."""
    set_ = (
        ("max_per_day", settings.max_per_day, timedelta(hours=24), False),
        ("max_total", settings.max_total, None, False),
        ("max_in_progress", settings.max_in_progress, None, True),
    )
    return tuple(
        Cap(name=name, most=most, window=window, of_jobs=of_jobs)
        for name, most, window, of_jobs in set_
        if most is not None
    )
