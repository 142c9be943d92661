"""A million submitted rows get their jobs by the migration: in time, and also after a kill -9."""

import asyncio
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import Usage, program, program_command, settings
from tests.benchmarks.test_million import FINISHED, MILLION
from tests.benchmarks.test_peers import data, postgres
from tests.benchmarks.test_postgres import said
from tests.conftest import open_database
from tests.plain import execute, is_server
from worker.db import migrate

BEFORE = "0006"
WANTED_SECONDS = 60.0
ON_SERVER = """
INSERT INTO videos (url, state, attempts, claims, job_id, http_status, created_at, due_at,
                    updated_at, submitted_at)
SELECT 'https://example.com/finished/' || i || '.mp4', 'submitted', 1, 1, gen_random_uuid()::text,
       200, at, at, at, at
FROM (SELECT i, now() - i * interval '5 seconds' AS at FROM generate_series(1, 1000000) AS i) AS n
"""


def filled(url: str, statement: str, *values: object) -> None:
    """Make a queue of the version before, with a million rows that have jobs."""

    async def make() -> None:
        async with open_database(url) as database:
            await migrate.upgrade(database, BEFORE)

    asyncio.run(make())
    if is_server(url):
        asyncio.run(said(url, statement))
    else:
        execute(url, statement, *values)


def one(url: str, statement: str) -> float:
    """Return the number that a statement gives, however long a killed migration is in its way."""
    if is_server(url):
        return asyncio.run(said(url, statement))
    return float(execute(url, statement)[0][0])


def migrated(url: str, folder: Path) -> tuple[float, Usage]:
    """Run the migration to its end; return how long it took, and what it cost."""
    began = time.monotonic()
    usage = program(["migrate"], folder / "migrate.log", database_url=url)
    return time.monotonic() - began, usage


def broken_off(url: str, is_under_way: Callable[[], bool]) -> None:
    """Kill a migration while it writes, and hold that all is as it was."""
    with subprocess.Popen(
        program_command("migrate"), env=settings(database_url=url), stdout=subprocess.DEVNULL
    ) as process:
        while not is_under_way():
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert int(BEFORE) == one(url, "SELECT version_num FROM alembic_version")
    assert MILLION == one(url, "SELECT count(*) FROM videos")


def told(took: float, usage: Usage) -> str:
    """Return the figures in words."""
    return (
        f"{took:.0f} s (wanted {WANTED_SECONDS:g}), {usage.cpu_seconds:.0f} s of a processor, at "
        f"most {usage.peak_bytes / 1e6:.0f} MB"
    )


def all_there(url: str) -> None:
    """Hold that each row has its job, and none of them is planned."""
    jobs = "SELECT count(*) FROM jobs JOIN videos ON videos.job_id = jobs.job_id AND video_id = id"
    assert MILLION == one(url, f"{jobs} WHERE next_poll_at IS NULL AND ended_as IS NULL")


@pytest.mark.timeout(3600)
def test_a_million_jobs_are_added_to_a_file(tmp_path: Path, tell: Tell) -> None:
    """A file of a million submitted rows is migrated in time, also after one that was killed."""
    path = tmp_path / "videos.db"
    filled(str(path), FINISHED, MILLION, MILLION)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    wal = path.with_name("videos.db-wal")
    broken_off(str(path), lambda: wal.exists() and wal.stat().st_size > 20e6)
    took, usage = migrated(str(path), tmp_path)
    all_there(str(path))
    tell(f"the jobs of a million rows in a file: {told(took, usage)}")
    assert took < WANTED_SECONDS


@pytest.mark.timeout(3600)
def test_a_million_jobs_are_added_on_postgresql(tell: Tell) -> None:
    """A server's queue of as many rows is migrated in time, also after one that was killed."""
    under_way = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO jobs%'"
    with data() as folder, postgres(folder / "postgres") as url:
        filled(url, ON_SERVER)
        broken_off(url, lambda: one(url, under_way) == 1)
        took, usage = migrated(url, folder)
        all_there(url)
    tell(f"the jobs of a million rows on PostgreSQL: {told(took, usage)}")
    assert took < WANTED_SECONDS
