import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, text
from structlog.typing import EventDict

from tests.conftest import START, open_database
from tests.parts import add, facts, later, let_start, listener, row, take, transaction
from tests.plain import Plain, execute
from worker.clock import Clock
from worker.core.model import (
    Accepted,
    Claim,
    CoolDown,
    InDoubt,
    Outcome,
    Refused,
    Result,
    Settlement,
    State,
)
from worker.core.reasons import WaitReason
from worker.core.run_state import RunState
from worker.db.address import DatabaseProblem, LogLostError
from worker.db.database import Database
from worker.log import Log
from worker.runner.reporter import Reporter
from worker.runner.writer import TRY_AGAIN_SECONDS, Writer
from worker.store import shared_state
from worker.wiring import CLOCK


class Ticks:
    """A clock that shows the next second each time it is asked, which a transaction does once: what
    bears one moment was written by one transaction.
    """

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self) -> datetime:
        """Show the next second."""
        self.shown += 1
        return later(START, self.shown)


class Told(Reporter):
    """A reporter that hands the report of a result to its caller."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.awaited: dict[str, asyncio.Future[Any]] = {}

    def settled(self, settlement: Settlement) -> None:
        """Give the settlement to the caller that waits for it."""
        super().settled(settlement)
        if (future := self.awaited.pop(settlement.result.claim.token, None)) is not None:
            future.set_result(settlement)

    def lost(self, claim: Claim) -> None:
        """Give None to the caller that waits for a lost claim."""
        super().lost(claim)
        if (future := self.awaited.pop(claim.token, None)) is not None:
            future.set_result(None)


class Desk:
    """A writer on a database, with the log lines of its reporter."""

    def __init__(self, database: Database, try_again_seconds: float = TRY_AGAIN_SECONDS) -> None:
        log, self.said = listener()
        self.reporter = Told(log)
        self.ticks = Ticks()
        self.run = RunState(began_at=0.0)
        self.writer = Writer(
            database,
            transaction(Clock(now=self.ticks, monotonic=lambda: float(self.ticks.shown))),
            self.run,
            self.reporter,
            try_again_seconds=try_again_seconds,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Let the writer run; close it at the end."""
        task = asyncio.create_task(self.writer.run())
        try:
            yield task
            self.writer.close()
            await task
        finally:
            self.writer.give_up()
            await asyncio.wait([task], timeout=5)

    def put(self, claim: Claim, outcome: Outcome) -> "asyncio.Future[Any]":
        """Enqueue the result of a claim."""
        return self.settle(Result(claim=claim, outcome=outcome, started_at=START))

    def settle(self, result: Result) -> "asyncio.Future[Any]":
        """Enqueue a result."""
        future = asyncio.get_running_loop().create_future()
        self.reporter.awaited[result.claim.token] = future
        self.writer.settle(result)
        return future

    def events(self) -> list[str]:
        """Return the names of the logged events."""
        return [str(each["event"]) for each in self.said]


@pytest.fixture
def desk(database: Database) -> Desk:
    """Return a writer on the test's database."""
    return Desk(database)


def waiting_for_the_lock(url: str, locked: asyncio.Event) -> Database:
    """Return a database that sets ``locked`` when it waits for another program."""
    return Database(
        url,
        dice=lambda: 0.0,
        now=CLOCK.now,
        waiting=lambda _: locked.set(),
        patience_seconds=0.0,
    )


async def claimed(database: Database, count: int, *, due: int = 0) -> list[Claim]:
    """Return videos under a claim, and insert some more that are due."""
    await let_start(database, START)
    urls = [f"https://example.org/{number}.mp4" for number in range(count + due)]
    await add(database, *urls, due_at=START)
    return await take(database, START, limit=count)


async def moments(database: Database, *ids: int) -> list[object]:
    """Return the last write time of each of these."""
    return [(await row(database, video_id))["updated_at"] for video_id in ids]


async def states(database: Database, *ids: int) -> list[object]:
    """Return the state of each of these."""
    return [(await row(database, video_id))["state"] for video_id in ids]


def accepted(claim: Claim) -> Accepted:
    """Return the answer that the API made a job."""
    return Accepted(f"job-{claim.video_id}", 200)


