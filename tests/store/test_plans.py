"""Hold that status, list and a drain's counts use their indexes. Claim and expiry: test_queue."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine

from tests.conftest import START
from tests.parts import SETTINGS, plans, steps
from worker.core.model import Cap, State
from worker.core.upload import Upload
from worker.snapshot import take
from worker.store import caps, search, statistics, transfers, uploads
from worker.store.search import Filter
from worker.store.uploads import Reach


@pytest.fixture
def crowded(path: Path) -> Iterator[Connection]:
    """Give thousands of rows in each state, and of each kind of fact."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql(VIDEOS)
        connection.exec_driver_sql(HISTORY)
        connection.exec_driver_sql(ENDED)
        yield connection
    engine.dispose()


VIDEOS = """
INSERT INTO videos (url, state, priority, due_at, media_id, job_id, claim_token, claimed_by,
                    lease_until, batch)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 11999)
SELECT 'u' || i, state, i % 3,
       CASE i % 3 WHEN 0 THEN '2026-01-01 11:00:00' ELSE '2026-02-01 12:00:00' END,
       'm' || i, CASE state WHEN 'submitted' THEN 'job-' || i END, 't', 'w', '2026-01-02 00:00:00',
       CASE i % 5 WHEN 0 THEN 'b' ELSE 'c' END
FROM (SELECT i, CASE i / 2000 WHEN 0 THEN 'pending' WHEN 1 THEN 'submitting'
     WHEN 2 THEN 'submitted' WHEN 3 THEN 'failed' WHEN 4 THEN 'in_doubt' ELSE 'cancelled' END
     AS state FROM n)
"""
HISTORY = """
INSERT INTO history (video_id, attempt, at, who, fact, job_id)
SELECT id, 1, CASE id % 2 WHEN 0 THEN '2026-01-01 11:00:00' ELSE '2025-12-01 11:00:00' END, 'w',
       CASE state WHEN 'submitted' THEN 'accepted' WHEN 'failed' THEN 'refused'
       ELSE 'throttled' END, job_id
FROM videos
"""

ENDED = """
UPDATE jobs SET ended_as = 'finished', ended_at = '2026-01-01 11:00:00' WHERE video_id % 10 > 0
"""

BY_STATE = {
    "SCAN videos USING INDEX videos_identifier",
    "SCAN videos USING INDEX videos_due",
    "SCAN videos USING INDEX videos_leases",
    "SCAN videos USING INDEX videos_doubts",
    "SEARCH videos USING INDEX videos_closed (state=?)",
    "SCAN CONSTANT ROW",
}
"""A count of everything, which takes the narrowest index, and of the states that have their own."""

LEVELS = {
    "SEARCH videos USING INDEX videos_due",
    "SEARCH videos USING INDEX videos_due (priority<?)",
    "SCAN levels",
}
DUE = {"SEARCH videos USING INDEX videos_due (priority=? AND due_at<?)", "SCAN counted"}
SPAN = {"SEARCH videos USING INDEX videos_due (priority=?)"}
FACTS = {
    "SEARCH history USING INDEX history_jobs (at>?)",
    "SEARCH history USING INDEX history_jobs (at>? AND at<?)",
    "SEARCH history USING INDEX history_others (at>?)",
    "SEARCH history USING INDEX history_jobs (at<?)",
    "SEARCH history USING INDEX history_last (fact>? AND fact<?)",
    "SEARCH history USING INTEGER PRIMARY KEY (rowid=?)",
    "SCAN history USING INDEX history_doubts",
    "USE TEMP B-TREE FOR GROUP BY",
}

