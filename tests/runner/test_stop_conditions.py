from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.conftest import START, Hands
from tests.parts import DAEMON, DRAIN, DRAIN_ALL, RUN_TERMS, Worker, add, later, let_start, row
from tests.runner.test_reconciler import Bench
from tests.store.test_doubts import accept, doubt
from worker.core.evidence import Resolvable
from worker.db.database import Database, DatabaseProblem, Unreachable
from worker.runner.attempts import Attempts
from worker.runner.orders import Counts, RunOptions, StopReason
from worker.runner.stop_conditions import PATIENCE_SECONDS, Closing
from worker.runner.terms import ClaimResult, WaitReason
from worker.runner.writer import Writer
from worker.simulator import Options, Simulator

TERMS = replace(RUN_TERMS, absent_after=300.0)
OVERDUE = ClaimResult(why=WaitReason.LIST, until=START)
EMPTY = (StopReason.EMPTY, "")


@pytest.fixture
async def bench(database: Database, simulator: Simulator, hands: Hands) -> AsyncIterator[Bench]:
    """What settles doubts, and what people get to know of it."""
    await let_start(database, START)
    async with Worker().api(simulator.url) as api:
        yield Bench(database, api, hands, database.write)


def closing(bench: Bench, options: RunOptions, *, reconciles: bool = True) -> Closing:
    """The end of a run under these orders."""
    transaction = Worker(terms=TERMS, clock=bench.hands.clock).transaction()
    attempts = Attempts(
        api=bench.api,
        limiter=bench.limiter,
        writer=Writer(bench.database, transaction, bench.reporter),
        options=options,
        transaction=transaction,
        reporter=bench.reporter,
        ended=bench.news.set,
    )
    return Closing(
        options=options,
        clock=bench.hands.clock,
        limiter=bench.limiter,
        attempts=attempts,
        reconciler=bench.reconciler if reconciles else None,
        reporter=bench.reporter,
    )


def awaited(bench: Bench) -> ClaimResult:
    """A list that is worth asking for in a minute."""
    return ClaimResult(why=WaitReason.LIST, until=later(bench.hands.wall, 60))


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL, DAEMON])
async def test_a_queue_that_has_moved_ends_every_run(bench: Bench, options: RunOptions) -> None:
    """A daemon would wait for ever where nothing comes any more, beside what it has in flight."""
    turn = ClaimResult(why=WaitReason.MOVED, detail="sqlite:///b.db")
    assert (StopReason.MOVED, "sqlite:///b.db") == closing(bench, options).ended(turn)


async def test_a_drain_leaves_young_doubts(bench: Bench) -> None:
    """A cron job ends, and the doubts that it made are left for the next one."""
    bench.reporter.doubts.add(5)
    assert EMPTY == closing(bench, DRAIN).ended(awaited(bench))


async def test_a_drain_that_waits_does_so_for_its_own_young_doubts(bench: Bench) -> None:
    """``--wait`` ends with every video settled that time alone can settle, and does not stay for
    the doubts of others.
    """
    ending = closing(bench, DRAIN_ALL)
    assert EMPTY == ending.ended(awaited(bench))
    bench.reporter.doubts.add(5)
    assert ending.ended(awaited(bench)) is None
    assert EMPTY == closing(bench, DRAIN_ALL, reconciles=False).ended(awaited(bench))


async def test_a_drain_that_waits_does_not_wait_for_a_person(
    bench: Bench, database: Database
) -> None:
    """What the list has shown to be a person's business, or the next acceptance's, ends the wait,
    and the report says which.
    """
    await accept(database, 1, -20, -19)
    await doubt(database, 5, -1, 0)
    await doubt(database, 6, -1, 0)
    await database.write(
        lambda c: c.exec_driver_sql("UPDATE history SET started_at = NULL WHERE video_id = 6"),
        "test",
    )
    bench.reporter.doubts |= {5, 6}
    ending = closing(bench, DRAIN_ALL)
    assert ending.ended(awaited(bench)) is None
    bench.hands.pass_seconds(300)
    await bench.reconciler.settle()
    assert [Resolvable.NEWS, Resolvable.NONE] == [bench.reconciler.hope(video) for video in (5, 6)]
    assert EMPTY == ending.ended(awaited(bench))
    assert frozenset({6}) == ending.needs_person()


