"""Videos found by the status of their jobs, and what a list says of each job."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, insert, update

from tests.conftest import START
from tests.parts import add, plans
from tests.store.test_search import ids
from worker.core.model import State
from worker.db.database import Database
from worker.db.schema import jobs, results
from worker.store import search
from worker.store.search import Filter

OPEN = {"ended_as": None, "ended_at": None}
LIVES: dict[str, dict[str, object]] = {
    "finished": {"ended_as": "finished", "ended_at": START, "status": "finished"},
    "error": {
        "ended_as": "error",
        "ended_at": START,
        "next_poll_at": START,
        "polled_at": START,
        "polls": 1,
        "status": "error",
        "details": "no video",
    },
    "gone": {"ended_as": "gone", "ended_at": START, "status": "processing"},
    "queued": {**OPEN, "status": "queued", "next_poll_at": START},
    "dancing": {**OPEN, "status": "dancing", "next_poll_at": START},
    "overdue": {**OPEN, "status": "processing", "overdue_since": START, "next_poll_at": START},
    "unasked": {**OPEN, "next_poll_at": None},
}
PLACES = {name: place for place, name in enumerate(LIVES, start=1)}


async def live(database: Database, lives: dict[str, dict[str, object]]) -> None:
    """Add a video with a job for each life."""
    for name in lives:
        url = f"https://v.example/{name}"
        await add(database, url, state=State.SUBMITTED, job_id=f"job-{name}", claims=1)
    for name, values in lives.items():
        its = update(jobs).where(jobs.c.job_id == f"job-{name}").values(**values)
        await database.write(lambda c, its=its: c.execute(its), "test")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (("error",), ["error"]),
        (("finished", "gone"), ["finished", "gone"]),
        (("open",), ["queued", "dancing", "overdue", "unasked"]),
        (("overdue", "error"), ["error", "overdue"]),
        (("queued",), ["queued"]),
        (("processing",), ["overdue"]),
    ],
)
async def test_a_job_status_finds_the_videos_of_such_jobs(
    database: Database, wanted: tuple[str, ...], found: list[str]
) -> None:
    """A job status means the videos whose own job has it; several are alternatives."""
    await live(database, LIVES)
    await add(database, "https://v.example/none")
    places = [PLACES[name] for name in found]
    assert places == await ids(database, Filter(job_status=wanted))
    assert places[1:] == await ids(database, Filter(job_status=wanted), after=places[0])
    counted = await database.read(lambda c: search.count(c, Filter(job_status=wanted)))
    assert {State.SUBMITTED: len(places)} == counted


async def test_an_earlier_job_of_a_video_finds_nothing(database: Database) -> None:
    """A job that the video no longer has is not its status."""
    await live(database, {"error": LIVES["error"]})
    sql = "UPDATE videos SET job_id = NULL, state = 'pending'"
    await database.write(lambda c: c.exec_driver_sql(sql), "test")
    assert [] == await ids(database, Filter(job_status=("error",)))


async def test_a_job_status_narrows_the_other_filters(database: Database) -> None:
    """A job status and an id must both hold."""
    await live(database, LIVES)
    assert [] == await ids(database, Filter(job_status=("error",), ids=(1,)))
    assert [2] == await ids(database, Filter(job_status=("error",), ids=(1, 2)))


async def test_a_list_says_what_is_known_of_each_job(database: Database) -> None:
    """Status, end, details and the first stored result stand beside a video; NULL without a job."""
    await live(database, {"error": LIVES["error"], "gone": LIVES["gone"]})
    await add(database, "https://v.example/none")
    stored = [("core", "stored", "a"), ("frames_faces", "stored", "b"), ("alone", "wanted", "c")]
    rows = [{"job_id": "job-gone", "type": t, "state": s, "path": p} for t, s, p in stored]
    await database.write(lambda c: c.execute(insert(results), rows), "test")

    found = await database.read(lambda c: search.with_jobs(c, search.matching(c, Filter(), 0, 9)))

    columns = ("job_status", "job_ended_at", "job_details", "result_path")
    assert [
        ("error", START, "no video", None),
        ("gone", START, None, "a"),
        (None, None, None, None),
    ] == [tuple(each[name] for name in columns) for each in found]


CROWD = """
INSERT INTO videos (url, state, claims, job_id)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
SELECT 'u' || i, 'submitted', 1, 'job-' || i FROM n
"""
LIVED = """
UPDATE jobs SET next_poll_at = '2026-01-01 12:00:00', status = CASE WHEN video_id % 1000 THEN
'finished' ELSE 'error' END, ended_as = CASE WHEN video_id % 1000 THEN 'finished' ELSE 'error' END,
ended_at = '2026-01-01 12:00:00' WHERE video_id > 20
"""


@pytest.fixture(scope="module")
def crowded(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Give tens of thousands of jobs that have ended, few of them in error."""
    copy = tmp_path_factory.mktemp("crowd") / "videos.db"
    copy.write_bytes(migrated.read_bytes())
    engine = create_engine(f"sqlite:///{copy}")
    with engine.begin() as connection:
        connection.exec_driver_sql(CROWD)
        connection.exec_driver_sql(LIVED)
        connection.exec_driver_sql(
            "UPDATE jobs SET overdue_since = '2026-01-01' WHERE video_id = 1"
        )
        yield connection
    engine.dispose()


BY_JOB = "SEARCH videos USING INDEX videos_job_id (job_id=?)"
SORTED = "USE TEMP B-TREE FOR ORDER BY"
ENDED = "SEARCH jobs USING INDEX jobs_ended (ended_as=?)"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (("error",), {ENDED, BY_JOB, SORTED}),
        (("open",), {"SCAN jobs USING INDEX jobs_open", BY_JOB, SORTED}),
        (("overdue",), {"SEARCH jobs USING INDEX jobs_overdue (overdue_since>?)", BY_JOB, SORTED}),
        (
            ("queued",),
            {"SEARCH jobs USING INDEX jobs_open (next_poll_at>?)", BY_JOB, SORTED},
        ),
        (
            ("finished",),
            {
                ENDED,
                "SEARCH videos USING INTEGER PRIMARY KEY (rowid>?)",
                "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (job_id=?)",
            },
        ),
    ],
)
@pytest.mark.parametrize("analysed", [False, True])
def test_a_job_status_is_found_by_an_index(
    crowded: Connection, wanted: tuple[str, ...], expected: set[str], *, analysed: bool
) -> None:
    """Few jobs of a status are found by their index; of many, a page is found in order of ids."""
    if analysed:
        crowded.exec_driver_sql("ANALYZE")
    sought = looks(crowded, lambda c: search.matching(c, Filter(job_status=wanted), 0, 100))
    assert expected == sought - {"SCAN counted"}


def looks(connection: Connection, action: Callable[[Connection], object]) -> set[str]:
    """Return how rows are searched for and sorted."""
    said = plans(connection, action)
    return {each for each in said if each.startswith(("SCAN ", "SEARCH ", "USE "))}


def test_what_follows_is_later(crowded: Connection) -> None:
    """Pages of many and of few go on after the last id."""
    for status, first in (("finished", 21), ("error", 1000)):
        page = search.matching(crowded, Filter(job_status=(status,)), 0, 30)
        more = search.matching(crowded, Filter(job_status=(status,)), page[-1]["id"], 30)
        assert (first, 60) == (page[0]["id"], len({each["id"] for each in (*page, *more)}))