async def test_what_waits_goes_into_one_transaction(database: Database, desk: Desk) -> None:
    """Results and a claim that wait together are written in one transaction."""
    claims = await claimed(database, 3, due=2)
    futures = [desk.put(claim, accepted(claim)) for claim in claims]
    asking = asyncio.create_task(desk.writer.claim(lambda: 9))
    async with desk.open():
        settled = await asyncio.gather(*futures)
        turn = await asking
    assert [each.video_id for each in claims] == [s.result.claim.video_id for s in settled]
    assert [State.SUBMITTED] * 3 == [s.written and s.written.state for s in settled]
    assert [4, 5] == [start.claim.video_id for start in turn.starts]
    assert [later(START, 1)] * 5 == await moments(database, 1, 2, 3, 4, 5)


async def test_what_comes_meanwhile_goes_into_the_next(
    url: str, database: Database, plain: Plain
) -> None:
    """All that arrives during one transaction is written in the next one."""
    first, *rest = await claimed(database, 4, due=1)
    locked = asyncio.Event()
    async with waiting_for_the_lock(url, locked) as slow:
        desk = Desk(slow)
        plain.lock()
        futures = [desk.put(first, accepted(first))]
        async with desk.open():
            await locked.wait()
            room = 0
            asking = asyncio.create_task(desk.writer.claim(lambda: room))
            for claim in rest:
                futures.append(desk.put(claim, accepted(claim)))
                await asyncio.sleep(0)
            room = 1
            plain.execute("COMMIT")
            await asyncio.gather(*futures)
            turn = await asking
    assert [5] == [start.claim.video_id for start in turn.starts]
    assert [later(START, 1), *[later(START, 2)] * 4] == await moments(database, 1, 2, 3, 4, 5)


async def test_what_comes_in_the_same_breath_is_gathered(database: Database, desk: Desk) -> None:
    """Results that arrive one loop step after the other share a transaction."""
    claims = await claimed(database, 3)
    async with desk.open():
        for claim in claims:
            desk.put(claim, accepted(claim))
            await asyncio.sleep(0)
    assert [later(START, 1)] * 3 == await moments(database, 1, 2, 3)


async def test_half_of_the_slots_send_while_the_results_of_the_others_are_written(
    database: Database, desk: Desk
) -> None:
    """A transaction takes the results of half of the 80 slots and refills as many, of all of them
    on a server; more wait for the next one.
    """
    part = 40 if database.runs_in_thread else 50
    desk.writer.transaction = transaction(desk.writer.transaction.clock, concurrency=80)
    claims = await claimed(database, 50, due=50)
    futures = [desk.put(claim, accepted(claim)) for claim in claims]
    asking = asyncio.create_task(desk.writer.claim(lambda: 50))
    async with desk.open():
        await asyncio.gather(*futures)
        turn = await asking
    assert [*range(51, 51 + part)] == [start.claim.video_id for start in turn.starts]
    wanted = [later(START, 1)] * part + [later(START, 2)] * (50 - part)
    assert wanted == await moments(database, *range(1, 51))


async def test_a_claim_alone_looks_before_it_locks(
    database: Database, desk: Desk, plain: Plain
) -> None:
    """Where nothing is due, a claim does not ask for the write lock."""
    await claimed(database, 1)
    plain.lock()
    asked = 0

    def room() -> int:
        nonlocal asked
        asked += 1
        return 1

    async with desk.open():
        turn = await asyncio.wait_for(desk.writer.claim(room), 5)
    assert (WaitReason.OTHERS, later(START, 70)) == (turn.reason, turn.until)
    assert 0 == asked


async def test_a_claim_alone_is_granted(database: Database, desk: Desk) -> None:
    """A claim without a result to settle gets as many due videos as there are free slots."""
    await claimed(database, 0, due=3)
    async with desk.open():
        turn = await desk.writer.claim(lambda: 2)
    assert [1, 2] == [start.claim.video_id for start in turn.starts]
    assert ["submitting", "submitting", "pending"] == await states(database, 1, 2, 3)


