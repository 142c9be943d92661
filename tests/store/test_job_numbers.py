"""Jobs in numbers, each through an index."""

import pytest
from sqlalchemy import Connection, insert, update

from tests.conftest import START
from tests.parts import later
from tests.store.test_job_search import LIVES, crowded, live, looks
from worker.db.database import Database
from worker.db.schema import jobs, results
from worker.store.job_numbers import UNASKED, JobNumbers, numbers

__all__ = ["crowded"]


async def test_jobs_are_counted_by_status_and_end(database: Database) -> None:
    """Each job counts once, where it is; results count by state."""
    await live(database, LIVES)
    rows = [("finished", "stored"), ("error", "wanted"), ("gone", "failed"), ("queued", "stored")]
    stored = [{"job_id": f"job-{job}", "type": "core", "state": state} for job, state in rows]
    await database.write(lambda c: c.execute(insert(results), stored), "test")
    assert JobNumbers(
        open={"queued": 1, "dancing": 1, "processing": 1, UNASKED: 1},
        overdue=1,
        ended={"finished": 1, "error": 1, "gone": 1},
        results={"stored": 2, "wanted": 1, "failed": 1},
        results_wait=None,
        wasted=1,
        wasted_at=START,
        wasted_host=None,
        wasted_details="no video",
    ) == await database.read(lambda c: numbers(c, START))


async def test_what_was_wasted_lately_names_the_first(database: Database) -> None:
    """Of the errors of the last day the first one is named; older ones are not."""
    lives = {
        name: {**LIVES["error"], "host": f"{name}.example", "details": name, "ended_at": at}
        for name, at in (("old", later(START, -86_401)), ("b", later(START, -60)), ("c", START))
    }
    await live(database, lives)
    found = await database.read(lambda c: numbers(c, START))
    assert (2, START) == (found.wasted, found.wasted_at)
    assert ("b.example", "b") == (found.wasted_host, found.wasted_details)
    assert 3 == found.ended["error"]


async def test_an_end_that_is_written_late_is_news_then(database: Database) -> None:
    """Ends that one list has shown at once are news when the details of each are written."""
    shown, asked = later(START, -60), later(START, -35)
    lives = {
        name: {**LIVES["error"], "ended_at": shown, "polled_at": at}
        for name, at in (("a", shown), ("b", asked))
    }
    await live(database, lives)
    assert asked == (await database.read(lambda c: numbers(c, START))).wasted_at


async def test_what_an_upgrade_found_was_not_wasted_lately(database: Database) -> None:
    """An error of a job that no one has planned is old, whenever it became known."""
    await live(database, {"error": {**LIVES["error"], "next_poll_at": None}})
    found = await database.read(lambda c: numbers(c, START))
    assert (0, None, 1) == (found.wasted, found.wasted_at, found.ended["error"])


@pytest.mark.parametrize(
    ("seconds", "tries", "error", "said"),
    [
        (30, 0, "x.part: No space left on device", "x.part: No space left on device"),
        (-299, 0, "no connection", "no connection"),
        (-301, 0, "no connection", None),
        (30, 1, "HTTP 404", None),
        (30, 0, None, None),
    ],
)
async def test_what_holds_all_results_up_is_named(
    database: Database, seconds: int, tries: int, error: str | None, said: str | None
) -> None:
    """The folder or the network is named while it is tried; not what one result lacks."""
    await live(database, LIVES)
    values = {"type": "core", "next_try_at": later(START, seconds), "tries": tries, "error": error}
    wanted = insert(results).values(job_id="job-finished", **values)
    await database.write(lambda c: c.execute(wanted), "test")
    assert said == (await database.read(lambda c: numbers(c, START))).results_wait


async def test_nothing_is_counted_in_an_empty_queue(database: Database) -> None:
    """An empty queue has no job."""
    found = await database.read(lambda c: numbers(c, START))
    assert ({}, 0, 0) == (found.open, found.overdue, sum(found.ended.values()))


def test_jobs_are_counted_in_indexes(crowded: Connection) -> None:
    """No number of the jobs is counted by a walk over the table."""
    crowded.execute(update(jobs).where(jobs.c.video_id == 2).values(next_poll_at=START))
    assert {
        "SEARCH jobs USING INDEX jobs_open (next_poll_at>?)",
        "SCAN jobs USING INDEX jobs_of_video",
        "SCAN jobs USING INDEX jobs_open",
        "SEARCH jobs USING INDEX jobs_overdue (overdue_since>?)",
        "SEARCH jobs USING INDEX jobs_ended (ended_as=?)",
        "SEARCH jobs USING INDEX jobs_ended (ended_as=? AND ended_at>?)",
        "USE TEMP B-TREE FOR GROUP BY",
    } == {each for each in looks(crowded, lambda c: numbers(c, START)) if "results" not in each}
