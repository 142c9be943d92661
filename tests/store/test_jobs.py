"""The jobs that are followed, in the table: due, written, counted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, select, text, update

from tests.conftest import START
from tests.parts import add, facts, later, plans
from worker.core.following import BEFORE_ALL, FollowedJob
from worker.core.model import Fact
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.db.schema import account, history, jobs, videos
from worker.store import jobs as store
from worker.store import statistics

NOW = later(START, 3600)


async def follow(database: Database, number: int, at: float | None = 0, **columns: object) -> None:
    """Insert a video with a job, planned for so many seconds after the start."""
    known = {"id": number, "state": "submitted", "claims": 1, "submitted_at": later(START, number)}
    await add(database, f"https://h{number % 3}.example/v", job_id=f"job-{number}", **known)
    values = {"next_poll_at": None if at is None else later(START, at), **columns}
    plan = update(jobs).where(jobs.c.job_id == f"job-{number}").values(values)
    await database.write(lambda c: c.execute(plan), "test")


async def job(database: Database, number: int = 1) -> FollowedJob:
    """Return a job as it stands."""
    (found,) = await database.read(lambda c: store.named(c, [f"job-{number}"]))
    return found


async def write(database: Database, before: FollowedJob, **changes: object) -> list[Fact]:
    """Write a change of a job; return the facts."""
    after = replace(before, **changes)  # type: ignore[arg-type]
    told = await database.write(lambda c: store.write(c, [(before, after)], NOW, "me"), "test")
    return [fact for _, fact, _ in told]


async def due(database: Database, at: datetime = NOW) -> list[str]:
    """Return the ids of what is due."""
    return [each.job_id for each in await database.read(lambda c: store.due(c, at, 3))]


async def test_the_longest_due_come_first_then_the_newest_of_the_backlog(
    database: Database,
) -> None:
    """Planned jobs come by their time; those that no one has planned come when none is due."""
    for number, at in enumerate((20, 10, 30, 5000, None, None, None, None), 1):
        await follow(database, number, at)
    await follow(database, 9, 1, ended_as="finished", ended_at=NOW)
    assert ["job-2", "job-1", "job-3"] == await due(database)
    assert later(START, 10) == await database.read(store.next_at)
    assert ["job-8", "job-7", "job-6"] == await due(database, START)


async def test_only_a_change_of_status_goes_to_the_history(database: Database) -> None:
    """A change is a fact of the attempt, which is no acceptance and no answer to a send."""
    await follow(database, 1)
    told = {"status": "processing", "status_since": NOW, "polls": 1, "polled_at": NOW}
    assert [Fact.JOB_STATUS] == await write(database, await job(database), **told)
    assert [] == await write(database, await job(database), polls=2)
    assert ("processing", 2) == ((await job(database)).status, (await job(database)).polls)
    over = {"status": "error", "details": "HTTP 403", "ended_at": NOW, "ended_as": "error"}
    assert [Fact.JOB_ERROR] == await write(database, await job(database), **over)
    assert [(1, "job_status"), (1, "job_error")] == await facts(database, 1)
    rows = await database.read(lambda c: c.execute(select(history)).mappings().all())
    assert ["processing", "HTTP 403"] == [each["message"] for each in rows]
    assert {None} == {each["job_id"] for each in rows}
    overview = await database.read(lambda c: statistics.overview(c, NOW))
    assert (0, {}, None) == (overview.accepted, overview.today, overview.heard)


async def test_every_field_comes_back_as_it_was_written(database: Database) -> None:
    """A job is read as it was written, on either database."""
    await follow(database, 1)
    before = await job(database)
    moments = ("status_since", "polled_at", "next_poll_at", "missing_since", "overdue_since")
    told: dict[str, object] = {name: later(NOW, n + 0.000001) for n, name in enumerate(moments)}
    told |= {"status": "on_hold \u2603", "transfer_status": "downloading", "details": '"{}\\'}
    told |= {"polls": 3, "poll_errors": 2}
    await write(database, before, **told)
    assert replace(before, **told) == await job(database)  # type: ignore[arg-type]


async def test_no_end_is_taken_back(database: Database) -> None:
    """Law 15: an answer that comes after a job's end writes nothing."""
    await follow(database, 1)
    before = await job(database)
    await write(database, before, status="finished", ended_as="finished", ended_at=NOW)
    await write(database, before, status="processing", polls=7)
    after = await job(database)
    assert ("finished", "finished", 0) == (after.status, after.ended_as, after.polls)


