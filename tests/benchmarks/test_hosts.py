"""Measure claims while hosts are held, against claims while none is."""

from statistics import median
from time import perf_counter

import pytest
from sqlalchemy import Connection

from tests.benchmarks.conftest import Tell
from tests.conftest import START, Hands
from tests.parts import let_start, transaction
from worker.db.database import Database
from worker.runner.transaction import QueueTransaction

HOSTS, HELD = 10_000, 500
AT_ONCE = 64
CLAIMS = 100
VIDEOS = 4 * CLAIMS * AT_ONCE

NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {most} - 1)"
    " SELECT {columns} FROM n",
    "postgresql": "SELECT {columns} FROM generate_series(0, {most} - 1) AS n (i)",
}
DUE, LATER = "'2026-01-01 11:00:00+00'", "'2026-01-02 11:00:00+00'"


def fill(connection: Connection, dialect: str) -> None:
    """Add videos of the hosts that serve, due, and of the others, held already."""
    due, later = (
        (f"TIMESTAMPTZ {DUE}", f"TIMESTAMPTZ {LATER}")
        if dialect == "postgresql"
        else (DUE.replace("+00", ""), LATER.replace("+00", ""))
    )
    numbers = NUMBERS[dialect]
    serving = f"'https://h' || ({HELD} + i % {HOSTS - HELD}) || '.example/' || i, {due}, NULL"
    host = f"'h' || (i % {HELD}) || '.example'"
    dead = f"'https://' || {host} || '/held/' || i, {later}, {host}"
    for most, columns in ((VIDEOS, serving), (VIDEOS // 20, dead)):
        rows = numbers.format(most=most, columns=columns)
        connection.exec_driver_sql(f"INSERT INTO videos (url, due_at, held_host) {rows}")
    rows = numbers.format(most=HELD, columns=f"'h' || i || '.example', {due}, {later}, 'no'")
    connection.exec_driver_sql(f"INSERT INTO hosts (host, held_since, probe_at, why) {rows}")


async def timed(database: Database, work: QueueTransaction, held: int) -> float:
    """Return the seconds of a claim while the shared row says that so many hosts are held."""
    await database.write(
        lambda c: c.exec_driver_sql(f"UPDATE account SET held_hosts = {held}"), "test"
    )
    began = perf_counter()
    done = await database.write(lambda c: work.write(c, (), AT_ONCE), "to claim")
    assert AT_ONCE == len(done.claimed.starts)
    return perf_counter() - began


@pytest.mark.timeout(900)
async def test_held_hosts_cost_claims_of_others_nothing(
    database: Database, dialect: str, hands: Hands, tell: Tell
) -> None:
    """In turns on one queue: claims of 64 with 500 of 10,000 hosts held, and with none."""
    await database.write(lambda c: fill(c, dialect), "test")
    await let_start(database, START)
    work = transaction(hands.clock, rate=100_000)
    took: dict[int, list[float]] = {0: [], HELD: []}
    for turn in range(2 * CLAIMS):
        hands.pass_seconds(1)
        for held in (0, HELD) if turn % 2 else (HELD, 0):
            took[held].append(await timed(database, work, held))
    ratio = median(took[HELD]) / median(took[0])
    tell(
        f"claims with {HELD} of {HOSTS} hosts held, {dialect}: {ratio:.3f} of the time with none, "
        f"{1e3 * median(took[0]):.1f} ms for {AT_ONCE}"
    )
    assert 1.05 >= ratio
