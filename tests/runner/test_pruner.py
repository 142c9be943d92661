import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest
from sqlalchemy import Connection, func, select

from tests.conftest import START, Hands
from tests.parts import DAEMON, DRAIN, RUN_SETTINGS, Worker, add, going, later, listener, until
from worker.core.stop_conditions import RunOptions
from worker.db.address import Unreachable
from worker.db.database import Database
from worker.db.schema import videos
from worker.log import Event
from worker.runner.pruner import AT_ONCE, LONGEST_REST_SECONDS, REST, REST_ALONE, Pruner
from worker.runner.reporter import Reporter
from worker.simulator import Simulator
from worker.store import pruning, workers
from worker.store.workers import WorkerRow

T = TypeVar("T")
KEEP = timedelta(days=90)
OLD = later(START, -100 * 86_400)
NIGHT = later(START, 14 * 3_600)
"""The first 2 o'clock after START."""


class Bench:
    """A pruner whose transactions take as long as the test says, and whose rests take no time."""

    def __init__(self, database: Database, hands: Hands) -> None:
        self.database, self.hands = database, hands
        self.seconds, self.rests = 0.0, list[float]()
        log, self.said = listener()
        self.broken = 0
        reporter = Reporter(log)
        self.pruner = Pruner(database, self.write, hands.clock, reporter, "status", self.rest)

    async def write(self, work: Callable[[Connection], T], purpose: str) -> T:
        """Do a transaction, or fail as one on a lost database does."""
        self.hands.pass_seconds(self.seconds)
        if self.broken:
            self.broken -= 1
            raise Unreachable("gone")
        return await self.database.write(work, purpose)

    async def rest(self, seconds: float) -> None:
        """Let the time of a rest pass; end the test's nights after three days."""
        self.rests.append(seconds)
        self.hands.pass_seconds(seconds)
        if self.hands.wall > later(START, 3 * 86_400):
            raise asyncio.CancelledError


async def left(database: Database) -> int:
    """Count the videos."""
    return await database.read(lambda c: c.scalar(select(func.count()).select_from(videos)) or 0)


def urls(count: int) -> list[str]:
    """Return so many addresses."""
    return [f"https://videos.example/{number}.mp4" for number in range(count)]


@pytest.mark.parametrize("times", [REST, REST_ALONE])
async def test_all_is_pruned_in_small_steps_with_a_rest_after_each(
    database: Database, hands: Hands, times: int
) -> None:
    """The whole table is looked through, and each transaction is followed by a rest: a longer one
    while a worker is alive.
    """
    if times == REST:
        member = WorkerRow(id="w", host="h", pid=1, command="run", started_at=START)
        await database.write(lambda c: workers.show(c, member, START), "")
    count = pruning.LOOKED_AT + AT_ONCE + 1
    await add(database, *urls(count), state="failed", updated_at=OLD)
    await add(database, "pending", updated_at=OLD)
    bench = Bench(database, hands)
    bench.seconds = 0.01
    assert count == await bench.pruner.prune(START - KEEP)
    assert 1 == await left(database)
    steps = pruning.LOOKED_AT // AT_ONCE + 2
    assert [pytest.approx(times * 0.01)] * steps == [each for each in bench.rests if each > 0.0]


async def test_videos_counted_from_0_or_below_are_pruned(database: Database, hands: Hands) -> None:
    """Every old video is pruned, whichever number another program gave it."""
    for number in (-5, 0):
        await add(database, f"u{number}", id=number, state="failed", updated_at=OLD)
    assert 2 == await Bench(database, hands).pruner.prune(START - KEEP)
    assert 0 == await left(database)


async def test_no_rest_is_longer_than_a_minute(database: Database, hands: Hands) -> None:
    """A transaction that waited for long is followed by a minute at most."""
    await add(database, "a", state="failed", updated_at=OLD)
    bench = Bench(database, hands)
    bench.seconds = 1_000.0
    await bench.pruner.prune(START - KEEP)
    assert LONGEST_REST_SECONDS == max(bench.rests)


