from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, bindparam, insert, text

from tests.conftest import START
from tests.parts import add, later
from tests.plain import Plain
from worker.core.model import State
from worker.db.column_types import Moment
from worker.db.database import Database
from worker.db.schema import history
from worker.store import statistics
from worker.store.bulk import BATCH
from worker.store.statistics import Overview

NOW = START
LONG_AGO, FAR_AHEAD = later(NOW, -86_400), later(NOW, 86_400)


async def tell(database: Database, video_id: int, *told: tuple[int, str, str | None]) -> None:
    """Add facts of one video: attempt, fact, job id."""
    rows = [
        {
            "video_id": video_id,
            "attempt": attempt,
            "at": NOW,
            "who": "worker-1",
            "fact": fact,
            "job_id": job_id,
        }
        for attempt, fact, job_id in told
    ]
    await database.write(lambda c: c.execute(insert(history), rows), "test")


async def overview(database: Database, now: datetime = NOW) -> Overview:
    """Return the numbers at a moment."""
    return await database.read(lambda c: statistics.overview(c, now))


async def test_an_empty_queue_is_all_zeros(database: Database) -> None:
    """An empty queue has 0 videos in every state."""
    expected = Overview(
        states=dict.fromkeys(State, 0),
        due=0,
        oldest_due_at=None,
        last_due_at=None,
        accepted_today=0,
        accepted_this_month=0,
        accepted=0,
        possibly_twice=0,
        today={},
        heard=None,
    )
    assert expected == await overview(database)


async def test_what_is_due_is_counted_to_the_moment(database: Database) -> None:
    """Due videos, the oldest due and the last due time are exact to the moment."""
    for seconds in (-60, 0, 0.000001, 900):
        await add(database, f"https://example.org/{seconds}", due_at=later(NOW, seconds))
    await add(database, "https://example.org/f", state="failed", due_at=later(NOW, -999))
    seen = await overview(database)
    assert (2, later(NOW, -60), later(NOW, 900)) == (seen.due, seen.oldest_due_at, seen.last_due_at)
    assert (4, 1) == (seen.states[State.PENDING], seen.states[State.FAILED])


async def test_accepted_jobs_are_counted_by_day_and_month(database: Database) -> None:
    """Jobs are counted for today, this month and in all, in UTC, late answers included."""
    moments = [
        datetime(2026, 1, 15, 0, 0, 0, tzinfo=UTC),
        datetime(2026, 1, 14, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2020, 1, 15, tzinfo=UTC),
    ]
    rows = [
        {"video_id": n, "attempt": 1, "at": at, "who": "w", "fact": "accepted", "job_id": f"j{n}"}
        for n, at in enumerate(moments)
    ]
    rows.append({**rows[0], "video_id": 9, "fact": "late_answer", "job_id": "j9"})
    rows.append({**rows[0], "video_id": 10, "fact": "in_doubt", "job_id": None})
    await database.write(lambda c: c.execute(insert(history), rows), "test")
    seen = await overview(database, datetime(2026, 1, 15, 12, tzinfo=UTC))
    assert (2, 4, 6) == (seen.accepted_today, seen.accepted_this_month, seen.accepted)


@pytest.mark.parametrize(
    ("story", "twice"),
    [
        ([(1, "accepted", "a")], 0),
        ([(1, "in_doubt", None)], 0),
        ([(1, "in_doubt", None), (2, "accepted", "a")], 1),
        ([(1, "in_doubt", None), (2, "in_doubt", None)], 1),
        ([(1, "in_doubt", None), (2, "in_doubt", None), (3, "accepted", "a")], 2),
        ([(1, "in_doubt", None), (1, "late_answer", "a")], 0),
        ([(1, "in_doubt", None), (2, "accepted", "b"), (1, "late_answer", "a")], 1),
        ([(1, "in_doubt", None), (1, "late_answer", None), (2, "accepted", "a")], 0),
        ([(1, "in_doubt", None), (2, "refused", None)], 0),
        ([(1, "try_later", None), (2, "accepted", "a")], 0),
    ],
)
async def test_what_may_have_been_bought_twice_is_counted(
    database: Database, story: list[tuple[int, str, str | None]], twice: int
) -> None:
    """The jobs and open doubts of a video, less one, may be bought twice."""
    await add(database, "https://example.org/a")
    await tell(database, 1, *story)
    assert twice == (await overview(database)).possibly_twice


@pytest.mark.parametrize(
    ("jobs", "story", "twice"),
    [
        ([None, None], [], 0),
        (["a", None], [], 0),
        (["a", "b"], [], 1),
        (["a", "b", "c"], [], 2),
        ([None, "b"], [(1, "in_doubt", None)], 1),
        ([None, "b"], [(1, "in_doubt", None), (1, "absent", None)], 0),
        (["a", "b"], [(1, "in_doubt", None), (1, "late_answer", "a")], 1),
        (["a", "b"], [(1, "in_doubt", None), (2, "accepted", "a")], 2),
        (["a", None], [(1, "in_doubt", None), (1, "found", "a")], 0),
        (["a", None], [(1, "in_doubt", None), (1, "resolve", "a"), (1, "late_answer", "a")], 0),
        (["a", None], [(1, "in_doubt", None), (1, "late_answer", "b"), (1, "found", "b")], 1),
    ],
)
async def test_every_job_of_an_address_beyond_the_first_is_counted(
    database: Database,
    plain: Plain,
    jobs: list[str | None],
    story: list[tuple[int, str, str | None]],
    twice: int,
) -> None:
    """Law 17: the jobs and open doubts of an address, less one, may be bought twice, whoever has
    written them.
    """
    for job in jobs:
        state = "failed" if job is None else "submitted"
        plain.execute("INSERT INTO videos (url, state, job_id) VALUES ('u', ?, ?)", state, job)
    plain.execute("INSERT INTO videos (url, state, job_id) VALUES ('v', 'submitted', 'd')")
    if story:
        await tell(database, 1, *story)
    assert twice == (await overview(database)).possibly_twice