async def test_what_the_transaction_did_is_told(database: Database, desk: Desk) -> None:
    """Closed rows and expired leases are in the log and in the counts."""
    await claimed(database, 1)
    await add(database, "nonsense", due_at=START)
    desk.ticks.shown = 70
    async with desk.open():
        turn = await desk.writer.claim(lambda: 5)
    assert () == turn.starts
    assert ["lease_expired", "video_refused"] == sorted(desk.events())
    assert (1, 1) == (desk.run.counts.failed, desk.run.counts.in_doubt)
    assert ["in_doubt", "failed"] == await states(database, 1, 2)


async def test_a_cool_down_goes_with_its_ending(database: Database, desk: Desk) -> None:
    """Law 13: the cool-down that a result asks for is on disk with it."""
    (claim,) = await claimed(database, 1, due=1)
    result = Result(
        claim=claim,
        outcome=InDoubt("no answer"),
        started_at=START,
        cool_down=CoolDown(30.0, "a crowd of doubts"),
    )
    async with desk.open():
        await desk.settle(result)
        turn = await desk.writer.claim(lambda: 1)
    assert (WaitReason.COOL_DOWN, later(START, 31)) == (turn.reason, turn.until)


BAD: list[Outcome] = [
    Accepted("job-\ud800", 200),
    Refused("no", 2**70),
    InDoubt("no answer", 2**70),
]


@pytest.mark.parametrize("outcome", BAD)
async def test_one_bad_value_stops_nobody(database: Database, desk: Desk, outcome: Outcome) -> None:
    """Law 14: in a shared transaction only the result with a bad value ends in doubt. All
    others are settled, and the claim is granted.
    """
    first, bad, last = await claimed(database, 3, due=1)
    futures = [desk.put(first, accepted(first)), desk.put(bad, outcome)]
    futures.append(desk.put(last, accepted(last)))
    asking = asyncio.create_task(desk.writer.claim(lambda: 5))
    async with desk.open():
        settled = await asyncio.gather(*futures)
        turn = await asking
    ends = [State.SUBMITTED, State.IN_DOUBT, State.SUBMITTED]
    assert ends == [each.written and each.written.state for each in settled]
    assert ["submitted", "in_doubt", "submitted"] == await states(database, 1, 2, 3)
    assert [4] == [start.claim.video_id for start in turn.starts]
    error = str((await row(database, 2))["error"])
    assert error.startswith("an answer came, but it could not be written down: ")
    assert [(1, "in_doubt")] == await facts(database, 2)


async def test_one_bad_value_alone_ends_in_doubt(database: Database, desk: Desk) -> None:
    """Law 14: a bad value that is alone in its transaction ends in doubt too."""
    (claim,) = await claimed(database, 1)
    async with desk.open():
        settled = await desk.put(claim, Accepted("job-\ud800", 200))
    assert settled.written is not None
    assert State.IN_DOUBT is settled.written.state


