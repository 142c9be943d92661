"""Hold the plans that PostgreSQL's planner makes by itself for the queue's statements.

Nothing is switched off for it: the tables are as large as its choice needs.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event

from tests import postgres
from tests.conftest import START, open_database
from tests.parts import SETTINGS, claim, later
from tests.plain import execute
from worker.core.model import Accepted, Claim, Result, Settlement, State, Transition
from worker.db.database import Database
from worker.db.schema import videos
from worker.store import doubts, jobs, leases, pruning, queue, search, settle, statistics
from worker.store.bulk import known
from worker.store.search import Filter

CROWD = """
INSERT INTO videos (url, state, priority, due_at, updated_at, attempts, claims, media_id, job_id,
                    claim_token, claimed_by, lease_until, http_status)
SELECT 'https://videos.example/' || i, state, i % 3,
       TIMESTAMPTZ '2026-01-01 11:00:00+00' + (i % 3) * interval '31 days',
       TIMESTAMPTZ '2026-01-01 11:00:00+00' - i * interval '1 second', 1, 2, 'm' || i,
       CASE state WHEN 'submitted' THEN 'job-' || i END, 't', 'w',
       TIMESTAMPTZ '2026-01-02 00:00:00+00', CASE WHEN i % 9000 = 1 THEN 500 END
FROM (SELECT i, CASE WHEN i % 1000 = 0 THEN 'in_doubt' WHEN i % 3000 = 2 THEN 'failed'
                     WHEN i % 1000 = 4 THEN 'submitting' WHEN i % 10 = 1 THEN 'pending'
                     ELSE 'submitted' END AS state
      FROM generate_series(1, 60000) AS i) AS n
"""
HISTORY = """
INSERT INTO history (video_id, attempt, at, who, fact, started_at, job_id)
SELECT id, 1, updated_at, 'w', CASE state WHEN 'submitted' THEN 'accepted'
       WHEN 'in_doubt' THEN 'in_doubt' ELSE 'throttled' END, updated_at, job_id FROM videos
