"""Runs and drains follow jobs: beside the sends, and once at the end."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import structlog
from sqlalchemy import update
from structlog.typing import EventDict, WrappedLogger

from tests.parts import (
    DAEMON,
    DRAIN,
    DRAIN_ALL,
    RUN_SETTINGS,
    Worker,
    add,
    going,
    listener,
    until,
)
from worker.clock import Clock
from worker.core.reasons import StopReason
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.db.schema import account
from worker.log import Event, Log
from worker.simulator import Options, Simulator
from worker.simulator.lives import Span
from worker.store import jobs, results

AT_ONCE = Options(job_seconds=Span(0, 0))
IN_MILLISECONDS = Clock(
    now=lambda: datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1_000, UTC),
    monotonic=time.monotonic,
)
"""To which SQLite rounds the time at which a job is due, up too."""
following = partial(Worker, clock=IN_MILLISECONDS)
URLS = tuple(f"https://a.example/{number}.mp4" for number in range(3))


async def due_at_once(database: Database) -> None:
    """Let each job be asked about as soon as it is accepted."""
    await database.write(lambda c: c.execute(update(account).values(job_seconds=0)), "test")


def calling(event: asyncio.Event, ended: int) -> Log:
    """Return a log that sets the event when so many jobs have ended."""
    left = [ended]

    def hear(_: WrappedLogger, __: str, said: EventDict) -> EventDict:
        if said["event"] == "job_changed" and said["fact"] == "job_finished":
            left[0] -= 1
            if not left[0]:
                event.set()
        raise structlog.DropEvent

    log: Log = structlog.wrap_logger(structlog.PrintLogger(), processors=[hear])
    return log


async def test_a_daemon_follows_the_jobs(database: Database) -> None:
    """A daemon asks about its jobs while it runs, until it is stopped."""
    await due_at_once(database)
    await add(database, *URLS)
    ended, off = asyncio.Event(), replace(RUN_SETTINGS, follow="off")
    worker = following(options=DAEMON, log=calling(ended, len(URLS)))
    async with Simulator(AT_ONCE) as simulator:
        await following(settings=off).run(database, simulator.url)
        async with worker.on(database, simulator.url) as runner:
            running = asyncio.create_task(runner.run())
            await asyncio.wait_for(ended.wait(), 30)
            runner.stop()
            await running
    assert {"finished": 3} == (await database.read(jobs.counts)).ended


@pytest.mark.parametrize("options", [DRAIN, replace(DRAIN, limit=3)])
async def test_a_drain_asks_one_question_at_its_end(
    database: Database, options: RunOptions
) -> None:
    """A drain from cron follows too: one list at its end answers for all that is due."""
    await due_at_once(database)
    await add(database, *URLS)
    async with Simulator(AT_ONCE) as simulator:
        report = await following(options=options).run(database, simulator.url)
        assert ["list_jobs"] == [each.call for each in simulator.questions]
    assert 3 == report.counts.submitted
    assert {"finished": 3} == (await database.read(jobs.counts)).ended


ON_FILE = """
CREATE TRIGGER theirs BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'not this one'); END
"""
FUNCTION = """
CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$
"""
ON_SERVER = "CREATE TRIGGER theirs BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION theirs()"


@pytest.mark.usefixtures("remade")
@pytest.mark.parametrize(
    ("options", "count", "purpose"),
    [
        (DRAIN, 1, "to choose a question about jobs"),
        (DRAIN, 3, "to follow jobs by a list"),
        (DAEMON, 1, "to choose a question about jobs"),
    ],
)
async def test_a_job_that_takes_no_change_is_told_of(
    database: Database, dialect: str, options: RunOptions, count: int, purpose: str
) -> None:
    """Law 14: where another program refuses to have a job followed, the log says so."""
    await due_at_once(database)
    await add(database, *URLS[:count])
    for sql in [FUNCTION, ON_SERVER] if dialect == "postgresql" else [ON_FILE]:
        await database.write(lambda c, sql=sql: c.exec_driver_sql(sql), "test")  # type: ignore[misc]
    log, said = listener()
    off = replace(RUN_SETTINGS, follow="off")

    def told() -> list[tuple[str, str]]:
        refused = [each for each in said if each["event"] == Event.WRITE_REFUSED]
        return [(each["purpose"], each["reason"]) for each in refused]

    async with Simulator(AT_ONCE) as simulator:
        await following(settings=off).run(database, simulator.url)
        async with (
            following(options=options, log=log).on(database, simulator.url) as runner,
            going(runner) as run,
        ):
            await until(lambda: told() or run.done())
    assert [(purpose, "the database refuses to write this row: not this one")] == told()


async def test_a_drain_asks_on_for_the_details_of_errors(database: Database) -> None:
    """An error of a drain's last list is asked about within its seconds, and ends."""
    await due_at_once(database)
    await add(database, *URLS)
    options = replace(AT_ONCE, dead_hosts=frozenset({"a.example"}))
    async with Simulator(options) as simulator:
        await following().run(database, simulator.url)
        calls = [each.call for each in simulator.questions]
    assert ["list_jobs", *["job_status"] * 3] == calls
    assert {"error": 3} == (await database.read(jobs.counts)).ended