def test_jobs_are_counted_however_plain_sql_writes_them(plain: Plain) -> None:
    """Many rows in one statement, a job that comes by an update, and one that stays are each
    counted once.
    """
    plain.execute(
        "INSERT INTO videos (url, state, job_id) VALUES "
        "('u', 'submitted', 'a'), ('u', 'submitted', 'b'), ('v', 'submitted', 'c')"
    )
    plain.execute("INSERT INTO videos (url, state) VALUES ('u', 'failed'), ('v', 'in_doubt')")
    counted = "SELECT bought_twice FROM account"
    assert [(1,)] == plain.execute(counted)
    plain.execute("UPDATE videos SET job_id = 'j' || id, state = 'submitted' WHERE job_id IS NULL")
    assert [(3,)] == plain.execute(counted)
    plain.execute("UPDATE videos SET job_id = job_id, url = url, error = 'note'")
    assert [(3,)] == plain.execute(counted)
    plain.execute("UPDATE videos SET job_id = NULL, state = 'failed' WHERE url = 'u'")
    assert [(1,)] == plain.execute(counted)
    plain.execute("UPDATE videos SET url = 'w' WHERE url = 'v'")
    assert [(1,)] == plain.execute(counted)
    plain.execute("UPDATE videos SET url = 'x' WHERE url = 'w' AND job_id = 'c'")
    assert [(0,)] == plain.execute(counted)


async def test_doubles_of_many_videos_add_up(database: Database) -> None:
    """The counts of many videos that were in doubt add up."""
    always = {"at": NOW, "who": "w"}
    rows = [
        {**always, "video_id": number, "attempt": attempt, "fact": fact, "job_id": job_id}
        for number in range(BATCH + 3)
        for attempt, fact, job_id in [(1, "in_doubt", None), (2, "accepted", f"j{number}")]
    ]
    await database.write(lambda c: c.execute(insert(history), rows), "test")
    assert BATCH + 3 == (await overview(database)).possibly_twice


async def test_today_is_counted_by_what_happened(database: Database) -> None:
    """The answers of today are counted by kind."""
    await tell(database, 1, (1, "throttled", None), (2, "throttled", None), (3, "accepted", "a"))
    await tell(database, 2, (1, "refused", None), (1, "retry", None), (2, "released", None))
    assert {"throttled": 2, "accepted": 1, "refused": 1} == (await overview(database)).today
    assert {} == (await overview(database, NOW + timedelta(days=1))).today


async def test_what_was_heard_last_is_an_answer(database: Database) -> None:
    """The last answer is a fact of the API, not one of a person."""
    await tell(database, 1, (1, "accepted", "a"))
    await tell(database, 2, (1, "account_refused", None), (1, "released", None), (1, "retry", None))
    heard = (await overview(database)).heard
    assert heard is not None
    assert (2, "account_refused") == (heard["video_id"], heard["fact"])


async def crowd(database: Database, number: int, due_at: datetime, priority: int) -> None:
    """Add many pending videos."""
    sql = text(
        "INSERT INTO videos (url, due_at, priority) "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :number) "
        "SELECT 'u' || i, :due_at, :priority FROM n"
    ).bindparams(bindparam("due_at", type_=Moment))
    values = {"number": number, "due_at": due_at, "priority": priority}
    await database.write(lambda c: c.execute(sql, values), "test")


def due(connection: Connection) -> int:
    """Count the videos due now."""
    return statistics.due(connection, statistics.in_state(connection, State.PENDING), NOW)


async def test_every_state_is_counted(database: Database) -> None:
    """Each state counts its own videos, in the order of the states."""
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


async def test_few_and_many_are_counted_alike(database: Database) -> None:
    """Few and many due videos are counted exactly, at each priority."""
    for priority in (-7, 0, 3):
        for seconds in (0, 0.000001):
            await add(database, "u", due_at=later(NOW, seconds), priority=priority)
    await add(database, "u", due_at=LONG_AGO, state="failed")
    for more, all_due in ((statistics.FEW - 4, -1), (1, 0), (1, 1), (6, 7)):
        await crowd(database, more, LONG_AGO, priority=0)
        assert statistics.FEW + all_due == await database.read(due)
    await crowd(database, statistics.FEW, FAR_AHEAD, priority=9)
    assert statistics.FEW + 7 == await database.read(due)


async def test_the_first_and_the_last_may_be_at_any_priority(database: Database) -> None:
    """The first and the last due time are found at any priority."""
    assert (None, None) == await database.read(statistics.span)
    await add(database, "u", due_at=NOW)
    assert (NOW, NOW) == await database.read(statistics.span)
    await add(database, "u", due_at=LONG_AGO, priority=-7)
    await add(database, "u", due_at=FAR_AHEAD, priority=5)
    await add(database, "u", due_at=later(FAR_AHEAD, 1), state="cancelled")
    assert (LONG_AGO, FAR_AHEAD) == await database.read(statistics.span)
