from datetime import datetime
from functools import partial

import pytest
from sqlalchemy import Connection, bindparam, text

from tests.conftest import START
from tests.parts import add, later
from worker.core.model import State
from worker.db.database import Database
from worker.db.schema import Moment
from worker.store import statistics

NOW = START
LONG_AGO, FAR_AHEAD = later(NOW, -86_400), later(NOW, 86_400)


async def crowd(database: Database, number: int, due_at: datetime, priority: int) -> None:
    """Many pending videos."""
    sql = text(
        "INSERT INTO videos (url, due_at, priority) "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :number) "
        "SELECT 'u' || i, :due_at, :priority FROM n"
    ).bindparams(bindparam("due_at", type_=Moment))
    values = {"number": number, "due_at": due_at, "priority": priority}
    await database.write(lambda c: c.execute(sql, values), "test")


def due(connection: Connection) -> int:
    """How many are due now."""
    return statistics.due(connection, statistics.in_state(connection, State.PENDING), NOW)


async def test_every_state_is_counted(database: Database) -> None:
    """Each by its own videos, in the order of the states, also where nothing is in it."""
    assert dict.fromkeys(State, 0) == await database.read(statistics.by_state)
    for number, state in enumerate(State, start=1):
        for place in range(number):
            await add(
                database,
                f"https://example.org/{state}/{place}",
                state=state,
                job_id=f"job-{place}" if state is State.SUBMITTED else None,
                claim_token="t",
                claimed_by="w",
                lease_until=NOW,
            )
    found = await database.read(statistics.by_state)
    assert {state: number for number, state in enumerate(State, start=1)} == found
    assert list(State) == list(found)
    for state in State:
        assert found[state] == await database.read(partial(statistics.in_state, state=state))


@pytest.mark.parametrize("number", [statistics.FEW - 3, statistics.FEW, statistics.FEW + 7])
async def test_few_and_many_are_counted_alike(database: Database, number: int) -> None:
    """From either side, to the last video, at each priority."""
    for priority in (-7, 0, 3):
        for seconds in (0, 0.000001):
            await add(database, "u", due_at=later(NOW, seconds), priority=priority)
    await add(database, "u", due_at=LONG_AGO, state="failed")
    await crowd(database, number, LONG_AGO, priority=0)
    assert number + 3 == await database.read(due)
    await crowd(database, number, FAR_AHEAD, priority=9)
    assert number + 3 == await database.read(due)


async def test_the_first_and_the_last_may_be_at_any_priority(database: Database) -> None:
    """What becomes due first and last is found at whatever level it stands."""
    assert (None, None) == await database.read(statistics.span)
    await add(database, "u", due_at=NOW)
    assert (NOW, NOW) == await database.read(statistics.span)
    await add(database, "u", due_at=LONG_AGO, priority=-7)
    await add(database, "u", due_at=FAR_AHEAD, priority=5)
    await add(database, "u", due_at=later(FAR_AHEAD, 1), state="cancelled")
    assert (LONG_AGO, FAR_AHEAD) == await database.read(statistics.span)
