"""Scenario 15: a fleet on one PostgreSQL server that is restarted, crashes, ends sessions or cannot
be reached, while workers are killed. The server is this scenario's own.
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from tests.conftest import migrated_on
from tests.passage import Passage, passage
from tests.processes.programs import Program, execute, states, until
from tests.proof.conftest import played
from tests.proof.databases import Served
from tests.proof.ground import FULL, HOUR_SECONDS, Ground, addresses, hand_in, times, together
from worker.simulator import Options, Simulator

PROCESSES = times(3, 8)
ROUNDS = times(1, 6)
PAUSE_SECONDS = times(2, 30)
"""Seconds that the network is cut."""

DOWN_SECONDS = times(0.5, 5)
"""Seconds that the server stays down at most."""

EACH = times(20, 150)
"""Videos that come before each trouble, and once more after it."""

FAULTS = dict.fromkeys(("lost", "lost-502", "reset", "500", "503"), 0.01)

RECOVERY_SECONDS = 180.0
"""Seconds that the worst may take: the server waits 10 s for a silent worker."""

LEAD_SECONDS = 0.25
"""A start is at most so far ahead (law 12)."""

MARGIN_SECONDS = 0.75
"""For a machine that is busy."""

SLOTS = 40
SLOW = 10
"""Starts per second: who claimed for all slots would have starts for four seconds."""

OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5
"""


UNCLAIMED = "SELECT id FROM videos WHERE claims = 0"

END_STANDING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'idle in transaction'
"""

SESSIONS = """
SELECT pid, state, wait_event, clock_timestamp() - xact_start AS open, query FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def own() -> Iterator[postgres.Server]:
    """Yield a server of this test alone, whose commits are on disk."""
    with postgres.own() as server:
        yield server


@pytest.fixture(scope="module")
def own_template(own: postgres.Server) -> str:
    """Return a migrated database of it."""
    return migrated_on(own.url)


@pytest.fixture
def own_databases(own: postgres.Server, own_template: str) -> Iterator[Served]:
    """Yield databases of it."""
    databases = Served(own.url, own_template)
    yield databases
    databases.close()


@pytest.fixture
async def place(
    tmp_path: Path, own_databases: Served, pytestconfig: pytest.Config
) -> AsyncIterator[Ground]:
    """Yield a place on this server."""
    async with played(tmp_path, own_databases, pytestconfig) as ground:
        yield ground


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Workers on one queue. ``way``: how they get there; ``alive``: those that were not killed."""

    place: Ground
    server: postgres.Server
    queue: str
    way: Passage
    api: Simulator
    alive: list[Program] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    async def join(self, **settings: Any) -> Program:  # noqa: ANN401
        """Return one more worker."""
        worker = {"database_url": self.way.url, "api_url": self.api.url, **settings}
        program = await self.place.start("run", **worker)
        self.alive.append(program)
        await program.logged("run_started")  # which it says when it has found its database
        return program

    async def grow(self, **settings: Any) -> None:  # noqa: ANN401
        """Start workers up to the full number."""
        await together(*(self.join(**settings) for _ in range(PROCESSES - len(self.alive))))

    def bring(self, count: int) -> None:
        """Add that many videos."""
        new = addresses(f"fleet-{len(self.urls)}", count)
        hand_in(self.queue, new)
        self.urls.extend(new)

    async def sends(self, count: int) -> None:
        """Wait for so many requests more."""
        before = len(self.api.requests)
        await self.until(lambda: len(self.api.requests) >= before + count)

    async def has_claimed_all(self) -> None:
        """Wait until every video has been claimed; some are due again only later."""
        await self.until(lambda: [] == execute(self.queue, UNCLAIMED))

    async def all_work(self) -> None:
        """Bring more until each worker has sent one of them."""
        before = {program: len(program.events("attempt_ended")) for program in self.alive}
        async with asyncio.timeout(RECOVERY_SECONDS):
            while any(len(p.events("attempt_ended")) == count for p, count in before.items()):
                self.bring(EACH)
                await self.has_claimed_all()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until it is so; where it never is, what there is to see is told."""
        try:
            await until(reached, RECOVERY_SECONDS)
        except TimeoutError:
            sessions = execute(self.queue, SESSIONS)
            lines = [line for program in self.alive for line in program.lines[-5:]]
            told = (states(self.queue), *sessions, *lines)
            raise AssertionError("\n".join(map(str, told))) from None

    async def leaves(self) -> None:
        """End all of them in order; whoever ended before, or in another way, has failed."""
        for program in self.alive:
            program.signal(signal.SIGTERM)
        for program in self.alive:
            done = await program.ended()
            assert 143 == done.code, done.err
            assert "Traceback" not in done.err


@asynccontextmanager
async def workers(place: Ground, server: postgres.Server, **options: Any) -> AsyncIterator[Fleet]:  # noqa: ANN401
    """Yield a fleet without workers, and an API that behaves so."""
    queue = place.database("fleet")
    async with (
        Simulator(Options(book=place.book, **options)) as api,
        passage(queue) as way,
    ):
        yield Fleet(place=place, server=server, queue=queue, way=way, api=api)


async def restarted(workers: Fleet) -> None:
    """Restart the server."""
    await down(workers.server.stop, workers)


async def crashed(workers: Fleet) -> None:
    """Crash the server and lose all data not on disk."""
    await down(workers.server.crash, workers)


