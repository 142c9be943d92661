"""Hold that held hosts, their videos and jobs are found through indexes, on both databases."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from tests.conftest import START
from tests.parts import later, plans
from tests.store.test_server_plans import scans
from worker.core.model import Cap
from worker.db.database import Database
from worker.store import caps, hosts
from worker.store.queue import Unwritable

pytestmark = pytest.mark.usefixtures("remade")

NOW = later(START, 1)
JOBS = Cap(name="max_in_progress", most=50, window=None, of_jobs=True)
NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {most})"
    " SELECT {columns} FROM n",
    "postgresql": "SELECT {columns} FROM generate_series(1, {most}) AS n (i)",
}
MOMENT = "'2026-01-01 11:00:00'"
CROWD = (
    (
        "hosts (host, held_since, probe_at, why)",
        10_000,
        (
            f"'h' || i || '.example', CASE WHEN i % 20 = 0 THEN {MOMENT} END, "
            f"CASE WHEN i % 20 = 0 THEN {MOMENT} END, 'no'"
        ),
    ),
    (
        "videos (url, due_at, held_host)",
        30_000,
        (
            f"'https://h' || (i % 10000) || '.example/' || i, {MOMENT}, "
            "CASE WHEN i % 10000 % 20 = 0 THEN 'h' || (i % 10000) || '.example' END"
        ),
    ),
    (
        "jobs (job_id, video_id, attempt, accepted_at, host, ended_at, ended_as, transfer_status)",
        30_000,
        f"'j' || i, i, 1, {MOMENT}, 'h' || (i % 10000) || '.example', {MOMENT}, 'error', 'error'",
    ),
    ("history (video_id, attempt, at, who, fact)", 30_000, f"i, 1, {MOMENT}, 'w', 'throttled'"),
    (
        "history (video_id, attempt, at, who, fact)",
        30,
        f"i, 2, {MOMENT}, 'w', 'in_doubt'",
    ),
)


@pytest.fixture
async def crowded(database: Database, dialect: str) -> Database:
    """Return a database with 10,000 hosts, of which 500 are held and due for a probe."""

    def fill(connection: Connection) -> None:
        for table, most, columns in CROWD:
            moment = f"TIMESTAMPTZ {MOMENT}" if dialect == "postgresql" else MOMENT
            rows = NUMBERS[dialect].format(most=most, columns=columns.replace(MOMENT, moment))
            connection.exec_driver_sql(f"INSERT INTO {table} {rows}")
        connection.exec_driver_sql("UPDATE account SET held_hosts = 500")

    await database.write(fill, "test")
    await database.write(lambda c: c.exec_driver_sql("ANALYZE"), "test")
    return database


HOST = "SEARCH hosts USING INDEX sqlite_autoindex_hosts_1 (host=?)"
HELD = "SEARCH videos USING INDEX videos_held (held_host=?)"
BY_ID = "SEARCH videos USING INTEGER PRIMARY KEY (rowid=?)"
OF_HOST = "SEARCH jobs USING INDEX jobs_of_host (host=?)"
LOOKS: dict[str, tuple[Callable[[Connection], object], set[str], set[str]]] = {
    "judge": (
        lambda c: hosts.judge(c, "h8000.example", NOW),
        {HOST, OF_HOST, "SEARCH jobs USING INDEX jobs_of_host (host=? AND ended_at>?)"},
        {"hosts_pkey", "jobs_of_host"},
    ),
    "release": (
        lambda c: hosts.release(c, "h20.example", NOW),
        {
            *(HOST, HELD, BY_ID, "SCAN hosts USING INDEX hosts_held", "SCAN account"),
            "SEARCH jobs USING INDEX jobs_of_host (host=? AND ended_at>?)",
        },
        {
            "hosts_pkey",
            "videos_held",
            "videos_pkey",
            "hosts_held",
            "all of account",
            "jobs_of_host",
        },
    ),
    "held": (
        hosts.held,
        {OF_HOST, HELD, "SCAN hosts USING INDEX hosts_held"},
        {"jobs_of_host", "videos_held", "hosts_held"},
    ),
    "next probe": (
        lambda c: hosts.next_probe_at(c, NOW),
        {HELD, "SEARCH hosts USING INDEX hosts_held"},
        {"hosts_pkey", "videos_held"},
    ),
    "claim": (
        lambda c: hosts.passing(c, 64, NOW, NOW, Unwritable(), 500),
        {
            *(HOST, HELD, "SEARCH hosts USING INDEX hosts_held (probe_at<?)"),
            "SEARCH hosts USING INDEX hosts_held (probe_at>?)",
            "SEARCH videos USING INDEX videos_due (priority<?)",
            "SEARCH videos USING INDEX videos_due (priority=? AND due_at<?)",
            BY_ID,
            "SEARCH twin USING INDEX videos_url (url=?)",
            *("SEARCH jobs USING INDEX jobs_of_video (video_id=?)", "SCAN (subquery-7)"),
            "SEARCH pruned USING INDEX pruned_url (url=?)",
            "SEARCH history USING INDEX history_of_video (video_id=?)",
            "SEARCH history USING INDEX history_doubts (video_id=?)",
            "SEARCH history_1 USING INDEX history_of_video (video_id=?)",
        },
        {
            *("videos_due", "videos_held", "videos_pkey", "videos_url", "hosts_held", "hosts_pkey"),
            *("history_of_video", "history_doubts", "jobs_of_video", "all of pruned"),
        },
    ),
    "in progress": (
        lambda c: caps.level(c, JOBS, NOW),
        {
            "SCAN jobs USING INDEX jobs_open",
            "SCAN history USING INDEX history_doubts",
            "SEARCH history_1 USING INDEX history_of_video (video_id=?)",
            BY_ID,
            "SCAN videos USING INDEX videos_leases",
        },
        {"jobs_open", "history_doubts", "history_of_video", "videos_pkey", "videos_leases"},
    ),
}
"""Each with its plan in SQLite and in PostgreSQL. Nothing is pruned here."""


@pytest.mark.parametrize("name", LOOKS)
async def test_the_brake_finds_its_rows_by_indexes(
    crowded: Database, dialect: str, name: str
) -> None:
    """No look at held hosts walks over videos or jobs, however many there are."""
    action, in_file, on_server = LOOKS[name]
    if dialect == "postgresql":
        assert on_server == await scans(crowded, action, generic=False)
        return
    said = await crowded.write(lambda c: plans(c, action), "test")
    own = {"SCAN highest", "SCAN next_due LEFT-JOIN", "SCAN CONSTANT ROW", "SCAN going"}
    own.add("SCAN (subquery-6)")  # the empty list of those aside
    own.add("SCAN json_each VIRTUAL TABLE INDEX 1:")
    assert in_file == {each for each in said if each.startswith(("SCAN", "SEARCH"))} - own
