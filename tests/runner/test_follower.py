"""Following jobs against the imitation, in virtual time: the test moves both clocks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import count, pairwise
from typing import TypeVar

import pytest
from sqlalchemy import Connection, insert, select, update

from tests.conftest import START, Hands
from tests.parts import RUN_SETTINGS, Worker, facts, later, let_start, row
from tests.parts import listener as listen
from tests.store.test_doubts import doubt
from tests.wire import Line, Wire
from worker.core import request
from worker.core.following import BEFORE_ALL
from worker.core.job_list import Listing, Unlisted, listing_of
from worker.core.model import Accepted, Fact, Video
from worker.core.request import Defaults
from worker.core.run_state import RunState
from worker.db.database import Database
from worker.db.schema import account, jobs, videos
from worker.log import Event
from worker.runner.follower import AT_ONCE, Asked, Follower
from worker.runner.reconciler import Learn, Reconciler
from worker.runner.reporter import Reporter
from worker.simulator import Options, Simulator
from worker.simulator.lives import Span
from worker.store import jobs as store
from worker.store import shared_state

T = TypeVar("T")

SETTINGS = replace(RUN_SETTINGS, rate=5, period_seconds=1.0, on_doubt="reconcile")
MINUTE = Options(job_seconds=Span(60, 60), poll_seconds=30)
HOUR = 3600.0


class Bench:
    """A follower in front of an API; ``told`` are the changes that it wrote."""

    def __init__(self, database: Database, api: Simulator, hands: Hands, worker: Worker) -> None:
        self.database, self.simulator, self.hands, self.worker = database, api, hands, worker
        self.told: list[tuple[str, Fact, str | None]] = []
        self._ids = count(1)

    @asynccontextmanager
    async def follower(self) -> AsyncIterator[Follower]:
        """Yield the follower."""
        async with self.worker.api(self.simulator.url) as api:
            reconciler = Reconciler(
                api=api,
                limiter=self.worker.limiter(),
                write=self.database.write,
                transaction=self.worker.transaction(),
                state=RunState(began_at=self.hands.seconds, reconciles=True),
                reporter=Reporter(listen()[0]),
            )
            told = self.told.append
            yield Follower(reconciler, lambda each: told((each[0].job_id, each[1], each[2])))

    async def bought(self, *urls: str) -> list[str]:
        """Buy videos as a run does: the job's row is written by the database itself."""
        made, rows = [], []
        async with self.worker.api(self.simulator.url) as api:
            for url in urls:
                name = f"r-{next(self._ids)}"
                outcome = await api.new_job(
                    request.body(Video(url=url), name, Defaults()), lambda: None
                )
                assert isinstance(outcome, Accepted)
                made.append(outcome.job_id)
                known = {"state": "submitted", "claims": 1, "submitted_at": self.hands.wall}
                rows.append({"url": url, "request_id": name, "job_id": outcome.job_id, **known})
        await self.database.write(lambda c: c.execute(insert(videos), rows), "test")
        first = later(self.hands.wall, 60)
        plan = update(jobs).where(jobs.c.job_id.in_(made)).values(next_poll_at=first)
        await self.database.write(lambda c: c.execute(plan), "test")
        return made

    async def ask(self) -> tuple[Asked, datetime]:
        """Ask once."""
        async with self.follower() as follower:
            return await follower.ask()

    async def pass_time(self, seconds: float, asked: list[Asked] | None = None) -> list[Asked]:
        """Let it ask whenever it says, for so long; return the answers."""
        end, said = later(self.hands.wall, seconds), [] if asked is None else asked
        async with self.follower() as follower:
            while self.hands.wall < end:
                found, again_at = await follower.ask()
                if found is not None:
                    said.append(found)
                again_at = max(again_at, later(self.hands.wall, 0.001))
                self.hands.pass_seconds((min(end, again_at) - self.hands.wall).total_seconds())
        return said

    async def job(self, job_id: str) -> dict[str, object]:
        """Return the row of a job."""
        sought = select(jobs).where(jobs.c.job_id == job_id)
        found = await self.database.read(lambda c: c.execute(sought).mappings().one())
        return dict(found)

    async def known(self, **columns: object) -> None:
        """Write the account."""
        await self.database.write(lambda c: c.execute(update(account).values(columns)), "test")

    def asked(self, call: str) -> int:
        """Return how often the API was asked that."""
        return sum(each.call == call for each in self.simulator.questions)