async def test_a_daemon_prunes_each_night(database: Database, hands: Hands) -> None:
    """Pruning begins at 2 o'clock, and a night without a database is made good by the next one."""
    await add(database, *urls(3), state="failed", updated_at=OLD)
    bench = Bench(database, hands)
    bench.broken = 1
    with pytest.raises(asyncio.CancelledError):
        await bench.pruner.run(KEEP)
    assert 0 == await left(database)
    assert [(Event.DATABASE_TROUBLE, None), (Event.PRUNED, 3), (Event.PRUNED, 0)] == [
        (each["event"], each.get("videos")) for each in bench.said
    ]
    until_night = (NIGHT - START).total_seconds() / LONGEST_REST_SECONDS
    assert [LONGEST_REST_SECONDS] * int(until_night) == bench.rests[: int(until_night)]


ON_FILE = """
CREATE TRIGGER theirs BEFORE DELETE ON videos WHEN OLD.id IN (7, 110) BEGIN SELECT {}; END
"""
FUNCTION = "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {}; END $$"
ON_SERVER = """
CREATE TRIGGER theirs BEFORE DELETE ON videos FOR EACH ROW WHEN (OLD.id IN (7, 110))
EXECUTE FUNCTION theirs()
"""
SQLITE = ["RAISE(ABORT, 'not this one')", "RAISE(ROLLBACK, 'not this one')", "RAISE(IGNORE)"]
POSTGRESQL = ["RAISE EXCEPTION 'not this one'", "RAISE check_violation", "RETURN NULL"]


async def refuse(database: Database, dialect: str, way: int) -> None:
    """Add a trigger that refuses to delete two videos."""
    server = dialect == "postgresql"
    for statement in [FUNCTION, ON_SERVER] if server else [ON_FILE]:
        sql = statement.format((POSTGRESQL if server else SQLITE)[way])
        await database.write(lambda c, sql=sql: c.exec_driver_sql(sql), "test")  # type: ignore[misc]


@pytest.mark.usefixtures("remade")
@pytest.mark.parametrize("way", [0, 1, 2])
async def test_law_14_a_row_that_cannot_be_deleted_stops_no_other(
    database: Database, hands: Hands, dialect: str, way: int
) -> None:
    """Law 14: a video that another program keeps is named once and left; all others are pruned."""
    await add(database, *urls(AT_ONCE + 20), state="failed", updated_at=OLD)
    await refuse(database, dialect, way)
    bench = Bench(database, hands)
    with pytest.raises(asyncio.CancelledError):
        await bench.pruner.run(KEEP)
    assert 2 == await left(database)
    refused, done = bench.said[:2], bench.said[2:]
    assert [(Event.VIDEO_REFUSED, 7), (Event.VIDEO_REFUSED, 110)] == [
        (each["event"], each["video"]) for each in refused
    ]
    assert all(": " in each["message"] for each in refused)
    assert [AT_ONCE + 18, 0, 0] == [each["videos"] for each in done]


@pytest.mark.parametrize(
    ("options", "keep", "pruners"), [(DAEMON, 90, 1), (DAEMON, None, 0), (DRAIN, 90, 0)]
)
async def test_only_a_daemon_with_keep_days_prunes(
    database: Database,
    simulator: Simulator,
    options: RunOptions,
    keep: int,
    pruners: int,
) -> None:
    """A pruner lives as long as a daemon that is told how many days to keep."""
    settings = replace(RUN_SETTINGS, keep_days=keep)
    options = replace(options, wait=True)
    await add(database, "later", due_at=later(START, 10**9))

    def living() -> int:
        return sum(
            getattr(task.get_coro(), "__qualname__", "") == "Pruner.run"
            for task in asyncio.all_tasks()
        )

    async with Worker(options=options, settings=settings).on(database, simulator.url) as runner:
        async with going(runner):
            await until(lambda: runner._heartbeat._is_known)  # noqa: SLF001 - it has begun
            assert pruners == living()
        assert 0 == living()