JOBS = {
    "SEARCH jobs USING INDEX jobs_open (next_poll_at>?)",
    "SCAN jobs USING INDEX jobs_of_video",
    "SCAN jobs USING INDEX jobs_open",
    "SEARCH jobs USING INDEX jobs_ended (ended_as=?)",
    "SEARCH jobs USING INDEX jobs_ended (ended_as=? AND ended_at>?)",
    "SEARCH jobs USING INDEX jobs_overdue (overdue_since>?)",
    "SCAN results USING INDEX results_failed",
    "SCAN results USING INDEX results_wanted",
    "SEARCH results USING INDEX results_wanted (next_try_at>?)",
    "SCAN results USING INDEX sqlite_autoindex_results_1",
}
UPLOADS = {
    "SCAN uploads USING INDEX uploads_left",
    "SEARCH videos USING INTEGER PRIMARY KEY (rowid=?)",
}
SORTED = "USE TEMP B-TREE FOR ORDER BY"
IN_FLIGHT = {"SEARCH videos USING INDEX videos_leases", "SCAN workers", SORTED}
OVERDUE = {"SEARCH jobs USING INDEX jobs_overdue (overdue_since>?)"}
BY_NAME = {
    "SEARCH videos USING INDEX videos_identifier (<expr>=? AND rowid>?)",
    "SEARCH videos USING INDEX videos_job_id (job_id=? AND rowid>?)",
    "SEARCH videos USING INDEX videos_renamed (request_id=? AND rowid>?)",
    SORTED,
}
BY_NUMBER = {"SEARCH videos USING INTEGER PRIMARY KEY (rowid=?)"}
IN_ORDER = {"SEARCH videos USING INTEGER PRIMARY KEY (rowid>?)"}
CLOSED = {"SEARCH videos USING INDEX videos_closed (state=? AND rowid>?)"}
DOUBTS = {"SCAN videos USING INDEX videos_doubts", SORTED}
PENDING = {"SCAN videos USING INDEX videos_due", "SCAN counted"}
"""For a short page, while they are few: counted, then found and sorted."""


def status(connection: Connection) -> None:
    """Read all that ``status`` reads."""
    take(connection, SETTINGS, START)


def speed(connection: Connection) -> None:
    """Measure the uploads."""
    transfers.speed(connection, START)


REACH = Reach("w", (b"/srv",), {1})


def look(connection: Connection) -> None:
    """Find the next uploads."""
    uploads.look(connection, REACH, START)


def next_at(connection: Connection) -> None:
    """Ask when an upload can go on, as each idle look at the queue does."""
    uploads.next_at(connection, REACH, START)


def left(connection: Connection) -> None:
    """Count as a drain does."""
    statistics.due(connection, statistics.in_state(connection, State.PENDING), START)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (left, {"SCAN videos USING INDEX videos_due"} | LEVELS | DUE),
        (look, UPLOADS | {SORTED, f"{next(iter(BY_NUMBER))} LEFT-JOIN"}),
        (next_at, UPLOADS | {"SEARCH uploads USING INDEX uploads_left"}),
        (speed, {"SEARCH uploads USING INDEX uploads_begun (begun_at>?)"}),
        (
            status,
            BY_STATE
            | LEVELS
            | DUE
            | SPAN
            | FACTS
            | IN_FLIGHT
            | OVERDUE
            | JOBS
            | UPLOADS
            | {"SCAN account"},
        ),
    ],
)
@pytest.mark.parametrize("analysed", [False, True])
def test_what_is_counted_is_counted_in_indexes(
    crowded: Connection,
    action: Callable[[Connection], object],
    expected: set[str],
    *,
    analysed: bool,
) -> None:
    """Every number of status and of a drain's end is counted through an index."""
    if analysed:
        crowded.exec_driver_sql("ANALYZE")
    assert expected == looks(crowded, action)


def test_an_address_is_looked_for_in_its_index(crowded: Connection) -> None:
    """The end of an upload reads no other one."""
    upload = Upload(video_id=0, address="")
    looked = looks(crowded, lambda c: uploads.finish(c, upload, "w", "u", START))
    assert "SEARCH uploads USING INDEX uploads_url (url=?)" in looked
    assert not any(step.startswith("SCAN") for step in looked), looked


JOBS_ENDED = """
INSERT INTO history (video_id, attempt, at, who, fact)
SELECT id, 1, '2026-01-01 11:30:00', 'w', fact
FROM videos, (SELECT 'job_status' AS fact UNION SELECT 'job_finished')
"""


@pytest.mark.parametrize(
    "look",
    [
        statistics.refusal,
        statistics.last_throttled,
        lambda c: statistics.moved_at(c, None),
        lambda c: statistics.overview(c, START),
    ],
)
def test_what_is_told_of_jobs_is_walked_by_no_count(
    crowded: Connection, look: Callable[[Connection], object]
) -> None:
    """With two facts a job behind it, the newest answer is found in as many steps as before."""
    before = steps(crowded, look, 100)
    crowded.exec_driver_sql(JOBS_ENDED)
    assert before + 5 >= steps(crowded, look, 100)