async def test_a_drain_waits_for_no_question_that_comes_too_late(database: Database) -> None:
    """Where a question may be asked each half minute, a drain asks one and ends."""
    await due_at_once(database)
    await add(database, *URLS[:2])
    slow = replace(RUN_SETTINGS, rate=2, period_seconds=20.0)
    options = replace(AT_ONCE, dead_hosts=frozenset({"a.example"}))
    async with Simulator(options) as simulator:
        await following(settings=replace(RUN_SETTINGS, follow="off")).run(database, simulator.url)
        await asyncio.wait_for(following(settings=slow).run(database, simulator.url), 4)
        assert ["list_jobs"] == [each.call for each in simulator.questions]


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
async def test_a_drain_asks_nothing_where_nothing_is_due(
    database: Database, options: RunOptions
) -> None:
    """Jobs that are young are asked about by a later run, and delay none."""
    await add(database, *URLS)
    async with Simulator(AT_ONCE) as simulator:
        report = await following(options=options).run(database, simulator.url)
        assert [] == simulator.questions
    assert StopReason.EMPTY is report.stop.reason


async def test_a_drain_begins_no_result_that_its_end_would_break_off(
    database: Database, tmp_path: Path
) -> None:
    """A brief drain leaves results to ``results fetch``, and its last question to the jobs."""
    await due_at_once(database)
    await add(database, *URLS)
    settings = replace(RUN_SETTINGS, follow="results", results_dir=str(tmp_path))
    async with Simulator(AT_ONCE) as simulator:
        await following(settings=settings).run(database, simulator.url)
        await add(database, f"{URLS[0]}?again")
        await following(settings=settings).run(database, simulator.url)
        asked = [each.call for each in simulator.questions]
    assert ["list_jobs"] == asked
    assert 3 == (await database.read(results.counts))["wanted"]


async def test_nothing_is_followed_if_it_is_off(database: Database) -> None:
    """Under ``follow = off`` no question about a job is asked."""
    await due_at_once(database)
    await add(database, *URLS)
    settings = replace(RUN_SETTINGS, follow="off")
    async with Simulator(AT_ONCE) as simulator:
        await following(settings=settings).run(database, simulator.url)
        assert [] == simulator.questions
    assert 3 == (await database.read(jobs.counts)).open


async def test_a_refused_drain_asks_nothing_more(database: Database) -> None:
    """A drain that ends because the API refuses it asks no last question."""
    await due_at_once(database)
    await add(database, URLS[0], state="submitted", job_id="j-1", claims=1)
    await add(database, *URLS[1:])
    async with Simulator(Options(job_seconds=Span(0, 0), failures={"401": 1.0})) as simulator:
        report = await following().run(database, simulator.url)
        assert [] == simulator.questions
    assert StopReason.ACCOUNT is report.stop.reason