@pytest.fixture
def made(database: Database, hands: Hands) -> "Make":
    """Return a maker of benches."""

    @asynccontextmanager
    async def make(options: Options = MINUTE, **settings: object) -> AsyncIterator[Bench]:
        await let_start(database, START)
        changed = replace(SETTINGS, **settings)  # type: ignore[arg-type]
        worker = Worker(settings=changed, clock=hands.clock)
        async with Simulator(options, lambda: hands.wall.timestamp() + 0.0) as simulator:
            yield Bench(database, simulator, hands, worker)

    return make


Make = Callable[..., AbstractAsyncContextManager[Bench]]


async def test_one_job_is_followed_to_its_end(made: Make, database: Database) -> None:
    """A job is asked about at the time that jobs take, then by the API's hint, until it ends."""
    async with made(Options(job_seconds=Span(100, 100), poll_seconds=20)) as bench:
        (job,) = await bench.bought("https://a.example/1.mp4")
        await bench.pass_time(300)
        asked = [each.at - START.timestamp() for each in bench.simulator.questions]
        found = await bench.job(job)
    assert [60.0, 80.0, 100.0] == [round(at) for at in asked]
    assert ["job_status"] * 3 == [each.call for each in bench.simulator.questions]
    assert ("finished", "finished", 3, "a.example") == tuple(
        found[name] for name in ("status", "ended_as", "polls", "host")
    )
    assert [Fact.JOB_STATUS, Fact.JOB_FINISHED] == [fact for _, fact, _ in bench.told]
    assert [(1, "job_status"), (1, "job_finished")] == await facts(database, 1)


async def test_one_list_answers_for_all(made: Make) -> None:
    """Where the list shows statuses, a hundred jobs take a handful of questions."""
    async with made() as bench:
        await bench.bought(*(f"https://a.example/{n}.mp4" for n in range(100)))
        await bench.pass_time(200)
        counts = await bench.database.read(store.counts)
        known = await bench.database.read(store.asking)
    assert (0, {"finished": 100}) == (counts.open, counts.ended)
    assert 0 == bench.asked("job_status")
    assert bench.asked("list_jobs") <= 3
    assert 1 == known.list_shows_status
    assert 54.0 <= known.job_seconds <= 90.0


async def test_a_list_without_statuses_is_not_relied_on(made: Make) -> None:
    """If the list shows no status, each job is asked about, and the list once an hour."""
    async with made(replace(MINUTE, listing=["no-status"])) as bench:
        await bench.bought(*(f"https://a.example/{n}.mp4" for n in range(20)))
        await bench.pass_time(600)
        counts = await bench.database.read(store.counts)
    assert {"finished": 20} == counts.ended
    assert (1, 20) == (bench.asked("list_jobs"), bench.asked("job_status"))


async def test_the_error_of_a_list_is_asked_about_for_its_details(made: Make) -> None:
    """A failed download is known with its details and its host, after one more question."""
    options = replace(MINUTE, dead_hosts=frozenset({"dead.example"}))
    async with made(options) as bench:
        dead, fine = await bench.bought("https://dead.example/1.mp4", "https://a.example/2.mp4")
        await bench.pass_time(200)
        found = await bench.job(dead)
    assert 1 == bench.asked("job_status")
    assert ("error", "error", "dead.example") == tuple(
        found[name] for name in ("ended_as", "transfer_status", "host")
    )
    assert found["details"]
    told = {job: (fact, message) for job, fact, message in bench.told}
    assert {dead: (Fact.JOB_ERROR, found["details"]), fine: (Fact.JOB_FINISHED, None)} == told


async def test_errors_of_a_list_end_where_questions_are_rare(made: Make) -> None:
    """One question in five minutes, as of drains: lists and errors take turns, and all end."""
    options = replace(MINUTE, dead_hosts=frozenset({"dead.example"}))
    async with made(options) as bench:
        await bench.bought(*(f"https://dead.example/{n}.mp4" for n in range(3)))
        for _ in range(6):
            bench.hands.pass_seconds(300)
            await bench.ask()
        counts = await bench.database.read(store.counts)
        held = await bench.database.read(lambda c: c.scalar(select(account.c.held_hosts)))
    assert ({"error": 3}, 1) == (counts.ended, held)
    assert (2, 3) == (bench.asked("list_jobs"), bench.asked("job_status"))


