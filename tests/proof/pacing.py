"""A fleet at one pace, and what the judge of it counts: when requests came, by the API's own log.

Quick, the workers of a fleet are tasks of the test, each with a database connection of its own; in
full they are processes. Where they share a wall clock that a test sets, they are tasks in both.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tests.conftest import open_database
from tests.parts import DRAIN, RUN_TERMS, Worker
from tests.processes.programs import Program
from tests.proof.ground import FULL, Ground, addresses, together
from worker.clock import Clock
from worker.simulator import LIMITED, Request, Simulator

JITTER = 1
"""What the wire may push from one period into the next."""

BEAT_SECONDS = 0.01

HOPS = 3
"""From a start to its arrival: a timer, a connection, the server; each may be held up."""

NOTICED_SECONDS = 0.02
"""A beat that is later than this is one at which the machine held everybody up."""

LONG_AGO = "2000-01-01 00:00:00"
"""Due by any clock."""

SLOTS = 8


@dataclass
class OneClock:
    """The clocks of this machine; a test sets the wall clock ahead by ``seconds``."""

    seconds: float = 0.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(now=self._now, monotonic=time.monotonic)

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Drains on one queue that never ends, at ``rate`` per ``period`` seconds."""

    ground: Ground
    queue: str
    api: Simulator
    rate: int
    period: float = 1.0

    async def work(self, workers: int, seconds: float) -> None:
        """Let so many start at once and drain for so long."""
        drain = self.process if FULL else self.task
        await together(*(drain(seconds) for _ in range(workers)))

    async def process(self, seconds: float) -> None:
        """A real one."""
        program = await self._start("drain", "--max-seconds", str(seconds))
        done = await program.ended(patience=seconds + 60)
        assert {done.code} <= {0, 75}, done.err

    async def daemon(self) -> Program:
        """One that works until it is killed."""
        return await self._start("run")

    async def _start(self, *arguments: str) -> Program:
        return await self.ground.start(
            *arguments,
            database_url=self.queue,
            api_url=self.api.url,
            rate=self.rate,
            period_seconds=self.period,
            concurrency=SLOTS,
            log_level="error",
        )

    async def task(self, seconds: float, clock: Clock | None = None) -> None:
        """A worker of this loop."""
        terms = replace(
            RUN_TERMS,
            worker=secrets.token_hex(8),
            rate=self.rate,
            period_seconds=self.period,
        )
        worker = Worker(
            orders=replace(DRAIN, max_seconds=seconds),
            terms=terms,
            clock=clock or OneClock().clock,
            slots=SLOTS,
        )
        async with open_database(self.queue) as database:
            await worker.run(database, self.api.url)


@dataclass
class Metronome:
    """How late this machine wakes who sleeps, in seconds: at worst, and in all. A start that it
    held up comes later than the worker wanted, and no worker can help that.
    """

    worst: float = 0.0
    total: float = 0.0

    async def beat(self) -> None:
        """Measure until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            late = time.monotonic() - began - BEAT_SECONDS
            self.worst = max(self.worst, late)
            self.total += late if late > NOTICED_SECONDS else 0.0


@asynccontextmanager
async def metronome() -> AsyncIterator[Metronome]:
    """One that beats meanwhile."""
    measured = Metronome()
    beating = asyncio.create_task(measured.beat())
    yield measured
    beating.cancel()


@dataclass(frozen=True, kw_only=True)
class Log:
    """When requests arrived, in seconds from the first one on; how late the machine was."""

    came: Sequence[float]
    late: Metronome

    def keeps(self, rate: int, period: float) -> None:
        """Fails where a sliding period holds more than ``rate``, jitter and late starts apart."""
        allowed = rate + JITTER + int(HOPS * self.late.worst * rate / period)
        assert fullest(self.came, period) <= allowed, self.late

    def spaces(self, seconds: float) -> None:
        """Fails where two came within less than so long, but for what held up the first of them."""
        shortest = min(after - before for before, after in pairwise(self.came))
        assert shortest >= seconds - HOPS * self.late.worst, self.late

    def uses(self, share: float, rate: int, period: float, begin: float, end: float) -> None:
        """Fails where less than a share of the allowed starts came from ``begin`` to ``end``, but
        for the time for which the machine held everybody up.
        """
        found = used(self.came, rate, period, begin, end)
        assert found >= share - self.late.total / (end - begin), self.late


def endless(ground: Ground, name: str, count: int = 2_000) -> str:
    """A queue that no test empties."""
    return ground.database(name, addresses(name, count), due_at=LONG_AGO)


def moments(requests: Sequence[Request]) -> list[float]:
    """When they arrived, in seconds from the first on, in order."""
    arrived = sorted(request.arrived_at for request in requests)
    return [at - arrived[0] for at in arrived]


def fullest(arrivals: Sequence[float], period: float) -> int:
    """The most that any sliding period holds."""
    most, first = 0, 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] >= period:
            first += 1
        most = max(most, last - first + 1)
    return most


def used(arrivals: Sequence[float], rate: int, period: float, begin: float, end: float) -> float:
    """The share of the allowed starts that came from ``begin`` on and before ``end``."""
    return sum(begin <= at < end for at in arrivals) / (rate * (end - begin) / period)


def let_through(requests: Sequence[Request]) -> Iterator[tuple[float, bool]]:
    """Each request as its second, counted from the first, and whether the limit let it through."""
    for request in requests:
        yield request.arrived_at - requests[0].arrived_at, request.kind != LIMITED
