"""What a run costs in ways that no noise changes: transactions and statements, not seconds."""

from dataclasses import replace

import pytest

from tests.parts import RUN_TERMS, Worker, add, overhear
from worker.db import Database
from worker.simulator import Options, Simulator

VIDEOS = 1_000
STATEMENTS = {"sqlite": 12, "postgresql": 14}
"""Of a transaction that settles and claims, its BEGIN, lock, number and COMMIT included."""


@pytest.mark.parametrize(("slots", "transactions"), [(16, 90), (64, 30)])
async def test_a_thousand_videos_take_few_transactions(
    database: Database, dialect: str, slots: int, transactions: int
) -> None:
    """Endings and claims no longer share a transaction, or something is asked for each video: a
    commit for each step would be two thousand.
    """
    await add(database, *(f"https://v.example/{number}" for number in range(VIDEOS)))
    said: list[str] = []

    await database.write(lambda connection: overhear(connection, said.append), "test")
    said.clear()
    async with Simulator(Options()) as simulator:
        worker = Worker(slots=slots, terms=replace(RUN_TERMS, rate=100_000))
        report = await worker.run(database, simulator.url)
    assert VIDEOS == report.tally.submitted
    begun = sum(each.startswith("BEGIN") for each in said)
    assert begun <= transactions
    assert len(said) <= STATEMENTS[dialect] * begun