async def test_errors_of_a_list_end_though_lists_are_slow(made: Make) -> None:
    """Where it is time for a list whenever a question is asked, errors end all the same."""
    options = replace(MINUTE, dead_hosts=frozenset({"dead.example"}))
    async with made(options) as bench:
        await bench.bought(*(f"https://dead.example/{n}.mp4" for n in range(9)))
        bench.hands.pass_seconds(60)
        for _ in range(10):
            said, again_at = await bench.ask()
            rest = 31 if isinstance(said, Listing) else 1.1
            at = max(again_at, later(bench.hands.wall, rest))
            bench.hands.pass_seconds((at - bench.hands.wall).total_seconds())
        counts = await bench.database.read(store.counts)
    assert {"error": 9} == counts.ended


async def test_some_failures_among_many_hold_no_host(made: Make) -> None:
    """One list ends the jobs of a host; its errors, known a little later, were not the last."""
    script = dict.fromkeys((5, 10, 15), "transfer-error")
    async with made(replace(MINUTE, job_script=script)) as bench:
        for number in range(50):
            await bench.bought(f"https://a.example/{number}.mp4")
            bench.hands.pass_seconds(0.1)
        bench.hands.pass_seconds(100)
        await bench.pass_time(300)
        counts = await bench.database.read(store.counts)
        held = await bench.database.read(lambda c: c.scalar(select(account.c.held_hosts)))
    assert ({"finished": 47, "error": 3}, 0) == (counts.ended, held)


async def test_an_upgrade_holds_no_host(made: Make) -> None:
    """Jobs from before an upgrade that ended in error say nothing about their host of today."""
    options = replace(MINUTE, dead_hosts=frozenset({"dead.example"}))
    async with made(options) as bench:
        await bench.bought(*(f"https://dead.example/{n}.mp4" for n in range(5)))
        plan = update(jobs).values(next_poll_at=None)
        await bench.database.write(lambda c: c.execute(plan), "test")
        bench.hands.pass_seconds(600)
        await bench.pass_time(300)
        counts = await bench.database.read(store.counts)
        held = await bench.database.read(lambda c: c.scalar(select(account.c.held_hosts)))
    assert ({"error": 5}, 0) == (counts.ended, held)


async def test_a_job_without_answers_is_overdue_too(made: Make) -> None:
    """A job whose questions fail needs a person at its time, and is asked about hourly then."""
    async with made(replace(MINUTE, status_failures={"500": 1.0})) as bench:
        (job,) = await bench.bought("https://a.example/1.mp4")
        await bench.known(job_seconds_most=60.0)
        await bench.pass_time(HOUR + 300)
        found, before = await bench.job(job), bench.asked("job_status")
        await bench.pass_time(4 * HOUR)
    assert found["overdue_since"] is not None
    assert 3 <= bench.asked("job_status") - before <= 5


async def test_a_job_that_was_called_for_comes_before_the_list(made: Make) -> None:
    """A callback is a question about its job, at the next start of a question."""
    async with made() as bench:
        ids = await bench.bought(*(f"https://a.example/{n}.mp4" for n in range(3)))
        await bench.known(jobs_listed_at=START, list_shows_status=1)
        bench.hands.pass_seconds(100)
        await bench.database.write(lambda c: store.hasten(c, {3}, bench.hands.wall), "test")
        await bench.ask()
        found = await bench.job(ids[2])
    assert (["job_status"], "finished") == (
        [each.call for each in bench.simulator.questions],
        found["ended_as"],
    )


async def test_a_job_that_is_called_for_while_it_is_asked_about_is_asked_about_again(
    made: Make,
) -> None:
    """A callback may say what the answer that is under way does not."""
    async with made(replace(MINUTE, job_script={1: "forever"})) as bench:
        (job,) = await bench.bought("https://a.example/1.mp4")
        bench.hands.pass_seconds(100)
        async with bench.follower() as follower:
            hear = follower.reconciler.write

            async def called(work: Callable[[Connection], T], purpose: str) -> T:
                if purpose == "to follow a job":
                    await hear(lambda c: store.hasten(c, {1}, bench.hands.wall), "test")
                return await hear(work, purpose)

            reconciler = replace(follower.reconciler, write=called)
            await replace(follower, reconciler=reconciler).ask()
        found = await bench.job(job)
    assert (None, BEFORE_ALL) == (found["ended_as"], found["next_poll_at"])


