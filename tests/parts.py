"""Build the real parts of a worker for tests, with short times."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, event, func, insert, select, update
from structlog.testing import LogCapture
from structlog.typing import EventDict

from worker.api.client import Api
from worker.api.transport import Transport
from worker.api.uploads import ByteRate, uploading
from worker.clock import Clock
from worker.core.decide import Policy
from worker.core.model import Cap, Claim
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.db.schema import account, history, videos
from worker.log import Log
from worker.runner.limiter import Limiter
from worker.runner.loop import Runner
from worker.runner.model import RunReport
from worker.runner.pacer import Pacer
from worker.runner.reporter import Reporter
from worker.runner.transaction import FAR_FUTURE, QueueTransaction
from worker.settings import Settings
from worker.store import queue
from worker.store.uploads import Reach
from worker.store.workers import WorkerRow

POLICY = Policy(max_attempts=3, backoff_base_seconds=10, backoff_max_seconds=60)
SETTINGS = Settings(
    rate=1_000,
    period_seconds=1.0,
    timeout_seconds=5.0,
    url_margin_seconds=3600.0,
    max_attempts=POLICY.max_attempts,
    backoff_base_seconds=POLICY.backoff_base_seconds,
    backoff_max_seconds=POLICY.backoff_max_seconds,
    on_doubt="hold",
)


async def add(database: Database, *urls: str, **columns: object) -> None:
    """Insert rows as any program can."""
    rows = [{"url": url, **columns} for url in urls]
    await database.write(lambda connection: connection.execute(insert(videos), rows), "test")


async def row(database: Database, video_id: int) -> dict[str, object]:
    """Return one video as it stands."""
    found = await database.read(
        lambda c: c.execute(select(videos).where(videos.c.id == video_id)).mappings().one()
    )
    return dict(found)


async def facts(database: Database, video_id: int) -> list[tuple[int, str]]:
    """Return the history of one video: attempt and fact, in order."""
    rows = await database.read(
        lambda c: c.execute(
            select(history.c.attempt, history.c.fact)
            .where(history.c.video_id == video_id)
            .order_by(history.c.id)
        ).all()
    )
    return [(attempt, fact) for attempt, fact in rows]


async def take(
    database: Database, now: datetime, limit: int = 1, worker: str = "worker-1"
) -> list[Claim]:
    """Claim due videos as a worker does, under a lease of ``SETTINGS``."""
    return await database.write(lambda connection: claim(connection, limit, now, worker), "test")


def claim(
    connection: Connection,
    limit: int,
    now: datetime,
    worker: str = "worker-1",
    lease_until: datetime | None = None,
    checked_until: datetime | None = FAR_FUTURE,
) -> list[Claim]:
    """Claim on a connection what is due, under a lease of ``SETTINGS`` if none is given."""
    rows = queue.due(connection, limit, now, checked_until)
    return queue.claim(connection, rows, now, worker, lease_until or now + SETTINGS.lease)


async def let_start(database: Database, at: datetime) -> None:
    """Let the shared pace allow its next start at ``at``; a new file says its own birth."""
    await database.write(lambda c: c.execute(update(account).values(next_start_at=at)), "test")


def transaction(
    clock: Clock, *, worker: str = "worker-1", caps: tuple[Cap, ...] = (), **settings: object
) -> QueueTransaction:
    """Return a process' work under ``SETTINGS``, changed; the dice always show a half."""
    changed = replace(SETTINGS, **settings)  # type: ignore[arg-type]
    return QueueTransaction(
        worker=worker,
        settings=changed,
        clock=clock,
        dice=lambda: 0.5,
        pacer=Pacer(settings=changed, clock=clock, dice=lambda: 0.5),
        caps=caps,
    )


def later(moment: datetime, seconds: float) -> datetime:
    """Return the time ``seconds`` after ``moment``."""
    return moment + timedelta(seconds=seconds)


def listener() -> tuple[Log, list[EventDict]]:
    """Return a log of every level and its events; no other logging configuration affects it."""
    capture = LogCapture()
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    return log, capture.entries


def overhear(connection: Connection, hear: Callable[[str], object]) -> Callable[[], None]:
    """Call ``hear`` with each statement on a connection; return a function that ends it."""
    if connection.dialect.name == "sqlite":  # much of which SQLAlchemy does not see
        driver: Any = connection.connection.driver_connection
        last = ""

        def hear_once(statement: str) -> None:
            # For each row that a trigger looks at, SQLite names its statement again.
            nonlocal last
            if statement != last:
                hear(statement)
            last = statement

        driver.set_trace_callback(hear_once)
        return lambda: driver.set_trace_callback(None)
    listeners: dict[str, Callable[..., object]] = {
        "begin": lambda _: hear("BEGIN"),
        "commit": lambda _: hear("COMMIT"),
        "before_cursor_execute": lambda *said: hear(said[2]),
    }
    for name, listener in listeners.items():
        event.listen(connection, name, listener)

    def end() -> None:
        for name, listener in listeners.items():
            event.remove(connection, name, listener)

    return end


