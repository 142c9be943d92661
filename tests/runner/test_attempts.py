"""One attempt from its claim to its settling, with real parts; and what a row of them teaches."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from structlog.typing import EventDict

from tests.conftest import Hands
from tests.parts import RUN_SETTINGS, Worker, add, facts, listener, row, take
from tests.wire import LOOPBACK, Line, Wire, answer, free_port
from worker.clock import Clock
from worker.core import callback
from worker.core.breaker import CROWD, FIRST_COOL_DOWN_SECONDS
from worker.core.model import Claim, Start
from worker.core.request import Defaults
from worker.core.run_state import Counts, RunState
from worker.db.database import Database
from worker.db.schema import account, history, videos
from worker.runner.attempts import MISSED_SECONDS, Attempts
from worker.runner.limiter import Limiter
from worker.runner.reporter import Reporter
from worker.runner.writer import Writer
from worker.simulator import Options, Simulator
from worker.store import shared_state

ENOUGH = RUN_SETTINGS.timeout_seconds + 5
"""Seconds of a lease that allow to send (law 4)."""


@dataclass(kw_only=True)
class Desk:
    """Attempts on a database and an API, with the parts that they work with. ``ends`` gets the
    taken slots each time an attempt reports its end.
    """

    attempts: Attempts
    run: RunState
    limiter: Limiter
    writer: Writer
    hands: Hands
    said: Sequence[EventDict]
    ends: asyncio.Queue[int]

    async def carry(
        self, claim: Claim, left: float = 60.0, left_by_wall: float = 60.0, late: float = 0.0
    ) -> None:
        """Carry out one attempt and return its row. The lease lasts that long by each clock, and
        the attempt begins that late.
        """
        lease_until = self.hands.wall + timedelta(seconds=left_by_wall)
        self.run.begin()
        await self.attempts.carry(
            Start(
                claim=replace(claim, lease_until=lease_until),
                at=self.hands.seconds - late,
                lease_ends=self.hands.seconds + left,
            )
        )
        await self.writer.written()


@asynccontextmanager
async def at_work(
    database: Database, url: str, hands: Hands, *, writes: bool = True
) -> AsyncIterator[Desk]:
    """Run a desk whose writer ``writes`` from the beginning, or only at the end."""
    log, said = listener()
    worker = Worker(clock=hands.clock, dice=0.5)
    reporter = Reporter(log)
    run = RunState(began_at=hands.seconds)
    writer, limiter = Writer(database, worker.transaction(), run, reporter), worker.limiter()
    ends: asyncio.Queue[int] = asyncio.Queue()
    async with worker.api(url) as api:
        attempts = Attempts(
            api=api,
            defaults=worker.settings.defaults,
            limiter=limiter,
            writer=writer,
            run=run,
            transaction=worker.transaction(),
            reporter=reporter,
            ended=lambda: ends.put_nowait(run.in_flight),
        )
        desk = Desk(
            attempts=attempts,
            run=run,
            limiter=limiter,
            writer=writer,
            hands=hands,
            said=said,
            ends=ends,
        )
        writing = asyncio.create_task(writer.run()) if writes else None
        try:
            yield desk
        finally:
            writer.close()
            await (writing or writer.run())


async def claimed(database: Database, hands: Hands, count: int = 1) -> list[Claim]:
    """Return that many videos, claimed."""
    moment = hands.wall - timedelta(seconds=1)
    await add(database, *(f"https://v.example/{n}" for n in range(count)), due_at=moment)
    return await take(database, hands.wall, limit=count)


async def test_an_attempt_ends_in_its_row(
    database: Database, simulator: Simulator, hands: Hands
) -> None:
    """The answer is settled under its claim, and the slot is free again."""
    (claim,) = await claimed(database, hands)
    async with at_work(database, simulator.url, hands) as desk:
        await desk.carry(claim)
        assert (0, 1) == (desk.run.in_flight, desk.run.spent)
        assert 0 == desk.ends.get_nowait()
        assert desk.ends.empty()
        assert Counts(submitted=1) == desk.run.counts
    video = await row(database, 1)
    assert ("submitted", simulator.accepted[0].job_id) == (video["state"], video["job_id"])
    assert [(1, "accepted")] == await facts(database, 1)


@pytest.mark.parametrize(
    ("left", "left_by_wall", "sent"),
    [
        (ENOUGH, ENOUGH, True),
        (ENOUGH - 0.001, 60.0, False),
        (60.0, ENOUGH - 0.001, False),
        (-1.0, 60.0, False),
        (60.0, -3600.0, False),
        (3600.0, ENOUGH, True),
    ],
)
async def test_a_claim_is_sent_while_enough_of_its_lease_is_left(
    database: Database,
    simulator: Simulator,
    hands: Hands,
    left: float,
    left_by_wall: float,
    sent: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Law 4: a claim is sent exactly while its lease, by both clocks, outlasts a request."""
    (claim,) = await claimed(database, hands)
    async with at_work(database, simulator.url, hands) as desk:
        await desk.carry(claim, left, left_by_wall)
        assert (0, int(sent)) == (desk.run.in_flight, desk.run.spent)
    assert int(sent) == len(simulator.requests)
    video = await row(database, 1)
    assert ("submitted" if sent else "pending", int(sent)) == (video["state"], video["attempts"])
    assert [(1, "accepted" if sent else "released")] == await facts(database, 1)
    assert sent or video["due_at"] == hands.wall - timedelta(seconds=1)