async def test_three_failed_downloads_hold_their_host(made: Make) -> None:
    """Each end is judged in the transaction that writes it."""
    options = replace(MINUTE, dead_hosts=frozenset({"dead.example"}))
    async with made(options) as bench:
        await bench.bought(*(f"https://dead.example/{n}.mp4" for n in range(3)))
        await bench.pass_time(300)
        held = await bench.database.read(lambda c: c.scalar(select(account.c.held_hosts)))
    assert 1 == held


@pytest.mark.parametrize("kind", ["unknown", "on-hold", "unknown-end"])
async def test_what_nobody_knows_is_followed_on(made: Make, kind: str) -> None:
    """Law 15: no end is believed before the API says one that is documented."""
    options = Options(job_seconds=Span(600, 600), job_script={1: kind, 2: kind}, poll_seconds=None)
    async with made(options) as bench:
        ids = await bench.bought("https://a.example/1.mp4", "https://a.example/2.mp4")
        await bench.pass_time(550)
        assert [None, None] == [(await bench.job(each))["ended_as"] for each in ids]
        await bench.pass_time(600)
        rows = [await bench.job(each) for each in ids]
    expected = None if kind == "unknown-end" else "finished"
    assert [expected] * 2 == [each["ended_as"] for each in rows]
    assert {each["status"] for each in rows} >= {"finished"} or kind == "unknown-end"


async def test_a_job_is_gone_an_hour_after_its_first_404(made: Make) -> None:
    """Gone: 404, and again an hour later, and a whole list shows its neighbours, not it."""
    options = Options(
        job_seconds=Span(120, 120), job_script={2: "gone", 3: "forever"}, listing=["no-status"]
    )
    async with made(options) as bench:
        ids = []
        for number in range(3):
            ids += await bench.bought(f"https://a.example/{number}.mp4")
            bench.hands.pass_seconds(1)
        await bench.pass_time(HOUR)
        assert (await bench.job(ids[1]))["missing_since"] is not None
        assert (await bench.job(ids[1]))["ended_as"] is None
        await bench.pass_time(2 * HOUR)
        rows = [await bench.job(each) for each in ids]
    assert ["finished", "gone", None] == [each["ended_as"] for each in rows]
    assert (ids[1], Fact.JOB_GONE, None) in bench.told


@pytest.mark.parametrize("fault", ["", "paged", "nameless", "shown"])
async def test_a_list_that_may_be_a_part_proves_no_job_gone(made: Make, fault: str) -> None:
    """A list that is paged, or shows a job without an id, proves nothing of what it hides."""
    async with made() as bench:
        ids = []
        for number in range(3):
            ids += await bench.bought(f"https://a.example/{number}.mp4")
            bench.hands.pass_seconds(1)
        bench.hands.pass_seconds(HOUR)
        twice = {"missing_since": START, "polled_at": bench.hands.wall}
        lost = update(jobs).where(jobs.c.job_id == ids[1]).values(twice)
        await bench.database.write(lambda c: c.execute(lost), "test")
        shown = ids if fault == "shown" else [ids[0], ids[2]]
        listed = [{"job_id": each} for each in shown]
        listed += [{"media": "x"}] if fault == "nameless" else []
        document = {"jobs": listed} | ({"next": "more"} if fault == "paged" else {})
        async with bench.follower() as follower:
            await follower.learn(listing_of(document), bench.hands.wall)
        assert (None if fault else "gone") == (await bench.job(ids[1]))["ended_as"]


@pytest.mark.parametrize(
    ("hours", "overdue", "end"),
    [(72, True, "finished"), (5, False, "finished"), (0.4, False, None), (5, True, None)],
)
async def test_a_job_that_a_clock_ahead_has_planned_is_followed(
    made: Make,
    hours: float,
    overdue: bool,  # noqa: FBT001
    end: str | None,
) -> None:
    """A question that is planned farther ahead than any schedule goes is asked at the next look."""
    async with made() as bench:
        (job,) = await bench.bought("https://a.example/1.mp4")
        planned = {"next_poll_at": later(bench.hands.wall, hours * HOUR)}
        late = {"overdue_since": bench.hands.wall} if overdue else {}
        plan = update(jobs).values(planned | late)
        await bench.database.write(lambda c: c.execute(plan), "test")
        await bench.pass_time(300)
        assert end == (await bench.job(job))["ended_as"]