def steps(connection: Connection, action: Callable[[Connection], object], each: int) -> int:
    """Return how often SQLite has taken ``each`` steps for an action that it has done before."""
    driver: Any = connection.connection.driver_connection
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    action(connection)
    driver.set_progress_handler(count, each)
    action(connection)
    driver.set_progress_handler(None, 0)
    return taken


def plans(connection: Connection, action: Callable[[Connection], object]) -> set[str]:
    """Return SQLite's plan for each statement of ``action``; covering indexes look like others, and
    that what is ``found`` becomes one text (worker/db/statements.py) is left out.
    """
    said: list[str] = []
    end = overhear(connection, said.append)
    action(connection)
    end()
    driver: Any = connection.connection.driver_connection
    found: set[str] = set()
    for statement in said:
        if statement.lstrip().startswith(("SELECT", "UPDATE", "WITH", "DELETE")):
            rows = driver.execute(f"EXPLAIN QUERY PLAN {statement}")
            found |= {detail.replace("COVERING ", "") for *_, detail in rows}
    return {detail for detail in found if not detail.endswith(" found")}


@dataclass
class RealTime:
    """The clocks of this machine, of which a test may put each forward, in seconds."""

    wall: float = 0.0
    monotonic: float = 0.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(
            now=lambda: datetime.now(UTC) + timedelta(seconds=self.wall),
            monotonic=lambda: time.monotonic() + self.monotonic,
        )


RUN_SETTINGS = replace(
    SETTINGS,
    timeout_seconds=1.0,
    grace_seconds=5.0,
    poll_seconds=0.02,
    backoff_base_seconds=0.02,
    backoff_max_seconds=0.05,
)
DRAIN = RunOptions(drain=True)
DRAIN_ALL = replace(DRAIN, wait=True)
DAEMON = RunOptions(drain=False)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A test's worker. The dice always show ``dice``."""

    name: str = "worker-1"
    options: RunOptions = DRAIN
    settings: Settings = RUN_SETTINGS
    caps: tuple[Cap, ...] = ()
    clock: Clock = RealTime().clock
    slots: int = 4
    key: str = "demo-key"
    timeout_seconds: float = 5.0
    dice: float = 0.5
    log: Log = field(default_factory=lambda: listener()[0])

    @asynccontextmanager
    async def on(self, database: Database, url: str) -> AsyncIterator[Runner]:
        """Yield a runner with all its parts, real ones, ready to run once."""
        rate = ByteRate(self.settings.upload_bytes_per_second, self.clock.monotonic)
        async with self.api(url) as api, uploading(api, self.key, rate) as upload_api:
            yield Runner(
                database=database,
                transaction=self.transaction(),
                api=api,
                upload_api=upload_api,
                limiter=self.limiter(),
                options=self.options,
                reporter=Reporter(self.log),
                row=self.row(),
            )

    async def run(self, database: Database, url: str) -> RunReport:
        """Run it to its end."""
        async with self.on(database, url) as runner:
            return await runner.run()

    def api(self, url: str) -> Api:
        """Return its client."""
        transport = Transport(
            url=url,
            slots=self.slots,
            connect_timeout_seconds=self.timeout_seconds,
            timeout_seconds=self.timeout_seconds,
            agent="test",
        )
        return Api(transport, self.key, self.clock.now)

    def row(self) -> WorkerRow:
        """Return it as the other workers see it."""
        return WorkerRow(
            id=self.name,
            host="here",
            pid=17,
            command="drain" if self.options.drain else "run",
            started_at=self.clock.now(),
        )

    def transaction(self) -> QueueTransaction:
        """Return its transactions."""
        settings = replace(self.settings, concurrency=self.slots)
        longest = timedelta(seconds=settings.retry_after_max_seconds)
        return QueueTransaction(
            worker=self.name,
            settings=settings,
            clock=self.clock,
            dice=lambda: self.dice,
            pacer=Pacer(
                settings=settings,
                clock=self.clock,
                dice=lambda: self.dice,
                probe_after=None if self.options.drain else longest,
            ),
            caps=self.caps,
            reach=Reach(self.name, settings.roots),
        )

    def limiter(self) -> Limiter:
        """Return its limiter."""
        return Limiter(
            rate=self.settings.rate,
            period_seconds=self.settings.period_seconds,
            monotonic=self.clock.monotonic,
        )


async def states(database: Database) -> dict[str, int]:
    """Return how many videos are in which state."""
    rows = await database.read(
        lambda c: c.execute(select(videos.c.state, func.count()).group_by(videos.c.state)).all()
    )
    return {state: count for state, count in rows}  # noqa: C416 - dict() does not take rows


@asynccontextmanager
async def going(runner: Runner) -> AsyncIterator["asyncio.Task[RunReport]"]:
    """Run it until the end of the block, then stop and hurry it."""
    task = asyncio.create_task(runner.run())
    try:
        yield task
    finally:
        if not task.done():
            runner.stop()
            runner.hurry()
        with suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], object], what: "asyncio.Task[RunReport] | None" = None) -> None:
    """Wait until it is true, looking again and again: no event says what is on disk."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.005)
            assert what is None or not what.done(), what and what.result()