@pytest.mark.parametrize(("late", "sent"), [(MISSED_SECONDS, True), (MISSED_SECONDS + 1, False)])
async def test_a_start_that_is_long_past_is_given_back(
    database: Database, simulator: Simulator, hands: Hands, late: float, *, sent: bool
) -> None:
    """A claim whose start is long past is given back unsent."""
    await add(database, "https://videos.example/1.mp4", due_at=hands.wall)
    (claim,) = await take(database, hands.wall)
    async with at_work(database, simulator.url, hands) as desk:
        await desk.carry(claim, late=late)
    assert sent == bool(simulator.accepted)
    assert [(1, "accepted" if sent else "released")] == await facts(database, 1)


async def test_a_lease_that_runs_short_while_connecting_is_seen(
    database: Database, hands: Hands
) -> None:
    """Law 4: the lease is checked again after the wait for a connection."""
    claims = await claimed(database, hands, 7)
    async with (
        Simulator(Options(script=dict.fromkeys(range(1, 7), "stall"))) as simulator,
        at_work(database, simulator.url, hands) as desk,
    ):
        carried = [asyncio.create_task(desk.carry(claim)) for claim in claims]
        await simulator.wait_for_requests(6)  # all connections are busy, the seventh must wait
        hands.pass_seconds(60.0 - ENOUGH + 0.001)
        simulator.release()
        await asyncio.gather(*carried)
        assert 6 == len(simulator.requests)
        assert Counts(submitted=6) == desk.run.counts
    assert [(1, "released")] == await facts(database, 7)


async def test_after_the_gate_is_shut_a_claim_is_given_back(
    database: Database, simulator: Simulator, hands: Hands
) -> None:
    """Law 7: a stop gives back what had not begun, uncharged and in its old place."""
    (claim,) = await claimed(database, hands)
    async with at_work(database, simulator.url, hands) as desk:
        desk.limiter.shut()
        await desk.carry(claim)
        assert (0, 0) == (desk.run.in_flight, desk.run.spent)
        assert Counts() == desk.run.counts
    video = await row(database, 1)
    assert ("pending", 0, 1) == (video["state"], video["attempts"], video["claims"])
    assert hands.wall - timedelta(seconds=1) == video["due_at"]
    assert [] == simulator.requests


async def test_what_was_not_sent_counts_as_a_request(database: Database, hands: Hands) -> None:
    """A request that was not sent counts against the limit of a run."""
    (claim,) = await claimed(database, hands)
    with free_port() as port:
        async with at_work(database, f"http://{LOOPBACK}:{port}", hands) as desk:
            await desk.carry(claim)
            assert 1 == desk.run.spent
            assert desk.run.last_unclear.startswith("not sent: ClientConnectorError")
    assert 0 == (await row(database, 1))["attempts"]


