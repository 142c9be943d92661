"""Drains whose own answers were lost, against the imitation's list of jobs."""

from dataclasses import replace

import pytest

from tests.parts import DRAIN, DRAIN_ALL, RUN_SETTINGS, Worker, add, row
from worker.core.evidence import PERSON
from worker.core.reasons import StopReason
from worker.core.run_state import Counts
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.simulator import Options, Simulator

SETTINGS = replace(RUN_SETTINGS, on_doubt="reconcile", doubt_settle_seconds=300.0)
LOST_FIRST = Options(script={1: "lost"})
NEVER_MADE = Options(script={1: "502"})
LATE_LIST = Options(script={1: "lost"}, list_delay_seconds=3_600)


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
async def test_a_drain_finds_what_it_lost(database: Database, options: RunOptions) -> None:
    """An accepted video whose answer was lost ends the run submitted, under its own job."""
    async with Simulator(LOST_FIRST) as simulator:
        await add(database, "https://example.org/a.mp4", "https://example.org/b.mp4")
        report = await Worker(options=options, settings=SETTINGS).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=2)) == (report.stop.reason, report.counts)
    jobs = {job.request_id: job.job_id for job in simulator.accepted}
    for video_id in (1, 2):
        stored = await row(database, video_id)
        assert jobs[str(stored["request_id"])] == stored["job_id"]


async def test_a_drain_that_does_not_wait_leaves_what_the_list_may_show_yet(
    database: Database,
) -> None:
    """A late list neither loses the video nor holds up a drain."""
    async with Simulator(LATE_LIST) as simulator:
        await add(database, "https://example.org/a.mp4")
        report = await Worker(settings=SETTINGS).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(in_doubt=1)) == (report.stop.reason, report.counts)
    error = str((await row(database, 1))["error"])
    assert "not in the API's list yet, which alone proves no absence: no video was acc" in error
    assert "counts as absent" not in error


async def test_a_drain_that_waits_waits_for_what_the_list_may_show_yet(database: Database) -> None:
    """``--wait`` stays while a late list may still settle the doubt that the run made."""
    options = replace(DRAIN_ALL, max_seconds=0.5)
    async with Simulator(LATE_LIST) as simulator:
        await add(database, "https://example.org/a.mp4")
        report = await Worker(options=options, settings=SETTINGS).run(database, simulator.url)
    assert (StopReason.TIME, Counts(in_doubt=1)) == (report.stop.reason, report.counts)


async def test_a_drain_that_waits_leaves_what_only_a_person_can_settle(database: Database) -> None:
    """``--wait`` ends beside a doubt that no list can settle, and reports it."""
    settings = replace(SETTINGS, on_doubt="reconcile", doubt_settle_seconds=0.0)
    async with Simulator(NEVER_MADE) as simulator:
        await add(database, "https://example.org/a.mp4")
        report = await Worker(options=DRAIN_ALL, settings=settings).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(in_doubt=1)) == (report.stop.reason, report.counts)
    assert str((await row(database, 1))["error"]).endswith(PERSON)