async def test_the_last_job_is_not_gone(made: Make) -> None:
    """A job without a later neighbour in the list may only be late in it."""
    options = Options(job_seconds=Span(120, 120), job_script={2: "gone"})
    async with made(options) as bench:
        ids = []
        for number in range(2):
            ids += await bench.bought(f"https://a.example/{number}.mp4")
            bench.hands.pass_seconds(1)
        await bench.pass_time(3 * HOUR)
        found = await bench.job(ids[1])
    assert found["ended_as"] is None
    assert found["missing_since"] is not None


async def test_what_lasts_too_long_needs_a_person_and_is_asked_about_hourly(made: Make) -> None:
    """A job beyond five times the 95th percentile is counted, and asked about once an hour."""
    options = Options(job_seconds=Span(60, 60), job_script={2: "forever"}, listing=["no-status"])
    async with made(options) as bench:
        ids = await bench.bought("https://a.example/1.mp4", "https://a.example/2.mp4")
        await bench.pass_time(2 * HOUR)
        counts = await bench.database.read(store.counts)
        before = bench.asked("job_status")
        await bench.pass_time(4 * HOUR)
    assert (1, 1) == (counts.open, counts.overdue)
    assert 3 <= bench.asked("job_status") - before <= 5
    assert (await bench.job(ids[1]))["overdue_since"] is not None


async def test_questions_keep_to_their_budget(made: Make) -> None:
    """At most a fifth of the rate: with 5 starts a second, one question each 1.02 s."""
    async with made(replace(MINUTE, listing=["no-status"])) as bench:
        await bench.bought(*(f"https://a.example/{n}.mp4" for n in range(50)))
        await bench.pass_time(90)
        times = [each.at for each in bench.simulator.questions]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 1.0
    assert len(times) >= 25


async def test_slow_starts_leave_a_question_in_half_a_minute(made: Make) -> None:
    """With a start each minute, a question each half minute is allowed."""
    slow = {"rate": 1, "period_seconds": 60.0}
    async with made(replace(MINUTE, listing=["no-status"]), **slow) as bench:
        await bench.bought(*(f"https://a.example/{n}.mp4" for n in range(9)))
        await bench.pass_time(240)
        times = [each.at for each in bench.simulator.questions]
    assert {30} == {round(b - a) for a, b in pairwise(times)}


async def test_a_question_spends_no_start(made: Make) -> None:
    """The pace of the sends is the same after a question as before."""
    async with made() as bench:
        await bench.bought(*(f"https://a.example/{n}.mp4" for n in range(3)))
        before = await bench.database.read(shared_state.read)
        await bench.pass_time(90)
        after = await bench.database.read(shared_state.read)
    assert bench.simulator.questions
    assert before.next_start_at == after.next_start_at
    assert after.cool_down_until is None


@pytest.mark.parametrize("kind", ["429", "retry-after-503"])
async def test_a_question_that_is_throttled_holds_everybody(made: Make, kind: str) -> None:
    """A 429 or a Retry-After of a question is a cool-down of all; it says nothing of the job."""
    async with made(replace(MINUTE, status_failures={kind: 1.0})) as bench:
        (job,) = await bench.bought("https://a.example/1.mp4")
        bench.hands.pass_seconds(60)
        await bench.ask()
        shared = await bench.database.read(shared_state.read)
        found = await bench.job(job)
        assert shared.cool_down_until is not None
        assert shared.cool_down_until > bench.hands.wall
        assert (None, 1, 1) == (found["status"], found["polls"], found["poll_errors"])
        said, again_at = await bench.ask()
        assert (None, True) == (said, again_at >= shared.cool_down_until)


async def test_a_cool_down_holds_questions_and_a_pause_does_not(made: Make) -> None:
    """While the API asked for quiet nothing is asked; a person's pause is of the sends alone."""
    async with made() as bench:
        await bench.bought("https://a.example/1.mp4")
        await bench.known(paused_at=START, cool_down_until=later(START, 100), written_at=START)
        await bench.pass_time(99)
        assert [] == bench.simulator.questions
        await bench.pass_time(30)
    assert 1 == len(bench.simulator.questions)


