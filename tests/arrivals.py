"""Judge a pace by a log of arrivals, on a machine that may be late itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

from worker.simulator import LIMITED, Request

JITTER = 1
"""Starts that the network may push from one period into the next."""

BEAT_SECONDS = 0.01

HOPS = 3
"""From a start to its arrival: a timer, a connection, the server; each may be held up."""

NOTICED_SECONDS = 0.02
"""A beat later than this means that the whole machine was late."""


@dataclass
class Metronome:
    """The lateness of this machine's wake-ups in seconds: the worst, and the sum. A start that
    the machine held up comes late through no fault of the worker.
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
    """Yield one that beats meanwhile."""
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


def moments(requests: Iterable[Request]) -> list[float]:
    """Return the arrival times in order, in seconds from the first on."""
    arrived = sorted(request.arrived_at for request in requests)
    return [at - arrived[0] for at in arrived]


def fullest(arrivals: Sequence[float], period: float) -> int:
    """Return the most that any sliding period holds."""
    most, first = 0, 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] >= period:
            first += 1
        most = max(most, last - first + 1)
    return most


def used(arrivals: Sequence[float], rate: int, period: float, begin: float, end: float) -> float:
    """Return the share of the allowed starts that came from ``begin`` on and before ``end``."""
    return sum(begin <= at < end for at in arrivals) / (rate * (end - begin) / period)


def let_through(requests: Sequence[Request]) -> Iterator[tuple[float, bool]]:
    """Yield the second of each request, from the first on, and True if the limit let it through."""
    for request in requests:
        yield request.arrived_at - requests[0].arrived_at, request.kind != LIMITED
