from dataclasses import replace
from datetime import datetime

import pytest

from tests.conftest import START
from tests.parts import SETTINGS, add, later, let_start, take
from worker.db.database import Database
from worker.store import workers
from worker.store.workers import WorkerRow, WorkerStatus

ONE = WorkerRow(id="worker-1", host="alpha", pid=7, command="run", started_at=START)
TWO = WorkerRow(id="worker-2", host="beta", pid=8, command="drain", started_at=later(START, 1))
DAY_SECONDS = 86_400


async def show(database: Database, member: WorkerRow, seconds: float = 0) -> None:
    """Write a heartbeat, so long after the start."""
    now = later(START, seconds)
    await database.write(lambda c: workers.show(c, member, now), "test")


async def forget(database: Database, now: datetime) -> None:
    """Forget silent workers, as a run does at its start."""
    await database.write(lambda c: workers.forget(c, now), "test")


async def claimed(database: Database, number: int, worker: str) -> None:
    """Claim videos for this worker."""
    await let_start(database, START)
    await add(database, *(f"https://v.example/{worker}/{n}" for n in range(number)), due_at=START)
    await take(database, START, number, worker)


async def everyone(database: Database) -> list[WorkerStatus]:
    """Return all workers."""
    return await database.read(workers.everyone)


async def ids(database: Database) -> list[str]:
    """Return the ids of all workers."""
    return [worker.id for worker in await everyone(database)]


async def test_a_worker_is_known_with_all_that_it_says(database: Database) -> None:
    """A worker is read back with its host, process, command and times."""
    await show(database, TWO, 1)
    await show(database, ONE, 3)
    await show(database, ONE, 23)
    assert [
        WorkerStatus(
            id="worker-1", member=ONE, seen_at=later(START, 23), in_flight=0, leases_end=None
        ),
        WorkerStatus(
            id="worker-2", member=TWO, seen_at=later(START, 1), in_flight=0, leases_end=None
        ),
    ] == await everyone(database)


async def test_what_is_in_flight_is_counted_in_the_table(database: Database) -> None:
    """The claims of a silent worker are counted."""
    await show(database, ONE)
    await show(database, TWO)
    await claimed(database, 3, "worker-1")
    one, two = await everyone(database)
    assert (3, START + SETTINGS.lease) == (one.in_flight, one.leases_end)
    assert (0, None) == (two.in_flight, two.leases_end)


async def test_claims_of_nobody_are_shown(database: Database) -> None:
    """A worker without a row is shown by its claims."""
    await show(database, TWO)
    await claimed(database, 2, "stranger")
    lost = WorkerStatus(
        id="stranger", member=None, seen_at=None, in_flight=2, leases_end=START + SETTINGS.lease
    )
    assert lost == (await everyone(database))[1]
    assert ["worker-2", "stranger"] == await ids(database)


async def test_who_takes_leave_is_gone(database: Database) -> None:
    """A worker that ended in order has no row."""
    await show(database, ONE)
    await show(database, TWO)
    await database.write(lambda c: workers.leave(c, "worker-1"), "test")
    assert ["worker-2"] == await ids(database)


@pytest.mark.parametrize(("seconds", "left"), [(DAY_SECONDS, ["worker-1"]), (DAY_SECONDS + 1, [])])
async def test_who_is_silent_for_a_day_is_forgotten(
    database: Database, seconds: float, left: list[str]
) -> None:
    """A worker that is silent for a day and has no claims is forgotten."""
    await show(database, ONE)
    await forget(database, later(START, seconds))
    assert left == await ids(database)


async def test_who_has_something_in_flight_is_not_forgotten(database: Database) -> None:
    """A silent worker with claims in flight is kept."""
    await show(database, ONE)
    await show(database, TWO)
    await claimed(database, 1, "worker-1")
    await forget(database, later(START, 9 * DAY_SECONDS))
    assert [ONE] == [worker.member for worker in await everyone(database)]


async def test_a_machine_knows_its_own_daemon(database: Database) -> None:
    """The last heartbeat on a host is that of its own daemon, not of a drain or another host."""
    assert await database.read(lambda c: workers.last_seen(c, "alpha")) is None
    await show(database, ONE, 5)
    await show(database, replace(ONE, id="older"), 3)
    await show(database, replace(ONE, id="drain", command="drain"), 9)
    await show(database, replace(ONE, id="elsewhere", host="beta"), 9)
    assert later(START, 5) == await database.read(lambda c: workers.last_seen(c, "alpha"))


@pytest.mark.parametrize(("age", "alive"), [(0, 1), (60, 1), (60.001, 0), (-60, 1), (-61, 0)])
async def test_a_worker_is_alive_for_a_minute(database: Database, age: float, alive: int) -> None:
    """A worker is alive within 60 seconds of its heartbeat, in either direction."""
    await show(database, ONE)
    now = later(START, age)
    assert alive == await database.read(lambda c: workers.alive(c, now))
    (worker,) = await everyone(database)
    assert bool(alive) == worker.is_alive(now)