async def test_a_drain_is_patient_while_the_list_is_asked_for(bench: Bench) -> None:
    """A drain has the list asked for once before it leaves its doubts, but does not hang on it."""
    ending = closing(bench, DRAIN)
    assert ending.ended(OVERDUE) is None
    bench.hands.pass_seconds(PATIENCE_SECONDS - 0.1)
    assert ending.ended(OVERDUE) is None
    bench.hands.pass_seconds(0.1)
    assert EMPTY == ending.ended(OVERDUE)


async def test_patience_begins_anew_with_each_question(bench: Bench) -> None:
    """A second look at the list gets as long as the first."""
    ending = closing(bench, DRAIN)
    assert ending.ended(OVERDUE) is None
    bench.hands.pass_seconds(PATIENCE_SECONDS)
    assert EMPTY == ending.ended(awaited(bench))
    assert ending.ended(ClaimResult(why=WaitReason.LIST, until=bench.hands.wall)) is None


async def test_patience_begins_anew_also_after_another_reason(bench: Bench) -> None:
    """A drain that waits for a backoff ends an hour after its first look at the list."""
    ending = closing(bench, DRAIN_ALL)
    assert ending.ended(OVERDUE) is None
    bench.hands.pass_seconds(DRAIN_ALL.retry_after_max_seconds)
    assert (
        ending.ended(ClaimResult(why=WaitReason.LATER, until=later(bench.hands.wall, 60))) is None
    )
    assert ending.ended(ClaimResult(why=WaitReason.LIST, until=bench.hands.wall)) is None


async def test_rows_that_another_program_holds_are_waited_for_a_while(bench: Bench) -> None:
    """An UPDATE of plain SQL ends no drain, and a session that somebody forgot does."""
    ending, held = closing(bench, DRAIN), ClaimResult(why=WaitReason.HELD, until=START)
    assert ending.ended(held) is None
    bench.hands.pass_seconds(PATIENCE_SECONDS - 0.1)
    assert ending.ended(held) is None
    bench.hands.pass_seconds(0.1)
    assert EMPTY == ending.ended(held)
    assert closing(bench, DRAIN).ended(ClaimResult(why=WaitReason.LATER)) == EMPTY
    assert ending.ended(ClaimResult(why=WaitReason.PACE)) is None
    assert ending.ended(held) is None


@pytest.mark.parametrize("options", [DAEMON, DRAIN])
async def test_what_is_in_flight_comes_first(bench: Bench, options: RunOptions) -> None:
    """Nothing ends while requests are under way, and a daemon not at all."""
    bench.limiter.take(1)
    assert closing(bench, options).ended(awaited(bench)) is None
    bench.limiter.give_back()
    ended = closing(bench, options).ended(awaited(bench))
    assert (None if options is DAEMON else EMPTY) == ended


async def test_without_the_list_every_doubt_is_for_a_person(bench: Bench) -> None:
    """With ``on_doubt = hold`` nothing but a person settles a doubt, and the exit code says so."""
    bench.reporter.doubts |= {5, 6}
    assert frozenset({5, 6}) == closing(bench, DRAIN, reconciles=False).needs_person()
    assert frozenset() == closing(bench, DRAIN).needs_person()


LOST_FIRST = Options(script={1: "lost"})
NEVER_MADE = Options(script={1: "502"})
LATE_LIST = Options(script={1: "lost"}, list_delay_seconds=3_600)


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
async def test_a_drain_finds_what_it_lost(database: Database, options: RunOptions) -> None:
    """An accepted video whose answer was lost ends the run submitted, under its own job."""
    async with Simulator(LOST_FIRST) as simulator:
        await add(database, "https://example.org/a.mp4", "https://example.org/b.mp4")
        report = await Worker(options=options, terms=TERMS).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(submitted=2)) == (report.end, report.counts)
    jobs = {job.request_id: job.job_id for job in simulator.accepted}
    for video_id in (1, 2):
        stored = await row(database, video_id)
        assert jobs[str(stored["request_id"])] == stored["job_id"]
    assert frozenset() == report.needs_person