def test_what_was_bought_twice_is_found_by_video(crowded: Connection) -> None:
    """Old doubts are found by their video, without a walk."""
    before = looks(crowded, status)
    crowded.exec_driver_sql("UPDATE history SET fact = 'in_doubt' WHERE video_id < 2000")
    added = looks(crowded, status) - before
    assert "SEARCH history USING INDEX history_of_video (video_id=?)" in added
    assert [] == [each for each in added if not each.startswith("SEARCH ")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), IN_ORDER),
        (Filter(states=(State.FAILED,)), CLOSED),
        (Filter(states=(State.CANCELLED,)), CLOSED),
        (Filter(states=(State.IN_DOUBT,)), DOUBTS),
        (Filter(states=(State.SUBMITTING,)), {"SCAN videos USING INDEX videos_leases", SORTED}),
        (Filter(states=(State.PENDING,)), PENDING | {SORTED}),
        (Filter(states=(State.PENDING,), error_like="e"), PENDING | {SORTED}),
        (Filter(states=(State.FAILED, State.IN_DOUBT)), CLOSED | DOUBTS),
        (Filter(states=(State.FAILED,), error_like="e"), CLOSED),
        (Filter(states=(State.FAILED,), since=START, until=START), CLOSED),
        (Filter(states=(State.IN_DOUBT,), since=START), DOUBTS),
        (Filter(batch="b"), {"SEARCH videos USING INDEX videos_batch (batch=? AND id>?)"}),
        (Filter(ids=(1, 2)), BY_NUMBER),
        (Filter(names=("m7", "job-4001")), BY_NAME),
        (Filter(ids=(1,), names=("m7",)), BY_NAME | BY_NUMBER),
    ],
)
@pytest.mark.parametrize("analysed", [False, True])
def test_a_list_finds_its_videos_by_an_index(
    crowded: Connection, wanted: Filter, expected: set[str], *, analysed: bool
) -> None:
    """A state of few videos, a name or an id is found through an index."""
    if analysed:
        crowded.exec_driver_sql("ANALYZE")
    assert expected == looks(crowded, lambda c: search.matching(c, wanted, 0, 100))


BATCHES = {
    "SEARCH videos USING INDEX videos_batch (batch>?)",
    "SEARCH videos USING INDEX videos_batch_left (batch>?)",
    "SCAN videos USING INDEX videos_leases",
    "SCAN videos USING INDEX videos_doubts",
    "USE TEMP B-TREE FOR ORDER BY",
}


@pytest.mark.parametrize("analysed", [False, True])
def test_batches_are_counted_in_indexes(crowded: Connection, *, analysed: bool) -> None:
    """The states of all batches are counted without a look at a row that waits or is handed in."""
    if analysed:
        crowded.exec_driver_sql("ANALYZE")
    assert BATCHES == looks(crowded, statistics.by_batch)


OF_JOBS = "history USING INDEX history_jobs"
COUNTED = {
    "SCAN history USING INDEX history_doubts",
    "SEARCH other USING INDEX history_of_video (video_id=? AND attempt=? AND rowid>?)",
    "SEARCH other USING INDEX history_of_video (video_id=? AND attempt=?)",
    "SCAN videos USING INDEX videos_leases",
    "SCAN CONSTANT ROW",
    "SCAN counted",
}
"""The attempts in doubt, what became of them, and those that are submitting."""
FOUND = "SEARCH history USING INDEX history_last (fact=?)"
BY_DOUBT = "SEARCH other USING INDEX history_doubts (video_id=? AND attempt=?)"


@pytest.mark.parametrize(
    ("window", "jobs"),
    [
        (None, {f"SCAN {OF_JOBS}", "SCAN account", FOUND}),
        (timedelta(hours=24), {f"SEARCH {OF_JOBS} (at>?)", "USE TEMP B-TREE FOR ORDER BY"}),
    ],
)
@pytest.mark.parametrize("analysed", [False, True])
def test_what_a_cap_counts_is_found_by_indexes(
    crowded: Connection, window: timedelta | None, jobs: set[str], *, analysed: bool
) -> None:
    """A cap counts attempts, and finds the moment it opens, through indexes."""
    crowded.exec_driver_sql("UPDATE history SET fact = 'in_doubt' WHERE video_id < 2000")
    if analysed:
        crowded.exec_driver_sql("ANALYZE")
    cap = Cap(name="cap", most=2_100, window=window)
    said = looks(crowded, lambda c: caps.level(c, cap, START))
    assert COUNTED | jobs == said - {BY_DOUBT}


def looks(connection: Connection, action: Callable[[Connection], object]) -> set[str]:
    """Return how rows are searched for and sorted."""
    said = plans(connection, action)
    return {each for each in said if each.startswith(("SCAN ", "SEARCH ", "USE "))}