async def test_a_queue_that_has_moved_is_followed_elsewhere(made: Make) -> None:
    """Nothing is asked for a queue that is worked on in another database."""
    async with made() as bench:
        await bench.bought("https://a.example/1.mp4")
        await bench.known(moved_to="there")
        await bench.pass_time(200)
    assert [] == bench.simulator.questions


STATUS_TROUBLES = (
    *("500", "401", "proxy-404", "proxy-200", "not-json", "no-status", "cut", "reset", "wrong-id"),
)


@pytest.mark.parametrize("kind", [*STATUS_TROUBLES, "echo-key"])
async def test_a_failed_question_says_nothing_about_the_job(made: Make, kind: str) -> None:
    """Law 15: no trouble of a question moves a job, and no text of it holds the key."""
    async with made(replace(MINUTE, status_failures={kind: 1.0})) as bench:
        (job,) = await bench.bought("https://a.example/1.mp4")
        said = await bench.pass_time(600)
        found = await bench.job(job)
    assert 3 <= len(said) <= 6
    assert (None, None, None) == (found["status"], found["ended_as"], found["missing_since"])
    assert [] == bench.told
    assert bench.worker.key not in repr(said)


async def test_a_backlog_is_asked_about_newest_first_when_nothing_else_is_due(made: Make) -> None:
    """Jobs from before the migration wait for a planned one, then come newest first."""
    async with made(replace(MINUTE, listing=["no-status"])) as bench:
        old = []
        for number in range(3):
            old += await bench.bought(f"https://a.example/{number}.mp4")
            bench.hands.pass_seconds(100)
        plan = update(jobs).values(next_poll_at=None)
        await bench.database.write(lambda c: c.execute(plan), "test")
        (new,) = await bench.bought("https://a.example/9.mp4")
        bench.hands.pass_seconds(60)
        await bench.known(list_shows_status=0, jobs_listed_at=bench.hands.wall)
        await bench.pass_time(30)
        asked = [each.job_id for each in bench.simulator.questions]
    assert [new, *reversed(old)] == asked


async def test_two_workers_do_not_ask_about_one_job_at_once(made: Make) -> None:
    """A job that is being asked about is not asked about by another process meanwhile."""
    arrived = asyncio.Event()

    async def silent(line: Line) -> None:
        await line.request()
        arrived.set()
        await line.rest()

    async with made() as bench, Wire(silent) as wire:
        await bench.bought("https://a.example/1.mp4")
        bench.hands.pass_seconds(60)
        bench.simulator.url, url = wire.url, bench.simulator.url
        async with bench.follower() as follower:
            asking = asyncio.create_task(follower.ask())
            await asyncio.wait_for(arrived.wait(), 10)
            bench.simulator.url = url
            await bench.known(next_question_at=None)
            said, again_at = await bench.ask()
            asking.cancel()
        patience = 2 * SETTINGS.timeout_seconds
    assert said is None
    assert later(bench.hands.wall, patience) == again_at
    assert [] == bench.simulator.questions


@pytest.mark.usefixtures("path")
async def test_one_bad_row_stops_no_other(made: Make) -> None:
    """Law 14: if the database refuses a row, the jobs of other transactions are written."""
    async with made() as bench:
        ids = await bench.bought(*(f"https://a.example/{n}.mp4" for n in range(AT_ONCE + 1)))
        refusal = f"""CREATE TRIGGER theirs BEFORE UPDATE ON jobs WHEN NEW.job_id = '{ids[0]}'
            BEGIN SELECT RAISE(ABORT, 'not this one'); END"""
        await bench.database.write(lambda c: c.exec_driver_sql(refusal), "test")
        bench.hands.pass_seconds(60)
        shown = listing_of({"jobs": [{"job_id": each, "status": "finished"} for each in ids]})
        async with bench.follower() as follower:
            await follower.learn(shown, bench.hands.wall)
        ended = {each: (await bench.job(each))["ended_as"] for each in ids}
    assert ([None] * AT_ONCE, "finished") == ([ended[n] for n in ids[:-1]], ended[ids[-1]])


