import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.conftest import START, Hands
from tests.parts import DAEMON, DRAIN, Worker, add, going, later, listener, until
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.runner.heartbeat import HEARTBEAT_SECONDS, Heartbeat
from worker.runner.reporter import Reporter
from worker.simulator import Options, Simulator
from worker.store import workers
from worker.store.workers import WorkerRow

ME = WorkerRow(id="me", host="here", pid=3, command="run", started_at=START)


class Bench:
    """One run's heartbeat; its writes are done when the test says so."""

    def __init__(self, database: Database, hands: Hands) -> None:
        log, self.said = listener()
        self.beats = 0
        self.put: list[tuple[Callable[[Connection], None], asyncio.Future[None]]] = []
        self.database = database
        self.heartbeat = Heartbeat(
            row=ME,
            beat=self.beat,
            enqueue=self.keep,
            clock=hands.clock,
            reporter=Reporter(log),
        )

    def beat(self) -> None:
        """Count a turn."""
        self.beats += 1

    def keep(self, work: Callable[[Connection], None], _: str) -> "asyncio.Future[None]":
        """Keep a write for later."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.put.append((work, future))
        return future

    async def write(self) -> None:
        """Do the writes that were kept."""
        for work, future in self.put:
            await self.database.write(work, "test")
            future.set_result(None)
        self.put.clear()
        await asyncio.sleep(0)

    async def fail(self, problem: Exception) -> None:
        """Refuse the writes that were kept."""
        for _, future in self.put:
            future.set_exception(problem)
        self.put.clear()
        await asyncio.sleep(0)

    async def seen_at(self) -> datetime | None:
        """Return the last heartbeat that other programs see."""
        return await self.database.read(lambda c: workers.last_seen(c, "here"))


@pytest.fixture
def bench(database: Database, hands: Hands) -> Bench:
    """Return a heartbeat on a real file."""
    return Bench(database, hands)


async def test_a_sign_is_given_at_the_first_turn_and_every_20_seconds(
    bench: Bench, hands: Hands
) -> None:
    """A heartbeat is written at the first turn and then every 20 seconds."""
    for seconds in (0, 0.1, HEARTBEAT_SECONDS - 0.2, 0.1):
        hands.pass_seconds(seconds)
        bench.heartbeat.turned()
        await bench.write()
        seen = await bench.seen_at()
    assert later(START, HEARTBEAT_SECONDS) == seen
    assert 4 == bench.beats
    hands.pass_seconds(HEARTBEAT_SECONDS - 0.1)
    bench.heartbeat.turned()
    assert [] == bench.put


async def test_signs_do_not_pile_up(bench: Bench, hands: Hands) -> None:
    """No second heartbeat is queued while one waits to be written."""
    bench.heartbeat.turned()
    hands.pass_seconds(10 * HEARTBEAT_SECONDS)
    bench.heartbeat.turned()
    assert 1 == len(bench.put)


async def test_a_database_in_trouble_is_told_of_once_and_tried_again(
    bench: Bench, hands: Hands
) -> None:
    """A heartbeat that the database refuses is logged once, and the next one is written."""
    for _ in range(2):
        bench.heartbeat.turned()
        await bench.fail(DatabaseProblem("the disk is full"))
        hands.pass_seconds(HEARTBEAT_SECONDS)
    assert ["database_trouble"] == [line["event"] for line in bench.said]
    bench.heartbeat.turned()
    await bench.write()
    assert later(START, 2 * HEARTBEAT_SECONDS) == await bench.seen_at()


async def test_another_trouble_is_told_as_well(bench: Bench) -> None:
    """A heartbeat that fails by another error is logged, and nothing is raised."""
    bench.heartbeat.turned()
    await bench.fail(ValueError("no text"))
    assert [("heartbeat_failed", "ValueError: no text")] == [
        (line["event"], line["reason"]) for line in bench.said
    ]


async def test_the_long_dead_are_forgotten_when_a_run_begins(bench: Bench, hands: Hands) -> None:
    """The first heartbeat of a run removes the rows of workers that are long dead."""
    dead = WorkerRow(id="dead", host="there", pid=1, command="run", started_at=START)
    await bench.database.write(lambda c: workers.show(c, dead, START), "test")
    hands.pass_seconds(90_000)
    bench.heartbeat.turned()
    await bench.fail(DatabaseProblem("not yet"))
    hands.pass_seconds(HEARTBEAT_SECONDS)
    bench.heartbeat.turned()
    await bench.write()
    assert ["me"] == [fellow.id for fellow in await bench.database.read(workers.everyone)]


async def test_an_orderly_end_leaves_nothing(bench: Bench) -> None:
    """An orderly end removes the worker's row."""
    bench.heartbeat.turned()
    bench.heartbeat.leave()
    await bench.write()
    assert [] == await bench.database.read(workers.everyone)


def rows(path: Path) -> list[tuple[object, ...]]:
    """Return the workers that another program sees."""
    with closing(sqlite3.connect(path)) as plain:
        return plain.execute("SELECT id, command FROM workers").fetchall()


@pytest.mark.parametrize(("options", "command"), [(DRAIN, "drain"), (DAEMON, "run")])
async def test_a_run_is_seen_while_it_lasts(
    database: Database, path: Path, options: object, command: str
) -> None:
    """A run's row is there while the run lasts, and gone after it."""
    await add(database, "https://v.example/1")
    async with Simulator(Options(script={1: "stall"})) as simulator:
        worker = Worker(options=options)  # type: ignore[arg-type]
        async with worker.on(database, simulator.url) as runner, going(runner) as run:
            await until(lambda: rows(path), run)
            assert [("worker-1", command)] == rows(path)
            runner.stop()
            runner.hurry()
            await run
    assert [] == rows(path)


async def test_a_sign_that_cannot_be_written_stops_no_run(
    database: Database, path: Path, simulator: Simulator
) -> None:
    """A run submits its videos although its heartbeat cannot be written, and logs that."""
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("DROP TABLE workers")
    await add(database, "https://v.example/1")
    log, said = listener()
    report = await Worker(log=log).run(database, simulator.url)
    assert 1 == report.counts.submitted
    assert "database_trouble" in {line["event"] for line in said}