async def test_an_end_has_its_host_and_teaches_the_times(database: Database) -> None:
    """At its end a job gets the host of its video; the next first look comes at the median."""
    for number in range(1, 41):
        await follow(database, number, number + 60)
        over = {"ended_as": "finished", "ended_at": later(START, 2 * number), "polls": 2}
        await write(database, await job(database, number), **over)
    hosts = await database.read(lambda c: c.scalars(select(jobs.c.host).distinct()).all())
    assert {"h0.example", "h1.example", "h2.example"} == set(hosts)
    known = await database.read(store.asking)
    assert (20.0, 38.0) == (known.job_seconds, known.job_seconds_most)
    claimed = {"claims": 1, "claim_token": "t", "claimed_by": "w", "lease_until": NOW}
    await add(database, "https://x.example/v", id=51, state="submitting", **claimed)
    bought = {"state": "submitted", "job_id": "new", "submitted_at": START}
    settle = update(videos).where(videos.c.id == 51).values(bought)
    await database.write(lambda c: c.execute(settle), "test")
    (new,) = await database.read(lambda c: store.named(c, ["new"]))
    assert later(START, 20) == new.next_poll_at


async def test_a_file_that_could_not_be_downloaded_is_of_no_host(database: Database) -> None:
    """Uploads come from no host, so none is held for them."""
    for number in (1, 2, 3):
        await follow(database, number)
        url = update(videos).where(videos.c.id == number).values(url="file://localhost/v.mp4")
        await database.write(lambda c, url=url: c.execute(url), "test")  # type: ignore[misc]
        over = {"status": "error", "transfer_status": "error", "ended_at": NOW, "ended_as": "error"}
        await write(database, await job(database, number), **over)
    assert {None} == {*await database.read(lambda c: c.scalars(select(jobs.c.host)).all())}
    assert 0 == await database.read(lambda c: c.scalar(select(account.c.held_hosts)))


async def test_jobs_are_counted(database: Database) -> None:
    """Jobs are counted by their end; an error counts while its video has that job."""
    ends = ("finished", "error", "error", "gone", None, None)
    for number, end in enumerate(ends, 1):
        over = {"ended_as": end, "ended_at": NOW if end else None}
        await follow(database, number, 0, status=f"s{number % 2}", **over)
    late = update(jobs).where(jobs.c.job_id == "job-5").values(overdue_since=NOW)
    await database.write(lambda c: c.execute(late), "test")
    anew = update(videos).where(videos.c.id == 3).values(state="pending", job_id=None)
    await database.write(lambda c: c.execute(anew), "test")
    expected = store.JobCounts(
        open=2, overdue=1, for_nothing=1, ended={"finished": 1, "error": 2, "gone": 1}
    )
    assert expected == await database.read(store.counts)
    assert 2 == await database.read(store.open_jobs)


async def test_a_shared_row_that_is_gone_is_said(database: Database) -> None:
    """A question is not chosen without it, and the way to put it back is told."""
    await database.write(lambda c: c.execute(text("DELETE FROM account")), "test")
    for look in (store.asking, partial(store.recall, now=NOW)):
        with pytest.raises(DatabaseProblem, match="INSERT INTO account"):
            await database.write(look, "test")


async def test_the_missing_are_found_by_their_first_404(database: Database) -> None:
    """Open jobs that the API has not known since then are those that a list may prove gone, if it
    shows others around; of many, those that were missed last.
    """
    for number, since in enumerate((1, 2, 3, 4, 100, None), 1):
        await follow(database, number, 0, missing_since=since and later(START, since))
    around, then = (later(START, 1), later(START, 4)), later(START, 99)
    for most, expected in ((9, ["job-3", "job-2"]), (1, ["job-3"])):
        found = await database.read(partial(store.missing, since=then, around=around, most=most))
        assert expected == [each.job_id for each in found]
    for seconds, is_any in ((0.5, False), (1.0, True)):
        at = later(START, seconds)
        assert is_any is await database.read(partial(store.is_any_missing, since=at))


