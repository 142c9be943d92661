"""Scenario 13: the wall clock jumps an hour forward and back between claim and settle, and between
a doubt, the question for the list and the verdict.
"""

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from tests.conftest import open_database
from tests.parts import DRAIN, RUN_SETTINGS, Worker
from tests.processes.programs import within
from tests.proof.between import Between, Forward, Trouble, end_before, serve
from tests.proof.ground import HOUR_SECONDS, Ground, addresses, among_served, hand_in, times
from tests.wire import Line
from worker.clock import Clock
from worker.simulator import Options, Simulator

SETTLE_SECONDS = 300.0
"""Before an absence counts; less than a jump."""

READINGS = 36
"""Of the clock, about as many as two workers take for a queue of a scene."""

SHORT = replace(DRAIN, max_seconds=1.0)
"""A worker that was about to sleep when the clock was set looks up after half a minute."""

LONG_AGO = "2000-01-01 00:00:00"
"""Due by any clock."""

JUMPS = {"forward": HOUR_SECONDS, "back": -HOUR_SECONDS}


@dataclass
class Jumping:
    """The clocks of this machine; the wall clock jumps by ``seconds`` at its ``at``-th reading, and
    when it was read ``stays`` times more, back to where it was.
    """

    seconds: float
    at: int = 0
    stays: float = 6
    read: int = 0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(now=self._now, monotonic=time.monotonic)

    def _now(self) -> datetime:
        self.read += 1
        off = self.seconds if self.at <= self.read < self.at + self.stays else 0.0
        return datetime.now(UTC) + timedelta(seconds=off)


def set_off(seconds: float) -> Jumping:
    """Return clocks that are off from the beginning, and stay so."""
    return Jumping(seconds, stays=math.inf)


async def drain(
    queue: str, times_of: Jumping, api: Simulator | Between, *, reconcile: bool = False
) -> None:
    """Let a worker with these clocks drain a database."""
    on_doubt = "reconcile" if reconcile else "hold"
    settings = replace(RUN_SETTINGS, on_doubt=on_doubt, doubt_settle_seconds=SETTLE_SECONDS)
    worker = Worker(
        name=secrets.token_hex(8), options=SHORT, settings=settings, clock=times_of.clock
    )
    async with open_database(queue) as database:
        await within(worker.run(database, api.url))


@asynccontextmanager
async def imitation(ground: Ground, **options: float) -> AsyncIterator[Simulator]:
    """Yield the API within the test; its book is the judge's."""
    async with Simulator(Options(book=ground.book, **options)) as simulator:  # type: ignore[arg-type]
        yield simulator


def points() -> Sequence[int]:
    """Return the readings at which the clock jumps: a few in quick mode, all in full mode."""
    return range(1, READINGS, times(12, 1))


@pytest.mark.timeout(300)
async def test_a_jump_between_claim_and_settle_is_no_end_of_a_lease(ground: Ground) -> None:
    """A machine whose clock is set while requests are under way sends no video twice and loses no
    answer, at whatever step the clock jumps, with two workers looking at it.
    """
    for way, seconds in JUMPS.items():
        urls = {at: addresses(f"{way}-{at}", 4) for at in points()}
        queues = {at: ground.database(f"{way}-{at}", urls[at]) for at in points()}
        async with imitation(ground, latency_seconds=0.01) as api:
            for at, queue in queues.items():
                clocks = Jumping(seconds, at)
                await asyncio.gather(drain(queue, clocks, api), drain(queue, clocks, api))
                await drain(queue, set_off(2 * HOUR_SECONDS), api)
        everything = [url for each in urls.values() for url in each]
        what = f"the clock jumps an hour {way} at a step of the work"
        verdict = ground.judged(13, what, everything, count=len(urls))
        assert (everything, []) == (verdict.once, verdict.in_doubt)


@pytest.mark.timeout(300)
async def test_a_lease_that_a_jump_has_ended_is_a_doubt(ground: Ground) -> None:
    """A worker that takes a lease for over because the clock was set doubts the video, and does
    not send it: its own late answer settles it, and a lost one leaves it in doubt.
    """
    rounds = times(1, 10)
    for way, seconds in JUMPS.items():
        settled, lost = (addresses(f"{kind}-{way}", rounds) for kind in ("settled", "lost"))
        queue = ground.database(f"ended-{way}")
        async with imitation(ground) as api:
            for place in range(rounds):
                troubled = {"settled": settled[place], "lost": lost[place]}
                hand_in(queue, among_served(troubled.values()))
                await jump_in_flight(queue, api, seconds, way)
            await drain(queue, set_off(2 * HOUR_SECONDS), api)
        what = f"the clock jumps an hour {way} while two wait for answers"
        verdict = ground.judged(13, f"{what}: one comes", settled)
        assert (settled, []) == (verdict.once, verdict.in_doubt)
        verdict = ground.judged(13, f"{what}: one is lost", lost)
        assert (lost, lost) == (verdict.once, verdict.in_doubt)


async def jump_in_flight(queue: str, api: Simulator, seconds: float, way: str) -> None:
    """Set the clock while two requests are under way, and let another worker work meanwhile."""
    clocks, reached, told = set_off(0), asyncio.Semaphore(0), asyncio.Event()
    troubles = {f"settled-{way}": serve, f"lost-{way}": end_before}

    def later(trouble: Trouble) -> Trouble:
        async def wait(line: Line, forward: Forward) -> None:
            shown = await forward()
            reached.release()
            await told.wait()

            async def known() -> bytes:
                return shown

            await trouble(line, known)

        return wait

    held = {kind: (later(trouble),) for kind, trouble in troubles.items()}
    async with Between(api.url, held) as between:
        first = asyncio.create_task(drain(queue, clocks, between))
        for _ in held:
            await within(reached.acquire())
        clocks.seconds = seconds
        await drain(queue, clocks, between)
        told.set()
        await first
    assert {1} == set(between.met.values())


@pytest.mark.timeout(300)
async def test_a_jump_makes_no_absence(ground: Ground) -> None:
    """A doubt that a jump of the clock has made old is not taken for settled: a list that is late
    proves nothing about it, and what the list shows at last settles it.
    """
    for way, seconds in JUMPS.items():
        urls = {at: addresses(f"doubted-{way}-{at}", 1) for at in points()}
        queues = {at: ground.database(f"doubted-{way}-{at}") for at in points()}
        async with imitation(ground, list_delay_seconds=HOUR_SECONDS) as api:
            for at, queue in queues.items():
                hand_in(queue, among_served(urls[at]), due_at=LONG_AGO)
                api.options = replace(api.options, script={len(api.requests) + 2: "lost"})
                await drain(queue, Jumping(seconds, at), api, reconcile=True)
                hand_in(queue, addresses(f"after-{way}-{at}", 1), due_at=LONG_AGO)
                await drain(queue, set_off(seconds), api, reconcile=True)
            sent = Counter(request.url for request in api.requests)
            api.options = Options(book=ground.book)
            for hours, queue in product((2, 4), queues.values()):
                await drain(queue, set_off(hours * HOUR_SECONDS), api, reconcile=True)
        everything = [url for each in urls.values() for url in each]
        what = f"the clock jumps an hour {way} between doubt, list and verdict"
        verdict = ground.judged(13, what, everything)
        assert (everything, []) == (verdict.once, verdict.in_doubt)
        assert {1} == {sent[url] for url in everything}