async def test_a_list_read_for_doubts_serves_the_jobs(made: Make, database: Database) -> None:
    """One question serves both: the doubts' list ends jobs, and the jobs' list settles doubts."""
    async with made() as bench:
        (job,) = await bench.bought("https://a.example/1.mp4")
        await doubt(database, 5, 0, 1)
        bench.hands.pass_seconds(61)
        async with bench.follower() as follower:
            await asyncio.wait_for(
                follower.reconciler.run(shut_after(follower, follower.learn)), timeout=10
            )
        assert "finished" == (await bench.job(job))["ended_as"]
        assert ["list_jobs"] == [each.call for each in bench.simulator.questions]
        await bench.bought("https://a.example/2.mp4", "https://a.example/3.mp4")
        bench.hands.pass_seconds(61)
        said, _ = await bench.ask()
        shared = await bench.database.read(shared_state.read)
        error = (await row(database, 5))["error"]
    assert isinstance(said, Listing)
    assert bench.hands.wall == shared.list_read_at == shared.list_asked_at
    assert "evidence" in str(error)


def shut_after(follower: Follower, learn: Learn) -> Learn:
    """Return ``learn``, after which the run ends."""

    async def once(shown: Listing | Unlisted, asked_at: datetime) -> None:
        await learn(shown, asked_at)
        follower.reconciler.limiter.shut()

    return once


@pytest.mark.parametrize("on_doubt", ["hold", "reconcile"])
async def test_a_failing_list_leaves_the_jobs_to_be_asked_about(made: Make, on_doubt: str) -> None:
    """Without a list, each job is asked about; a Retry-After of the list holds everybody, by one
    roll of the dice.
    """
    options = replace(MINUTE, listing=["retry-after-503"])
    async with made(options, on_doubt=on_doubt) as bench:
        await bench.bought("https://a.example/1.mp4", "https://a.example/2.mp4")
        bench.hands.pass_seconds(60)
        dice = iter([0.0, 1.0])
        async with bench.follower() as follower:
            work = follower.reconciler.transaction
            work = replace(work, pacer=replace(work.pacer, dice=partial(next, dice)))
            asks = replace(follower, reconciler=replace(follower.reconciler, transaction=work))
            said, _ = await asks.ask()
        shared = await bench.database.read(shared_state.read)
        assert isinstance(said, Unlisted)
        assert said.retry_after is not None
        assert later(bench.hands.wall, said.retry_after) == shared.cool_down_until
        await bench.pass_time(300)
        counts = await bench.database.read(store.counts)
    assert {"finished": 2} == counts.ended


@pytest.mark.parametrize("on_doubt", ["hold", "reconcile"])
async def test_a_list_of_jobs_settles_no_doubt_that_is_held(
    made: Make, database: Database, on_doubt: str
) -> None:
    """Under ``on_doubt = hold`` a list that is read for jobs judges no doubt."""
    async with made(on_doubt=on_doubt) as bench:
        await bench.bought("https://a.example/1.mp4", "https://a.example/2.mp4")
        await doubt(database, 5, 0, 1)
        bench.hands.pass_seconds(60)
        await bench.ask()
        error = (await row(database, 5))["error"]
    assert (on_doubt == "reconcile") == ("evidence" in str(error))


async def test_why_there_is_no_answer_is_logged_once_an_hour(made: Make) -> None:
    """A run tells why a question about a job failed, the same reason at most once an hour."""
    async with made(replace(MINUTE, status_failures={"500": 1.0})) as bench:
        await bench.bought("https://a.example/1.mp4")
        log, events = listen()
        async with bench.follower() as follower:
            reporter = Reporter(log)
            asks = replace(follower, reconciler=replace(follower.reconciler, reporter=reporter))
            for _ in range(13):
                bench.hands.pass_seconds(330)
                await asks._ask()  # noqa: SLF001
    told = [each for each in events if each["event"] == Event.JOB_UNANSWERED]
    assert 2 == len(told)
    assert "HTTP 500" in told[0]["reason"]


async def test_it_asks_until_the_limiter_is_shut(made: Make) -> None:
    """A follower runs beside a run, and ends with it."""
    async with made() as bench:
        (job,) = await bench.bought("https://a.example/1.mp4")
        bench.hands.pass_seconds(60)
        async with bench.follower() as follower:
            shut = follower.reconciler.limiter.shut
            running = replace(follower, told=lambda _: shut())
            await asyncio.wait_for(running.run(), 10)
        assert "finished" == (await bench.job(job))["ended_as"]
