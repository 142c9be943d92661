"""A fleet at one pace.

Quick, the workers of a fleet are tasks of the test, each with a database connection of its own; in
full they are processes. Where they share a wall clock that a test sets, they are tasks in both.
"""

import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tests.conftest import open_database
from tests.parts import DRAIN, RUN_SETTINGS, Worker
from tests.processes.programs import Program
from tests.proof.ground import FULL, Ground, addresses, together
from worker.clock import Clock
from worker.simulator import Simulator

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
        """Run a real worker process."""
        program = await self._start("drain", "--max-seconds", str(seconds))
        done = await program.ended(patience=seconds + 60)
        assert {done.code} <= {0, 75}, done.err

    async def daemon(self) -> Program:
        """Return one that works until it is killed."""
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
        """Run a worker in this loop."""
        settings = replace(RUN_SETTINGS, rate=self.rate, period_seconds=self.period)
        worker = Worker(
            name=secrets.token_hex(8),
            options=replace(DRAIN, max_seconds=seconds),
            settings=settings,
            clock=clock or OneClock().clock,
            slots=SLOTS,
        )
        async with open_database(self.queue) as database:
            await worker.run(database, self.api.url)


def endless(ground: Ground, name: str, count: int = 2_000) -> str:
    """Return a queue that no test empties."""
    return ground.database(name, addresses(name, count), due_at=LONG_AGO)