"""
PRUNED = """
INSERT INTO pruned (id, url, job_id, pruned_at)
SELECT i, 'https://pruned.example/' || i, 'pruned-' || i, TIMESTAMPTZ '2026-01-01 11:00:00+00'
FROM generate_series(100001, 160000) AS i
"""


RESULTS = "INSERT INTO results (job_id, type) SELECT job_id, 'metadata' FROM jobs"


@pytest.fixture(scope="module")
def crowded(server: str, shared: str) -> Iterator[str]:
    """Give a database with many finished rows and few of each other kind, analysed."""
    url = asyncio.run(postgres.copied(server, shared))
    for statement in (CROWD, HISTORY, PRUNED, RESULTS, "ANALYZE"):
        execute(url, statement)
    yield url
    asyncio.run(postgres.dropped(server, url))


@pytest.fixture
async def database(crowded: str) -> AsyncIterator[Database]:
    """Open that database."""
    async with open_database(crowded) as opened:
        yield opened


class DoneError(Exception):
    """The end of a transaction that must be rolled back."""


SCANS = re.compile(r"(Seq|Index)(?: Only)? Scan(?: Backward)? (?:using|on) (\w+)")


async def scans(
    database: Database, action: Callable[[Connection], object], *, generic: bool
) -> set[str]:
    """Return how every statement of an action finds its rows, and undo the action.

    A generic plan is one for all values, which the server may use after some executions.
    """
    found: set[str] = set()

    def look(connection: Connection) -> None:
        said: list[tuple[str, tuple[object, ...]]] = []

        def hear(*told: Any) -> None:  # noqa: ANN401 - as SQLAlchemy tells it
            said.append((told[2], told[3]))

        event.listen(connection, "before_cursor_execute", hear)
        action(connection)
        event.remove(connection, "before_cursor_execute", hear)
        for statement, parameters in said:
            if not statement.startswith("INSERT"):
                plan = _plan(connection, statement, parameters, generic=generic)
                seen = re.findall(SCANS, plan)
                found.update(f"all of {name}" if kind == "Seq" else name for kind, name in seen)
        raise DoneError

    with pytest.raises(DoneError):
        await database.write(look, "test")
    return found


def _plan(
    connection: Connection, statement: str, parameters: tuple[object, ...], *, generic: bool
) -> str:
    if not generic:
        lines = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
        return "\n".join(lines)
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    connection.exec_driver_sql(f"PREPARE looked_at AS {statement}")
    given = f"({', '.join(['NULL'] * len(parameters))})" if parameters else ""
    lines = connection.exec_driver_sql(f"EXPLAIN EXECUTE looked_at{given}").scalars()
    plan = "\n".join(lines)
    connection.exec_driver_sql("DEALLOCATE looked_at")
    return plan


LEASE_END = START + SETTINGS.lease


def claim_ten(connection: Connection) -> list[Claim]:
    """Claim ten as a worker does."""
    return claim(connection, 10, START, "worker-1", LEASE_END, START)


def settle_ten(connection: Connection) -> None:
    """Claim ten and settle all as accepted."""
    results = [
        Result(claim=claim, outcome=Accepted(f"new-{claim.video_id}", 200), started_at=START)
        for claim in claim_ten(connection)
    ]
    settlements = [
        Settlement(
            result=result,
            status=status,
            transition=Transition.submit(f"new-{result.claim.video_id}"),
        )
        for result, status in zip(results, settle.statuses(connection, results), strict=True)
    ]
    settle.settle(connection, settlements, START, "worker-1")


HISTORY_OF_ONE = ("history_of_video", "history_doubts")
TWINS = ("videos_url", "pruned_url", "jobs_of_video", *HISTORY_OF_ONE)


@pytest.mark.parametrize(
    ("action", "indexes"),
    [
        (claim_ten, {"videos_due", "videos_pkey", *TWINS}),
        (lambda c: queue.ahead(c, START, START), {"videos_due", "videos_leases"}),
        (lambda c: leases.expire(c, START, "w"), {"videos_leases"}),
        (lambda c: leases.expire(c, later(START, 99_999), "w"), {"videos_leases", "videos_pkey"}),
        (lambda c: leases.oldest_doubt(c, 3), {"videos_doubts", *TWINS}),
        (
            lambda c: leases.repeat_doubts(c, later(START, -9_999), 3, START, "w"),
            {"videos_doubts", *TWINS},
        ),
        (settle_ten, {"videos_due", "videos_pkey", "videos_job_id", *TWINS}),
        (
            lambda c: doubts.held(c, [f"job-{n}" for n in range(60)]),
            {"videos_job_id", "pruned_job_id", "jobs_pkey"},
        ),
        (doubts.youngest_doubt, {"videos_doubts"}),
        (doubts.still_in_doubt, {"videos_doubts"}),
        (lambda c: doubts.next_recheck(c, START), {"videos_look_ups"}),
        (lambda c: search.matching(c, Filter(), 0, 100), {"videos_pkey"}),
        (lambda c: search.matching(c, Filter(states=(State.FAILED,)), 0, 100), {"videos_closed"}),
        (lambda c: search.matching(c, Filter(states=(State.IN_DOUBT,)), 0, 100), {"videos_doubts"}),
        (
            lambda c: search.matching(c, Filter(states=(State.SUBMITTING,)), 0, 100),
            {"videos_leases"},
        ),
        (lambda c: search.matching(c, Filter(ids=(1, 2)), 0, 100), {"videos_pkey"}),
        (
            lambda c: search.matching(c, Filter(names=("m7", "job-3")), 0, 100),
            {"videos_identifier", "videos_job_id", "videos_renamed"},
        ),
        (statistics.last_throttled, {"history_last", "history_pkey"}),
        (statistics.refusal, {"history_last", "history_pkey"}),
        (lambda c: jobs.due(c, START, 2), {"jobs_open"}),
        (jobs.next_at, {"jobs_open"}),
        (lambda c: jobs.named(c, ["job-2", "job-3"]), {"jobs_pkey"}),
        (lambda c: jobs.missing(c, START, (START, START), 9), {"jobs_missing"}),
        (lambda c: jobs.is_any_missing(c, START), {"jobs_missing"}),
        (
            lambda c: pruning.look(c, 30_000, START, "results"),
            {"videos_pkey", *HISTORY_OF_ONE, "jobs_of_video", "results_pkey"},
        ),
        (lambda c: known(c, videos.c.url, ["https://videos.example/7"]), {"videos_url"}),
        (lambda c: known(c, videos.c.media_id, ["m7"]), {"videos_media_id"}),
        (
            lambda c: known(c, videos.c.unsigned_url, ["https://videos.example/7"]),
            {"videos_unsigned_url"},
        ),
    ],
)
@pytest.mark.parametrize("generic", [False, True])
async def test_every_look_goes_through_its_index(
    database: Database,
    action: Callable[[Connection], object],
    indexes: set[str],
    *,
    generic: bool,
) -> None:
    """Every function finds its rows through its index, however many rows are finished."""
    assert indexes == await scans(database, action, generic=generic)


async def test_what_a_drain_leaves_is_counted_in_an_index(database: Database) -> None:
    """The end of a drain counts its videos through an index."""

    def left(connection: Connection) -> int:
        return statistics.due(connection, statistics.in_state(connection, State.PENDING), START)

    assert {"videos_due"} == await scans(database, left, generic=False)


def judge_all(connection: Connection) -> None:
    """Read every doubt and every recheck, as a reconciler does."""
    doubts.doubts(connection, START)
    doubts.rechecks(connection, START)


@pytest.mark.parametrize("generic", [False, True])
async def test_no_doubt_walks_the_finished_rows(database: Database, *, generic: bool) -> None:
    """Doubts are read through indexes of videos and facts."""
    seen = await scans(database, judge_all, generic=generic)
    assert [] == [each for each in seen if each.startswith("all of")]