PICKY = {
    "sqlite": """
CREATE TRIGGER picky BEFORE UPDATE ON videos WHEN OLD.id = 1 AND NEW.state <> 'submitting'
BEGIN SELECT RAISE(ABORT, 'not this one'); END
""",
    "postgresql": """
CREATE TRIGGER picky BEFORE UPDATE ON videos FOR EACH ROW
WHEN (OLD.id = 1 AND NEW.state <> 'submitting') EXECUTE FUNCTION refuse()
""",
}
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not this one'; END $$
"""


@pytest.fixture
def picky(dialect: str, remade: None, url: str) -> None:  # noqa: ARG001 - before it is changed
    """Create a trigger that refuses every end of the first video."""
    if dialect == "postgresql":
        execute(url, REFUSE)
    execute(url, PICKY[dialect])


@pytest.mark.usefixtures("picky")
async def test_what_can_never_be_written_is_left_to_its_lease(
    database: Database, desk: Desk
) -> None:
    """Law 14: where not even the doubt can be written, the claim stays and is reported as lost."""
    bad, good, dropped = await claimed(database, 3)
    async with desk.open():
        settled = await asyncio.gather(desk.put(bad, accepted(bad)), desk.put(good, accepted(good)))
    assert [None, State.SUBMITTED] == [s and s.written and s.written.state for s in settled]
    assert ["submitting", "submitted", "submitting"] == await states(database, 1, 2, 3)
    assert 3 == dropped.video_id


@pytest.mark.usefixtures("picky")
async def test_all_that_was_put_down_is_waited_for(database: Database, desk: Desk) -> None:
    """``written`` waits for every result, and ends although one cannot be stored."""
    bad, good = await claimed(database, 2)
    async with asyncio.timeout(5):
        await desk.writer.written()
    desk.put(bad, accepted(bad))
    desk.put(good, accepted(good))
    assert 2 == desk.writer.unwritten
    async with desk.open(), asyncio.timeout(5):
        await desk.writer.written()
        assert 0 == desk.writer.unwritten
        assert ["submitting", "submitted"] == await states(database, 1, 2)
    assert ["claim_lost"] == [name for name in desk.events() if name == "claim_lost"]


async def test_a_ledger_that_died_is_not_waited_for(database: Database, desk: Desk) -> None:
    """``written`` returns when the writer has died, and the result counts as unwritten."""
    (claim,) = await claimed(database, 1)

    def broken() -> datetime:
        raise ZeroDivisionError

    clock = Clock(now=broken, monotonic=lambda: 0.0)
    writer = Writer(database, transaction(clock), desk.run, desk.reporter)
    writer.settle(Result(claim=claim, outcome=accepted(claim), started_at=START))
    with pytest.raises(ZeroDivisionError):
        await writer.run()
    async with asyncio.timeout(5):
        await writer.written()
    assert 1 == writer.unwritten


async def test_a_claim_whose_caller_has_gone_is_released(
    url: str, database: Database, plain: Plain
) -> None:
    """Claims committed for a caller that was cancelled meanwhile are given back."""
    await claimed(database, 0, due=2)
    locked = asyncio.Event()
    async with waiting_for_the_lock(url, locked) as slow:
        desk = Desk(slow)
        plain.lock()
        async with desk.open():
            asking = asyncio.create_task(desk.writer.claim(lambda: 2))
            await locked.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            plain.execute("COMMIT")
    for video_id in (1, 2):
        stored = await row(database, video_id)
        assert ("pending", 0, 1) == (stored["state"], stored["attempts"], stored["claims"])
        assert [(1, "released")] == await facts(database, video_id)


async def test_a_caller_that_goes_as_it_is_answered_releases(
    database: Database, desk: Desk
) -> None:
    """A caller that is cancelled just as it is answered leaves no claim behind."""
    (claim,) = await claimed(database, 1, due=2)
    settling = desk.put(claim, accepted(claim))
    asking = asyncio.create_task(desk.writer.claim(lambda: 2))
    settling.add_done_callback(lambda _: asking.cancel())
    async with desk.open():
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert ["submitted", "pending", "pending"] == await states(database, 1, 2, 3)
    assert [(1, "released")] == await facts(database, 2)


class Away:
    """A database whose folder is not there, as on a disk that is not mounted yet."""

    def __init__(self, path: Path, claims: list[Claim]) -> None:
        self.claims = claims
        self.path = path.parent / "mount" / path.name
        self._hidden = path.parent / "hidden"
        self._hidden.mkdir()
        path.rename(self._hidden / path.name)

    def come_back(self) -> None:
        """Mount the disk."""
        self._hidden.rename(self.path.parent)


@pytest.fixture
async def away(path: Path, database: Database) -> Away:
    """Claim two videos and add one that is due, then take the database away."""
    claims = await claimed(database, 2, due=1)
    await database.close()
    return Away(path, claims)


def told(said: list[EventDict]) -> list[tuple[object, object]]:
    """Return the log lines about the database: event and level."""
    return [(each["event"], each["log_level"]) for each in said]


TROUBLE = ("database_trouble", "error")
WORKS = ("database_works", "warning")


async def test_a_trouble_is_over_where_nothing_waits_to_be_written(away: Away) -> None:
    """A claim that failed and has nothing to claim any more leaves no trouble to be shown."""
    async with open_database(away.path) as database:
        desk = Desk(database)
        async with desk.open():
            with pytest.raises(DatabaseProblem):
                await desk.writer.claim(lambda: 5)
            away.come_back()
            await database.write(lambda c: shared_state.pause(c, START, "wrong list"), "test")
            assert WaitReason.PAUSE is (await desk.writer.claim(lambda: 5)).reason
            assert desk.run.database_problem is None


async def test_without_a_database_nothing_is_claimed_and_nothing_lost(away: Away) -> None:
    """Law 9: without a database a claim fails at once, and a result is written when the
    database is back. The trouble and its end are logged once each.
    """
    claim = away.claims[0]
    async with open_database(away.path) as database:
        desk = Desk(database, try_again_seconds=0.001)
        settling = desk.put(claim, accepted(claim))
        async with desk.open():
            for _ in range(3):
                with pytest.raises(DatabaseProblem, match="it cannot be opened"):
                    await desk.writer.claim(lambda: 5)
            assert not settling.done()
            assert desk.writer.troubled.is_set()
            assert "it cannot be opened" in str(desk.run.database_problem)
            away.come_back()
            settled = await settling
            assert not desk.writer.troubled.is_set()
            assert desk.run.database_problem is None
            turn = await desk.writer.claim(lambda: 5)
        assert settled.written is not None
        assert [TROUBLE, WORKS] == told(desk.said)
        assert [3] == [start.claim.video_id for start in turn.starts]
        stored = await row(database, 3)
        assert ("submitting", 1) == (stored["state"], stored["claims"])
        assert ["submitted", "submitting"] == await states(database, 1, 2)


async def test_a_claim_alone_fails_with_the_database(away: Away) -> None:
    """Law 9: without a result to write, a claim fails at once."""
    async with open_database(away.path) as database:
        desk = Desk(database)
        async with desk.open():
            with pytest.raises(DatabaseProblem, match="it cannot be opened"):
                await desk.writer.claim(lambda: 5)


async def test_a_caller_that_has_gone_hears_of_no_trouble(away: Away) -> None:
    """A cancelled claim does not end the writer while the database is away."""
    async with open_database(away.path) as database:
        desk = Desk(database)
        asking = asyncio.create_task(desk.writer.claim(lambda: 5))
        await asyncio.sleep(0)
        asking.cancel()
        async with desk.open():
            with pytest.raises(asyncio.CancelledError):
                await asking
        assert [TROUBLE] == told(desk.said)


async def test_giving_up_ends_the_ledger_at_once(away: Away) -> None:
    """Giving up ends the writer at once although the database cannot be written."""
    claim = away.claims[0]
    async with open_database(away.path) as database:
        desk = Desk(database, try_again_seconds=3600.0)
        settling = desk.put(claim, accepted(claim))
        task = asyncio.create_task(desk.writer.run())
        with pytest.raises(DatabaseProblem):
            await desk.writer.claim(lambda: 5)
        desk.writer.close()
        desk.writer.give_up()
        await asyncio.wait_for(task, 5)
        assert not settling.done()


async def test_a_result_whose_row_is_held_delays_no_other(served: str) -> None:
    """Laws 6 and 14: while another program holds a row, its result alone waits, with the trouble
    told once; claims and all other results go on.
    """
    async with open_database(served) as database:
        theirs, ours, last = await claimed(database, 3, due=1)
        desk = Desk(database, try_again_seconds=0.001)
        other = await asyncpg.connect(served)
        await other.execute("BEGIN; UPDATE videos SET title = 'theirs' WHERE id = 1")
        waiting, settling = desk.put(theirs, accepted(theirs)), desk.put(ours, accepted(ours))
        async with desk.open():
            await asyncio.wait_for(settling, 20)
            turn = await desk.writer.claim(lambda: 5)
            await desk.put(last, accepted(last))
            assert not waiting.done()
            assert 1 == desk.writer.unwritten
            assert desk.writer.troubled.is_set()
            assert "held by another session" in str(desk.run.database_problem)
            await other.execute("COMMIT")
            await waiting
            assert not desk.writer.troubled.is_set()
        await other.close()
        assert [4] == [start.claim.video_id for start in turn.starts]
        assert [TROUBLE, WORKS] == told(desk.said)
        assert ["submitted"] * 3 == await states(database, 1, 2, 3)
        assert [1] * 3 == [len(await facts(database, number)) for number in (1, 2, 3)]


@pytest.mark.usefixtures("path")
async def test_a_disk_that_fills_between_single_endings(database: Database) -> None:
    """Law 14 on a full disk: the results behind the bad one are kept, and written when there is
    room.
    """
    bad, big, small = await claimed(database, 3)
    desk = Desk(database, try_again_seconds=0.001)

    def limit(connection: Connection, pages: str) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def fill(connection: Connection) -> None:
        limit(connection, str(connection.exec_driver_sql("PRAGMA page_count").scalar_one()))

    await database.write(fill, "test")
    futures = [
        desk.put(bad, Refused("no", 2**70)),
        desk.put(big, Refused("\N{GRINNING FACE}" * 2000, 400)),
        desk.put(small, Refused("no", 400)),
    ]
    async with desk.open():
        for _ in range(2):
            with pytest.raises(DatabaseProblem, match="the disk is full"):
                await desk.writer.claim(lambda: 5)
            assert [False] * 3 == [future.done() for future in futures]
        await database.write(lambda c: limit(c, "1000000"), "test")
        await asyncio.gather(*futures)
    assert ["in_doubt", "failed", "failed"] == await states(database, 1, 2, 3)
    assert [TROUBLE, WORKS] == told(desk.said)


async def test_closing_writes_everything_first(database: Database, desk: Desk) -> None:
    """Closing the writer writes every result first, and answers every caller."""
    claims = await claimed(database, 3, due=1)
    futures = [desk.put(claim, accepted(claim)) for claim in claims]
    asking = asyncio.create_task(desk.writer.claim(lambda: 1))
    await asyncio.sleep(0)
    desk.writer.close()
    await desk.writer.run()
    assert [True] * 3 == [future.done() for future in futures]
    assert 1 == len((await asking).starts)
    assert ["submitted"] * 3 == await states(database, 1, 2, 3)


async def test_closing_an_idle_ledger_ends_it(desk: Desk) -> None:
    """A writer with nothing to write is closed at once, even before it runs."""
    async with desk.open():
        await asyncio.sleep(0)
    await asyncio.wait_for(desk.writer.run(), 5)
    assert 0 == desk.ticks.shown


@pytest.mark.usefixtures("path")
@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("broken", "why", "mended"),
    [
        (
            "CREATE TRIGGER theirs BEFORE UPDATE ON account BEGIN SELECT RAISE(ABORT, 'no'); END",
            r"be read or written \(the database refuses to write this row: no\): correct it$",
            "DROP TRIGGER theirs",
        ),
        (
            "DELETE FROM account",
            "the table account has lost its row",
            "INSERT INTO account (id, next_start_at) VALUES (1, '2026-01-01 00:00:00')",
        ),
    ],
)
async def test_a_shared_row_that_cannot_be_used_is_trouble_of_the_database(
    database: Database, desk: Desk, broken: str, why: str, mended: str
) -> None:
    """A fault of the shared row fails no video: the claim fails with a sentence, and the writer
    goes on.
    """
    await claimed(database, 0, due=1)
    await database.write(lambda c: c.exec_driver_sql(broken), "test")
    async with desk.open():
        with pytest.raises(DatabaseProblem, match=why):
            await asyncio.wait_for(desk.writer.claim(lambda: 1), 5)
        assert "pending" == (await row(database, 1))["state"]
        await database.write(lambda c: c.exec_driver_sql(mended), "test")
        assert (await asyncio.wait_for(desk.writer.claim(lambda: 1), 5)).starts


# --- Questions ------------------------------------------------------------------------------------


def count(connection: Connection) -> int:
    """Return the number of videos."""
    found: int = connection.execute(text("SELECT count(*) FROM videos")).scalar_one()
    return found


def insert_one(connection: Connection) -> str:
    """Add a video."""
    connection.execute(text("INSERT INTO videos (url) VALUES ('asked')"))
    return "done"


async def test_a_question_gets_its_answer(database: Database, desk: Desk) -> None:
    """Work given to the writer is on disk when its result is returned."""
    async with desk.open():
        assert "done" == await asyncio.wait_for(desk.writer.enqueue(insert_one, "test"), 5)
        assert 1 == await database.read(count)
        answers = await asyncio.gather(*(desk.writer.enqueue(count, "test") for _ in range(3)))
    assert [1, 1, 1] == answers


async def test_a_questions_error_is_its_askers(database: Database, desk: Desk) -> None:
    """Law 14: work that fails is rolled back, and its error goes to its caller alone."""

    def fail(connection: Connection) -> None:
        insert_one(connection)
        raise ZeroDivisionError

    (claim,) = await claimed(database, 1)
    async with desk.open():
        with pytest.raises(ZeroDivisionError) as failed:
            await desk.writer.enqueue(fail, "to fail")
        assert ["to fail"] == failed.value.__notes__
        settled = await desk.put(claim, accepted(claim))
        assert settled.written is not None
        assert 1 == await desk.writer.enqueue(count, "test")


async def test_a_log_whose_loss_a_question_has_met_is_lost_to_claims_too(path: Path) -> None:
    """Law 9: whoever meets the loss first, nothing is claimed any more."""
    async with open_database(path) as database:
        desk = Desk(database)
        async with desk.open():
            await desk.writer.enqueue(insert_one, "test")
            path.with_name(f"{path.name}-wal").unlink()
            with pytest.raises(LogLostError):
                await desk.writer.enqueue(count, "test")
            with pytest.raises(LogLostError):
                await desk.writer.claim(lambda: 1)


async def test_a_question_whose_asker_has_gone_is_done_all_the_same(
    database: Database, desk: Desk
) -> None:
    """Work whose caller is cancelled during the write is on disk."""
    gone: list[asyncio.Future[Any]] = [
        desk.writer.enqueue(insert_one, "test"),
        desk.writer.enqueue(lambda _: 1 / 0, "test"),
    ]
    await asyncio.sleep(0)
    for asking in gone:
        asking.cancel()
    async with desk.open():
        await asyncio.wait(gone)
    assert 1 == await database.read(count)


async def test_closing_answers_what_was_asked(database: Database, desk: Desk) -> None:
    """Closing the writer answers every caller that asked before."""
    asking = desk.writer.enqueue(insert_one, "test")
    await asyncio.sleep(0)
    desk.writer.close()
    await asyncio.wait_for(desk.writer.run(), 5)
    assert "done" == await asking
    assert 1 == await database.read(count)


async def test_endings_go_before_questions(database: Database, desk: Desk) -> None:
    """Work given to the writer sees the results that were enqueued before."""
    (claim,) = await claimed(database, 1)
    settling = desk.put(claim, accepted(claim))
    asking = desk.writer.enqueue(
        lambda c: c.execute(text("SELECT state FROM videos")).scalar_one(), "test"
    )
    await asyncio.sleep(0)
    async with desk.open():
        assert "submitted" == await asking
        await settling


async def test_more_endings_than_a_transaction_takes_go_before_questions(
    database: Database, desk: Desk
) -> None:
    """Work sees every result that was enqueued before it, however many they are."""
    claims = await claimed(database, 50)
    settling = [desk.put(claim, accepted(claim)) for claim in claims]
    unsettled = text("SELECT count(*) FROM videos WHERE state <> 'submitted'")
    async with desk.open():
        assert 0 == await desk.writer.enqueue(lambda c: c.scalar(unsettled), "test")
        await asyncio.gather(*settling)


async def test_endings_of_a_transaction_under_way_go_before_questions(
    database: Database, desk: Desk
) -> None:
    """Work sees a result that was enqueued before it, though neither was there when the
    transaction under way began.
    """
    first, second = await claimed(database, 2)
    waiting: list[asyncio.Future[Any]] = []

    def while_it_begins() -> int:
        waiting.append(desk.put(second, accepted(second)))
        states = text("SELECT state FROM videos ORDER BY id")
        waiting.append(desk.writer.enqueue(lambda c: [*c.execute(states).scalars()], "test"))
        return 0

    async with desk.open():
        settling = desk.put(first, accepted(first))
        await desk.writer.claim(while_it_begins)
        assert ["submitted", "submitted"] == await waiting[1]
        await asyncio.gather(settling, waiting[0])


def move(path: Path, name: str) -> None:
    """Give the file another name."""
    path.rename(path.with_name(name))


async def test_a_question_to_a_broken_database_is_told(path: Path, desk: Desk) -> None:
    """Work on a database that cannot be used fails, and does not wait for ever."""
    async with desk.open():
        assert 0 == await desk.writer.enqueue(count, "test")
        move(path, "elsewhere")
        with pytest.raises(DatabaseProblem):
            await asyncio.wait_for(desk.writer.enqueue(count, "test"), 5)
        move(path.with_name("elsewhere"), path.name)
        assert 0 == await desk.writer.enqueue(count, "test")