async def test_a_cut_ends_exchanges_and_nothing_else(database: Database, hands: Hands) -> None:
    """Law 6: a cut ends an open exchange in doubt. An answer that waits for the disk is settled."""
    first, second = await claimed(database, hands, 2)
    options = Options(script={2: "stall"})
    async with (
        Simulator(options) as simulator,
        at_work(database, simulator.url, hands, writes=False) as desk,
    ):
        answered = asyncio.create_task(desk.carry(first))
        await desk.ends.get()
        stalled = asyncio.create_task(desk.carry(second))
        await simulator.wait_for_requests(2)
        desk.attempts.cut_short()
        await desk.ends.get()
        assert (False, False) == (answered.done(), stalled.done())
        simulator.release()
    await asyncio.gather(answered, stalled)
    assert "submitted" == (await row(database, 1))["state"]
    doubtful = await row(database, 2)
    assert "in_doubt" == doubtful["state"]
    assert "sent, but no answer was read: cut short by our own stop" == doubtful["error"]


async def test_an_answer_is_settled_although_its_task_is_cancelled(
    database: Database, simulator: Simulator, hands: Hands
) -> None:
    """Law 6: an answer just read is settled although its task is cancelled."""
    (claim,) = await claimed(database, hands)
    tasks: list[asyncio.Task[None]] = []

    def now() -> datetime:
        if simulator.accepted and tasks:  # the answer has just been read
            tasks.pop().cancel()
        return hands.wall

    hands.clock = Clock(now=now, monotonic=lambda: hands.seconds)
    async with at_work(database, simulator.url, hands, writes=False) as desk:
        carried = asyncio.create_task(desk.carry(claim))
        tasks.append(carried)
        with pytest.raises(asyncio.CancelledError):
            await carried
    assert [] == tasks
    assert "submitted" == (await row(database, 1))["state"]


async def test_only_a_clear_answer_is_clear(database: Database, hands: Hands) -> None:
    """Law 13: only a clear answer counts as one for a drain that waits for one."""
    kinds = [None, "400", "401", "429", "500", "502", "lost", None]
    script = {number: kind for number, kind in enumerate(kinds, start=1) if kind}
    claims = await claimed(database, hands, len(kinds))
    clear: list[float] = []
    unclear: list[str] = []
    async with (
        Simulator(Options(script=script)) as simulator,
        at_work(database, simulator.url, hands) as desk,
    ):
        for claim in claims:
            hands.pass_seconds(1)
            await desk.carry(claim)
            clear.append(desk.run.last_clear_at - 1_000)
            unclear.append(desk.run.last_unclear)
    assert [1, 2, 2, 2, 2, 2, 2, 8] == clear
    assert [
        "",
        "",
        "HTTP 401: Unauthorized",
        "HTTP 429: Too Many Requests",
        "HTTP 500: Internal Server Error",
        "HTTP 502: Bad Gateway",
    ] == unclear[:6]
    assert unclear[6].startswith("sent, but no answer was read: ClientOSError")
    assert unclear[6] == unclear[7]


async def test_a_crowd_of_doubts_makes_everybody_wait(database: Database, hands: Hands) -> None:
    """Law 13: the breaker's cool-down is in the shared state, and one flight asks for it once."""
    claims = await claimed(database, hands, CROWD + 2)
    async with (
        Simulator(Options(failures={"proxy-502": 1.0})) as simulator,
        at_work(database, simulator.url, hands) as desk,
    ):
        for claim in claims[: CROWD - 1]:
            await desk.carry(claim)
        assert (await database.read(shared_state.read)).cool_down_until is None
        for claim in claims[CROWD - 1 :]:
            await desk.carry(claim)
        known = await database.read(shared_state.read)
        seconds = FIRST_COOL_DOWN_SECONDS * 1.125
        assert hands.wall + timedelta(seconds=seconds) == known.cool_down_until
        assert str(known.cool_down_reason).startswith("HTTP 502: ")
        told = [each for each in desk.said if each["event"] == "cool_down"]
        assert [round(seconds, 1)] == [each["seconds"] for each in told]


async def test_in_a_crowd_of_doubts_try_later_costs_nothing(
    database: Database, hands: Hands
) -> None:
    """Law 13: after a crowd of doubts a 500 costs its video no attempt."""
    claims = await claimed(database, hands, CROWD + 1)
    script = {1: "500", CROWD + 1: "500"}
    async with (
        Simulator(Options(script=script, failures={"proxy-502": 1.0})) as simulator,
        at_work(database, simulator.url, hands) as desk,
    ):
        for claim in claims:
            await desk.carry(claim)
    first, last = await row(database, 1), await row(database, CROWD + 1)
    assert ("pending", 1) == (first["state"], first["attempts"])
    assert ("pending", 0) == (last["state"], last["attempts"])


