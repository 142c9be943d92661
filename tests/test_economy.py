"""Count what no noise changes of a run: transactions and statements, not seconds."""

import asyncio
import io
import re
import sqlite3
from contextlib import redirect_stderr
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.conftest import open_database
from tests.parts import DRAIN, DRAIN_ALL, RUN_SETTINGS, Worker, add, overhear
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.log import configure, logger
from worker.simulator import Options, Simulator

VIDEOS = 1_000
STATEMENTS = {"sqlite": 10, "postgresql": 11}
"""Of a transaction that settles and claims, its BEGIN, lock, number and COMMIT included. SQLite
tells a statement anew for each row of which a trigger may have something to do.
"""


@pytest.mark.parametrize(
    ("slots", "transactions"),
    [(16, {"sqlite": 90, "postgresql": 90}), (64, {"sqlite": 42, "postgresql": 30})],
)
async def test_a_thousand_videos_take_few_transactions(
    database: Database, dialect: str, slots: int, transactions: dict[str, int]
) -> None:
    """Results and claims share transactions, in a file those of half of 64 slots. A commit for each
    step of each video makes two thousand.
    """
    await add(database, *(f"https://v.example/{number}" for number in range(VIDEOS)))
    said: list[str] = []

    await database.write(lambda connection: overhear(connection, said.append), "test")
    said.clear()
    async with Simulator(Options()) as simulator:
        worker = Worker(slots=slots, settings=replace(RUN_SETTINGS, rate=100_000))
        report = await worker.run(database, simulator.url)
    assert VIDEOS == report.counts.submitted
    begun = sum(each.startswith("BEGIN") for each in said)
    assert begun <= transactions[dialect]
    assert sum(1 for _ in groupby(said)) <= STATEMENTS[dialect] * begun


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
async def test_following_costs_the_sends_nothing(path: Path, options: RunOptions) -> None:
    """A run that follows jobs sends by the same statements as one that does not: beside them stand
    the looks that find no job due, at most two in so short a run.
    """
    took: dict[str, set[str]] = {}
    looks = 0
    async with open_database(path) as database, Simulator(Options()) as simulator:
        said: list[str] = []
        await database.write(lambda connection: overhear(connection, said.append), "test")
        for follow in ("off", "status"):
            await add(database, *(f"https://v.example/{follow}/{n}" for n in range(VIDEOS)))
            said.clear()
            settings = replace(RUN_SETTINGS, rate=100_000, follow=follow)
            worker = Worker(slots=16, settings=settings, options=options)
            report = await worker.run(database, simulator.url)
            assert VIDEOS == report.counts.submitted
            took[follow] = {_shape(each) for each in said}
            looks = sum(LOOK in each for each in said)
        assert [] == simulator.questions
    beside = {each for each in took["status"] - took["off"] if "jobs" not in each}
    assert {each for each in beside if "account" not in each} == set()
    assert 1 <= looks <= 2


LOOK = "WHERE jobs.ended_as IS NULL AND jobs.next_poll_at <= "
"""In the statement by which a follower begins each look."""


def _shape(statement: str) -> str:
    """Return a statement without its values."""
    return re.sub(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b", "?", statement)


async def test_no_statement_is_compiled_twice(path: Path) -> None:
    """SQLite compiles each statement once. Compiling takes ten times as long as running it."""
    compiled: list[str | None] = []

    def watch(_: int, first: str | None, *__: str | None) -> int:
        if first != "COMMIT":  # which Python's driver never keeps
            compiled.append(first)
        return sqlite3.SQLITE_OK

    def listen(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_authorizer(watch)

    async with open_database(path) as database, Simulator(Options()) as simulator:
        await database.write(listen, "test")
        for turn in range(2):
            await add(database, *(f"https://v.example/{turn}/{number}" for number in range(200)))
            compiled.clear()
            await Worker(slots=16).run(database, simulator.url)
    assert [] == compiled


async def test_a_slot_keeps_its_task(path: Path) -> None:
    """A thousand videos need a task for each slot, and few beside. One for each attempt takes a
    tenth of its time.
    """
    made = 0

    def make(loop: asyncio.AbstractEventLoop, work: Any, **how: Any) -> asyncio.Task[Any]:  # noqa: ANN401
        nonlocal made
        made += "/worker/runner/" in work.cr_code.co_filename
        return asyncio.Task(work, loop=loop, **how)

    async with open_database(path) as database, Simulator(Options()) as simulator:
        await add(database, *(f"https://v.example/{number}" for number in range(VIDEOS)))
        asyncio.get_running_loop().set_task_factory(make)
        await Worker(slots=16, settings=replace(RUN_SETTINGS, rate=100_000)).run(
            database, simulator.url
        )
    assert made <= 16 + 10


class Writes(io.StringIO):
    """A stream that counts how often it is written to."""

    count = 0

    def write(self, text: str) -> int:
        """Count, and write."""
        self.count += 1
        return super().write(text)


async def test_lines_that_come_together_are_written_together(path: Path) -> None:
    """The attempts that end in one turn of the event loop share a write. Each has its line."""
    async with open_database(path) as database, Simulator(Options()) as simulator:
        await add(database, *(f"https://v.example/{number}" for number in range(VIDEOS)))
        with redirect_stderr(Writes()) as stream:
            configure("info", "json")
            worker = Worker(slots=64, settings=replace(RUN_SETTINGS, rate=100_000), log=logger())
            await worker.run(database, simulator.url)
    lines = stream.getvalue().splitlines()
    assert VIDEOS == sum('"attempt_ended"' in line for line in lines)
    assert stream.count <= VIDEOS / 10
