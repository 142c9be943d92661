"""Count what no noise changes of a run: transactions and statements, not seconds."""

import sqlite3
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.conftest import open_database
from tests.parts import RUN_SETTINGS, Worker, add, overhear
from worker.db.database import Database
from worker.simulator import Options, Simulator

VIDEOS = 1_000
STATEMENTS = {"sqlite": 10, "postgresql": 12}
"""Of a transaction that settles and claims, its BEGIN, lock, number and COMMIT included. SQLite
tells a statement anew for each row of which a trigger may have something to do.
"""


@pytest.mark.parametrize(("slots", "transactions"), [(16, 90), (64, 30)])
async def test_a_thousand_videos_take_few_transactions(
    database: Database, dialect: str, slots: int, transactions: int
) -> None:
    """Results and claims share transactions. A commit for each step of each video makes two
    thousand.
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
    assert begun <= transactions
    assert sum(1 for _ in groupby(said)) <= STATEMENTS[dialect] * begun


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