async def test_a_drain_that_does_not_wait_leaves_what_the_list_may_show_yet(
    database: Database,
) -> None:
    """A late list neither loses the video nor holds up a drain."""
    async with Simulator(LATE_LIST) as simulator:
        await add(database, "https://example.org/a.mp4")
        report = await Worker(terms=TERMS).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(in_doubt=1)) == (report.end, report.counts)
    assert frozenset() == report.needs_person
    assert "it counts as absent from" in str((await row(database, 1))["error"])


async def test_a_drain_that_waits_waits_for_what_the_list_may_show_yet(database: Database) -> None:
    """``--wait`` stays while a late list may still settle the doubt that the run made."""
    options = replace(DRAIN_ALL, max_seconds=0.5)
    async with Simulator(LATE_LIST) as simulator:
        await add(database, "https://example.org/a.mp4")
        report = await Worker(options=options, terms=TERMS).run(database, simulator.url)
    assert (StopReason.TIME, Counts(in_doubt=1)) == (report.end, report.counts)


async def test_a_drain_that_waits_leaves_what_only_a_person_can_settle(database: Database) -> None:
    """A doubt that no list can settle does not keep ``--wait`` waiting, and is reported."""
    terms = replace(TERMS, absent_after=0.0)
    async with Simulator(NEVER_MADE) as simulator:
        await add(database, "https://example.org/a.mp4")
        report = await Worker(options=DRAIN_ALL, terms=terms).run(database, simulator.url)
    assert (StopReason.EMPTY, Counts(in_doubt=1)) == (report.end, report.counts)
    assert frozenset({1}) == report.needs_person


async def test_a_drain_sits_out_a_lost_database_for_a_minute(bench: Bench) -> None:
    """A restart of the server ends every drain, or one that does not come back hangs them."""
    gone, broken = Unreachable("gone"), DatabaseProblem("broken")
    ending = closing(bench, DRAIN)
    assert (StopReason.DATABASE, "broken") == ending.lost(broken)
    assert ending.lost(gone) is None
    bench.hands.pass_seconds(PATIENCE_SECONDS - 1)
    assert ending.lost(gone) is None
    bench.hands.pass_seconds(1)
    assert (StopReason.DATABASE, "gone") == ending.lost(gone)
    ending.found()
    assert ending.lost(gone) is None


async def test_a_daemon_waits_for_its_database(bench: Bench) -> None:
    """A daemon ends with a disk that is full for an hour."""
    ending = closing(bench, DAEMON)
    assert ending.lost(DatabaseProblem("full")) is None
    bench.hands.pass_seconds(10 * PATIENCE_SECONDS)
    assert ending.lost(Unreachable("gone")) is None


CAPPED = "max_per_day = 3 is reached"


def capped(seconds: float | None = None, *, submitting: int = 0) -> ClaimResult:
    """A cap that opens after that many seconds."""
    until = None if seconds is None else later(START, seconds)
    return ClaimResult(why=WaitReason.CAP, until=until, detail=CAPPED, submitting=submitting)


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
async def test_a_cap_that_no_time_opens_ends_a_drain(bench: Bench, options: RunOptions) -> None:
    """A drain waits for a person, with or without ``--wait``."""
    assert (StopReason.CAP, CAPPED) == closing(bench, options).ended(capped())


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
@pytest.mark.parametrize("seconds", [None, 10, 86_400])
async def test_what_is_submitting_is_waited_for(
    bench: Bench, options: RunOptions, seconds: float | None
) -> None:
    """A drain ends for a cap although a refusal of another process may make room yet."""
    assert closing(bench, options).ended(capped(seconds, submitting=1)) is None


@pytest.mark.parametrize(
    ("options", "longest"),
    [(DRAIN, PATIENCE_SECONDS), (DRAIN_ALL, DRAIN_ALL.retry_after_max_seconds)],
)
async def test_a_cap_that_opens_soon_is_sat_out(
    bench: Bench, options: RunOptions, longest: float
) -> None:
    """A drain ends just before there is room again, or waits for a day."""
    ending = closing(bench, options)
    assert ending.ended(capped(longest)) is None
    assert (StopReason.CAP, CAPPED) == ending.ended(capped(longest + 0.001))


async def test_a_daemon_waits_for_a_cap_to_open(bench: Bench) -> None:
    """A daemon ends at its first full cap."""
    assert closing(bench, DAEMON).ended(capped()) is None