async def test_the_line_of_an_attempt_tells_it_all(database: Database, hands: Hands) -> None:
    """The closing line of an attempt holds its whole outcome: on a full disk it is the only
    copy.
    """
    (claim,) = await claimed(database, hands)
    async with (
        Simulator(Options(script={1: "half"})) as simulator,
        at_work(database, simulator.url, hands) as desk,
    ):
        await desk.carry(claim)
        (line,) = [each for each in desk.said if each["event"] == "attempt_ended"]
    assert {
        "event": "attempt_ended",
        "log_level": "warning",
        "video": 1,
        "attempt": 1,
        "outcome": "in_doubt",
        "status": 200,
        "seconds": 0.0,
        "request_id": claim.request_id,
        "job_id": None,
        "message": (await row(database, 1))["error"],
    } == line


OWN = "X-Amz-Signature=0123456789abcdef&X-Amz-Credential=SOMEBODY"
OTHERS = "https://b.example/2.mp4?sv=2024&sig=qwertyuiop"


@pytest.mark.parametrize(
    ("quoted", "secret"),
    [
        (f"https://v.example/1.mp4?{OWN}", "0123456789abcdef"),
        (OWN, "0123456789abcdef"),
        ("the signature 0123456789abcdef", "0123456789abcdef"),
        ("SOMEBODY", "SOMEBODY"),
        ("transcript-secret", "transcript-secret"),
        ("callback-secret", "callback-secret"),
        ("default-secret", "default-secret"),
        (OTHERS, "qwertyuiop"),
        (OTHERS.partition("?")[2], "qwertyuiop"),
        ("key demo-KEY-1", "KEY-1"),
    ],
)
@pytest.mark.parametrize("status", ["400 Bad", "401 No", "404 No", "429 Slow", "502 Bad"])
async def test_no_secret_that_the_api_quotes_is_kept(
    database: Database, hands: Hands, quoted: str, secret: str, status: str
) -> None:
    """Law 11: a query of a link, of this row or another, is in no table and in no line."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(answer(f"cannot read ( {quoted} ): no".encode(), status, Retry_After="9"))

    await add(
        database,
        f"https://v.example/1.mp4?{OWN}",
        transcript_url="https://v.example/1.srt?token=transcript-secret",
        callback_url="https://v.example/done?token=callback-secret",
        due_at=hands.wall - timedelta(seconds=1),
    )
    (claim,) = await take(database, hands.wall)
    async with Wire(script) as wire, at_work(database, wire.url, hands) as desk:
        desk.run.breaker = replace(desk.run.breaker, blanks=CROWD)
        to_all = Defaults(callback_url="https://v.example/all?token=default-secret")
        desk.attempts = replace(desk.attempts, defaults=to_all)
        await desk.carry(claim)
        said = [str(each) for each in desk.said]
    kept = await written(database)
    assert [] == [text for text in (*kept, *said) if secret in text]
    assert "cannot read (" in kept[0]
    assert "): no" in kept[0]


async def written(database: Database) -> list[str]:
    """Return what the tables keep of an answer."""
    return await database.read(
        lambda c: [
            str(c.execute(select(*columns)).all())
            for columns in ((videos.c.error,), (history.c.message,), (account.c.cool_down_reason,))
        ]
    )


@pytest.mark.parametrize("slash", ["/", "\\/", "%2F"])
async def test_the_token_of_a_made_callback_is_not_kept(
    database: Database, hands: Hands, slash: str
) -> None:
    """Law 11: whoever reads an error cannot call the page in the API's name."""
    own = callback.url("https://me.example", "the-secret", 1)
    token = own.rpartition("/")[2]

    async def script(line: Line) -> None:
        assert own in str(await line.request())
        line.say(answer(f"cannot call ( {own.replace('/', slash)} ): no".encode(), "400 Bad"))

    await add(database, "https://v.example/1.mp4", due_at=hands.wall - timedelta(seconds=1))
    (claim,) = await take(database, hands.wall)
    async with Wire(script) as wire, at_work(database, wire.url, hands) as desk:
        desk.attempts = replace(desk.attempts, callback_url=lambda _: own)
        await desk.carry(claim)
        said = [str(each) for each in desk.said]
    kept = await written(database)
    assert [] == [text for text in (*kept, *said) if token in text]
    assert "me.example" in kept[0]