async def down(how: Callable[[], None], workers: Fleet) -> None:
    """End it, and start it after a while."""
    await asyncio.to_thread(how)
    await asyncio.sleep(random.uniform(0, DOWN_SECONDS))  # not to wait: so long it is down
    await asyncio.to_thread(workers.server.start)


async def sessions_ended(workers: Fleet) -> None:
    """End sessions in the middle of their work."""
    for _ in range(5):
        execute(workers.queue, OTHERS)
        await asyncio.sleep(random.uniform(0, 0.2))  # not to wait: to hit any step of the next


async def connections_broken(workers: Fleet) -> None:
    """Break all connections at once."""
    workers.way.cut()


async def nothing_passes(workers: Fleet) -> None:
    """Stop the network for a while."""
    workers.way.open.clear()
    await asyncio.sleep(PAUSE_SECONDS)  # not to wait: so long lasts the pause
    workers.way.open.set()


async def workers_killed(workers: Fleet) -> None:
    """Half of the workers die, and others are started."""
    for program in random.sample(workers.alive, PROCESSES // 2):
        workers.alive.remove(program)
        program.kill()
        assert -signal.SIGKILL == (await program.ended()).code
    await workers.grow(**WORKER)


WORKER: Mapping[str, Any] = {
    "rate": times(60, 100),
    "timeout_seconds": 2,
    "backoff_base_seconds": 0.05,
    "on_doubt": "reconcile",
    "doubt_settle_seconds": 1,
}

TROUBLES: tuple[Callable[[Fleet], Awaitable[None]], ...] = (
    restarted,
    crashed,
    sessions_ended,
    connections_broken,
    nothing_passes,
    workers_killed,
)


def plan() -> Iterator[Callable[[Fleet], Awaitable[None]]]:
    """Yield every trouble once in a round, in any order."""
    for _ in range(ROUNDS):
        yield from random.sample(TROUBLES, len(TROUBLES))


@pytest.mark.timeout(1_800)
async def test_a_fleet_outlives_the_troubles_of_its_database(
    place: Ground, own: postgres.Server
) -> None:
    """Whatever becomes of the server, the sessions and the network under load, the workers go on by
    themselves when it is over; none of the videos is bought twice or lost.
    """
    async with workers(place, own, latency_seconds=0.02, failures=FAULTS) as ours:
        await ours.grow(**WORKER)
        for trouble in plan():
            ours.bring(EACH)
            await ours.sends(random.randrange(1, EACH // 2))
            await trouble(ours)
            ours.bring(EACH)
            await ours.has_claimed_all()
        await ours.all_work()
        await ours.leaves()
        await finished(ours)
    verdict = place.judged(15, "a fleet, and its database in trouble", ours.urls)
    assert len(ours.urls) * 0.95 < len(verdict.once)


async def finished(workers: Fleet) -> None:
    """Let a worker that nobody disturbs do what is left, when every lease is over, and settle the
    doubts that the API's list settles.
    """
    workers.api.options = Options(book=workers.place.book)
    for number in range(1, 10):
        where = {"api_url": workers.api.url, **WORKER}
        await workers.place.finish(workers.queue, seconds=number * HOUR_SECONDS, **where)
        if {"submitted", "failed", "in_doubt"} >= set(states(workers.queue)):
            return


@pytest.mark.timeout(300)
async def test_workers_that_are_cut_off_from_the_database_send_nothing(
    place: Ground, own: postgres.Server
) -> None:
    """Workers cut off from their database send nothing, and go on when it is back."""
    async with workers(place, own) as ours:
        await ours.grow(rate=SLOW, concurrency=SLOTS)
        ours.bring(times(80, 2_000))
        await ours.sends(SLOW)
        cut_at = time.monotonic()
        await nothing_passes(ours)
        back_at = time.monotonic()
        await ours.sends(SLOW)
        arrived = [request.arrived_at for request in ours.api.requests]
        await ours.leaves()
        await finished(ours)
    quiet_from = cut_at + LEAD_SECONDS + MARGIN_SECONDS
    assert [] == [at - cut_at for at in arrived if quiet_from < at < back_at]
    verdict = place.judged(15, "a fleet that is cut off from its database", ours.urls)
    assert ours.urls == verdict.once


@pytest.mark.timeout(300)
async def test_one_that_is_cut_off_in_a_transaction_holds_nobody_up_for_long(
    place: Ground, own: postgres.Server
) -> None:
    """A worker cut off in a transaction delays the others only briefly, and comes back itself."""
    async with workers(place, own) as ours, passage(ours.queue) as lonely:
        ours.bring(EACH)
        lonely.word, lonely.stops = b"INSERT INTO commits", True
        cut_off = await ours.join(**WORKER, database_url=lonely.url)
        await until(lambda: lonely.words == 1)
        await ours.grow(**WORKER)
        if not FULL:  # what the server does by itself after half a minute
            execute(ours.queue, END_STANDING)
        await ours.has_claimed_all()
        assert [] == cut_off.events("attempt_ended")
        lonely.open.set()
        await ours.all_work()
        await ours.leaves()
        await finished(ours)
    verdict = place.judged(15, "one of a fleet is cut off in a transaction", ours.urls)
    assert (ours.urls, []) == (verdict.once, verdict.in_doubt)
