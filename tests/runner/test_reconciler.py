import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from tests.conftest import START, Hands, open_database
from tests.parts import RUN_SETTINGS, Worker, add, facts, later, let_start, listener, row
from tests.store.test_doubts import doubt, tell
from tests.wire import Line, Wire, answer
from worker.api.client import Api
from worker.core import request
from worker.core.evidence import Absent, Found, Resolvable
from worker.core.job_list import Listing, Unlisted
from worker.core.model import Accepted, Fact, Video
from worker.core.request import Defaults
from worker.core.run_state import RunState
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.runner.reconciler import Reconciler, Write
from worker.runner.reporter import Reporter
from worker.runner.writer import Writer
from worker.simulator import Simulator
from worker.store import shared_state

T = TypeVar("T")

SETTINGS = replace(RUN_SETTINGS, on_doubt="reconcile", doubt_settle_seconds=300.0)


class Bench:
    """A reconciler on a database, with the times at which it asked for the list."""

    def __init__(self, database: Database, api: Api, hands: Hands, write: Write) -> None:
        worker = Worker(settings=SETTINGS, clock=hands.clock)
        log, self.said = listener()
        transaction = worker.transaction()
        self.database = database
        self.api = api
        self.hands = hands
        self.limiter = worker.limiter()
        self.news = asyncio.Event()
        self.reporter = Reporter(log)
        self.run = RunState(began_at=hands.seconds, reconciles=True)
        self.reconciler = Reconciler(
            api=api,
            limiter=self.limiter,
            write=write,
            transaction=transaction,
            state=self.run,
            reporter=self.reporter,
            news=self.news.set,
        )

    async def bought(self, number: int) -> str:
        """Make a job at the API with the identifier of that video, and return its id."""
        body = request.body(
            Video(url=f"https://example.org/{number}.mp4"), f"r-{number}", Defaults()
        )
        outcome = await self.api.new_job(body, lambda: None)
        assert isinstance(outcome, Accepted)
        return outcome.job_id

    async def accepted(self, number: int, begun: float, written: float) -> None:
        """Insert a video that was accepted."""
        job = await self.bought(number)
        known = {"state": "submitted", "claims": 1, "request_id": f"r-{number}", "job_id": job}
        await add(self.database, f"https://example.org/{number}.mp4", id=number, **known)
        await tell(
            self.database,
            number,
            Fact.ACCEPTED,
            written,
            started_at=later(START, begun),
            job_id=job,
        )

    def asked(self) -> int:
        """Return the number of lists that were read or failed."""
        return sum(1 for each in self.said if each["event"] == "list_read")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Let it ask by itself."""
        task = asyncio.create_task(self.reconciler.run())
        try:
            yield task
        finally:
            self.limiter.shut()
            task.cancel()
            await asyncio.wait([task])

    async def told(self) -> None:
        """Wait until it has asked once more."""
        await asyncio.wait_for(self.news.wait(), 5)
        self.news.clear()


@pytest.fixture
async def bench(database: Database, simulator: Simulator, hands: Hands) -> AsyncIterator[Bench]:
    """Return a reconciler in front of the simulator."""
    await let_start(database, START)
    async with Worker().api(simulator.url) as api:
        yield Bench(database, api, hands, database.write)


async def known(database: Database) -> shared_state.SharedState:
    """Return the shared state."""
    return await database.read(shared_state.read)


async def test_one_question_serves_all_doubts(bench: Bench, database: Database) -> None:
    """Each doubt of the moment gets its verdict from one list: found, absent, or nothing yet."""
    await bench.accepted(1, -20, -19)
    for number in (5, 6, 7):
        await doubt(database, number, 0, 60, media_id=f"r-{number}")
    job = await bench.bought(5)
    await bench.accepted(8, 61, 62)
    await doubt(database, 9, 70, 100)
    bench.hands.pass_seconds(360)
    done = await bench.reconciler.settle()
    assert done is not None
    assert [5, 6, 7, 9] == [each.doubt.video_id for each in done.judged]
    assert [Found(job), Absent(), Absent()] == [each.verdict for each in done.judged[:3]]
    states = [(await row(database, number))["state"] for number in (5, 6, 7, 9)]
    assert ["submitted", "pending", "pending", "in_doubt"] == states
    assert 1 == bench.asked()
    assert {9: Resolvable.TIME} == bench.run.resolvable
    account_now = await known(database)
    assert (bench.hands.wall,) * 2 == (account_now.list_asked_at, account_now.list_read_at)


async def test_a_dry_run_settles_nothing(bench: Bench, database: Database) -> None:
    """A dry run changes no video."""
    await doubt(database, 5, 0, 60, media_id="r-5")
    job = await bench.bought(5)
    bench.hands.pass_seconds(70)
    before = await row(database, 5)
    done = await bench.reconciler.examine()
    assert done is not None
    assert [Found(job)] == [each.verdict for each in done.judged]
    assert isinstance(done.shown, Listing)
    assert before == await row(database, 5)
    assert (await known(database)).list_read_at is None


async def test_it_is_asked_at_most_once_a_minute(bench: Bench, database: Database) -> None:
    """A doubt that nothing settles costs the API one question a minute, however often the
    reconciler is called. The next question comes when its minute does.
    """
    await doubt(database, 5, -1, 0)
    async with bench.running():
        await bench.told()
        for _ in range(20):
            bench.reconciler.called.set()
            await database.read(shared_state.read)
        assert 1 == bench.asked()
        bench.hands.pass_seconds(59.9)
        bench.reconciler.called.set()
        await database.read(shared_state.read)
        bench.hands.pass_seconds(0.1)
        bench.reconciler.called.set()
        await bench.told()
        assert 2 == bench.asked()


async def test_of_all_processes_one_asks(bench: Bench, database: Database, url: str) -> None:
    """All processes together ask once a minute, even if they see a doubt at the same time."""
    await doubt(database, 5, -1, 0)
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(open_database(url)) for _ in range(3)]
        benches = [Bench(each, bench.api, bench.hands, each.write) for each in others]
        done = await asyncio.gather(*(each.reconciler.settle(if_due=True) for each in benches))
    assert 1 == sum(1 for each in done if each is not None)


async def test_nothing_in_doubt_is_no_question(bench: Bench) -> None:
    """The list is not asked for while there is nothing to settle."""
    assert await bench.reconciler.next_at() is None
    assert await bench.reconciler.settle(if_due=True) is None
    assert 0 == bench.asked()


async def test_a_question_spends_a_start(bench: Bench, database: Database) -> None:
    """Law 10: a question for the list spends a start, and the next video waits for its turn."""
    await bench.reconciler.ask()
    assert START < (await known(database)).next_start_at


async def test_a_question_waits_for_a_cool_down(bench: Bench, database: Database) -> None:
    """Law 10: no list is asked for during a cool-down, nor after a stop."""
    until = later(START, 3600)
    await database.write(lambda c: shared_state.cool_down(c, until, "too fast", START), "test")
    asking = asyncio.create_task(bench.reconciler.settle())
    await asyncio.wait([asking], timeout=0.05)
    assert not asking.done()
    bench.limiter.shut()
    assert await asyncio.wait_for(asking, 5) is None
    assert 0 == bench.asked()
    assert (await known(database)).list_asked_at is None
    assert ["list_waited_for"] == [said["event"] for said in bench.said]


async def test_a_shut_gate_ends_it(bench: Bench, database: Database) -> None:
    """A stop ends the reconciler, whether it is about to ask or waits for its turn."""
    await doubt(database, 5, -1, 0)
    until = later(START, 3600)
    await database.write(lambda c: shared_state.cool_down(c, until, "too fast", START), "test")
    async with bench.running() as task:
        await asyncio.wait([task], timeout=0.05)
        bench.limiter.shut()
        await asyncio.wait_for(task, 5)
    assert 0 == bench.asked()
    await asyncio.wait_for(bench.reconciler.run(), 5)
    assert await bench.reconciler.settle() is None


async def test_what_somebody_else_settled_is_no_doubt_of_this_run(
    bench: Bench, database: Database
) -> None:
    """A drain that waits ends when a person has resolved its doubt."""
    await doubt(database, 5, -1, 0)
    await doubt(database, 6, -1, 0, state="failed")
    bench.run.doubts |= {5, 6}
    await bench.reconciler.settle()
    assert {5} == bench.run.doubts


async def test_a_list_that_cannot_be_had_is_told_on_the_row(
    database: Database, hands: Hands
) -> None:
    """Law 10: a cool-down that the API asks for instead of a list is in the shared state."""
    await let_start(database, START)
    await doubt(database, 5, -1, 0)
    errors = b'{"errors": [{"message": "later"}]}'
    said = answer(errors, "503 Service Unavailable", Retry_After="100")

    async def script(line: Line) -> None:
        await line.request()
        line.say(said.replace(b"Retry_After", b"Retry-After"))

    async with Wire(script) as wire, Worker().api(wire.url) as api:
        done = await Bench(database, api, hands, database.write).reconciler.settle()
    assert done is not None
    assert isinstance(done.shown, Unlisted)
    assert "; evidence: no list of jobs: HTTP 503: later" in str((await row(database, 5))["error"])
    assert later(START, 105) == (await known(database)).cool_down_until


class Failing:
    """A database that cannot be written, which counts the tries."""

    def __init__(self) -> None:
        self.tries = 0

    async def __call__(self, work: Callable[[Connection], T], purpose: str) -> T:
        """Fail."""
        self.tries += 1
        await asyncio.sleep(0)
        raise DatabaseProblem(f"the disk is full: {work} waits {purpose}")


async def test_a_broken_database_is_not_asked_in_a_circle(
    database: Database, simulator: Simulator, hands: Hands
) -> None:
    """After a database error, which it tells, the reconciler waits a second, however often it is
    called.
    """
    failing = Failing()
    async with Worker().api(simulator.url) as api:
        bench = Bench(database, api, hands, failing)
        async with bench.running() as task:
            for _ in range(50):
                bench.reconciler.called.set()
                await asyncio.wait([task], timeout=0.002)
            assert 1 == failing.tries
            assert ["database_trouble"] == [each["event"] for each in bench.said]
            bench.limiter.shut()
            await asyncio.wait_for(task, 5)


async def test_a_cancelled_reconciler_loses_nothing(
    database: Database, simulator: Simulator, hands: Hands
) -> None:
    """A cancelled reconciler leaves every verdict whole: the proven ones are on disk, and the
    writer goes on.
    """
    await let_start(database, START)
    async with Worker().api(simulator.url) as api:
        worker = Worker(settings=SETTINGS, clock=hands.clock)
        reporter = Reporter(listener()[0])
        run = RunState(began_at=hands.seconds)
        writer = Writer(database, worker.transaction(), run, reporter)
        writing = asyncio.create_task(writer.run())
        reached = asyncio.Event()

        async def write(work: Callable[[Connection], T], purpose: str) -> T:
            if purpose == "to settle doubts":
                asking = writer.enqueue(work, purpose)
                await asyncio.sleep(0)
                reached.set()
                return await asking
            return await writer.enqueue(work, purpose)

        bench = Bench(database, api, hands, write)
        await doubt(database, 5, -1, 0, media_id="r-5")
        job = await bench.bought(5)
        hands.pass_seconds(10)
        settling = asyncio.create_task(bench.reconciler.settle())
        await asyncio.wait_for(reached.wait(), 5)
        settling.cancel()
        await asyncio.wait([settling])
        assert settling.cancelled()
        assert later(START, 10) == (await writer.enqueue(shared_state.read, "test")).list_read_at
        writer.close()
        await writing
    assert job == (await row(database, 5))["job_id"]
    assert [(1, "in_doubt"), (1, "found")] == await facts(database, 5)


async def test_a_job_that_waits_can_be_cancelled(bench: Bench, database: Database) -> None:
    """A second job of a video is taken back at the shared pace."""
    job = await bench.bought(5)
    assert await bench.reconciler.cancel(job) is None
    assert START < (await known(database)).next_start_at
    bench.limiter.shut()
    assert "stopped before it was asked" == await bench.reconciler.cancel(job)