async def test_overdue_jobs_come_last(database: Database) -> None:
    """Overdue jobs come after planned ones and the backlog, unless one was called for."""
    late = {"overdue_since": START}
    await follow(database, 1, 1, **late)
    await follow(database, 2, 2, **late)
    assert ["job-1", "job-2"] == await due(database)
    await follow(database, 3, None)
    assert ["job-3"] == await due(database)
    await follow(database, 4, 30)
    assert ["job-4"] == await due(database)
    await database.write(lambda c: store.hasten(c, {2}, START), "test")
    assert "job-2" == (await due(database))[0]
    assert BEFORE_ALL == (await job(database, 2)).next_poll_at


async def test_a_job_in_progress_is_answered_or_not(database: Database) -> None:
    """Jobs that are overdue, or whose last question failed, are waited for in vain; one that was
    never asked about is no answer.
    """
    await follow(database, 1, polls=1, overdue_since=START)
    await follow(database, 2, polls=1, poll_errors=1)
    await follow(database, 3, ended_as="finished", ended_at=START)
    await follow(database, 4)
    assert not await database.read(store.is_any_answered)
    await follow(database, 5, polls=1)
    assert await database.read(store.is_any_answered)


CROWD = """
INSERT INTO jobs (job_id, video_id, attempt, accepted_at, next_poll_at, ended_as, ended_at,
                  missing_since)
WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 9000)
SELECT 'c' || n, n, 1, at, CASE WHEN n % 4 < 2 THEN at END,
       CASE WHEN n % 2 = 0 THEN 'finished' END, CASE WHEN n % 2 = 0 THEN at END,
       CASE WHEN n % 1000 = 1 THEN at END
FROM (SELECT n, strftime('%Y-%m-%d %H:%M:%S', '2026-01-01', n || ' seconds') AS at FROM s)
"""
FIRST_IS_LATE = "UPDATE jobs SET overdue_since = next_poll_at WHERE job_id = 'c1'"
BY_KEY = {
    "SCAN json_each VIRTUAL TABLE INDEX 1:",
    "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (job_id=?)",
}


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (
            lambda c: store.due(c, NOW.replace(year=2027), 2),
            {"SEARCH jobs USING INDEX jobs_open (next_poll_at<?)"},
        ),
        (
            lambda c: store.due(c, NOW.replace(year=2025), 2),
            {
                "SEARCH jobs USING INDEX jobs_open (next_poll_at<?)",
                "SEARCH jobs USING INDEX jobs_open (next_poll_at=?)",
            },
        ),
        (store.next_at, {"SEARCH jobs USING INDEX jobs_open"}),
        (lambda c: store.named(c, ["c1", "c2"]), BY_KEY),
        (
            lambda c: (store.missing(c, NOW, (START, NOW), 9), store.is_any_missing(c, NOW)),
            {
                *("CO-ROUTINE anon_1", "SCAN anon_1"),
                "SEARCH jobs USING INDEX jobs_missing (missing_since<?)",
            },
        ),
        (
            lambda c: (c.exec_driver_sql(FIRST_IS_LATE), store.due(c, NOW.replace(year=2027), 2)),
            {
                *("CO-ROUTINE anon_1", "SCAN anon_1", "USE TEMP B-TREE FOR ORDER BY"),
                "SEARCH jobs USING INDEX jobs_open (next_poll_at<?)",
                "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (job_id=?)",
            },
        ),
    ],
)
@pytest.mark.parametrize("analysed", [False, True])
def test_no_look_walks_over_the_jobs(
    path: Path, look: Callable[[Connection], object], expected: set[str], *, analysed: bool
) -> None:
    """Each look at the jobs goes through its index, however many there are."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text(CROWD))
        if analysed:
            connection.exec_driver_sql("ANALYZE")
        assert expected == plans(connection, look)
    engine.dispose()
