"""Prove one pace and one cool-down for all workers (law 10), by the simulator's log."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import pytest

from tests.arrivals import HOPS, Log, metronome, moments
from tests.processes.programs import within
from tests.proof.ground import FULL, Ground, times, together
from tests.proof.pacing import Fleet, OneClock, endless
from worker.simulator import Options, Simulator

RATE = 10
"""A second, where nothing else is told."""

NEARLY_ALL = times(0.85, 0.95)
"""The share of the allowed starts that must be used; in short, a late one or two are much of it."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2, 4, 8] if FULL else [1, 8])
@pytest.mark.parametrize(
    ("rate", "period", "seconds"),
    [(RATE, 1.0, 30.0), (50, 1.0, 30.0), (100, 60.0, 130.0)] if FULL else [(RATE, 1.0, 4.0)],
)
async def test_all_start_at_once_and_keep_one_pace(
    ground: Ground, workers: int, rate: int, period: float, seconds: float
) -> None:
    """However many begin in the same moment, no sliding period holds more than is allowed, and
    nearly all of it is used.
    """
    async with Simulator(Options()) as api, metronome() as late:
        queue = endless(ground, "shared", 5_000)
        pool = Fleet(ground=ground, queue=queue, api=api, rate=rate, period=period)
        await pool.work(workers, seconds + 1)
        log = Log(came=moments(api.requests), late=late)
    log.keeps(rate, period)
    log.uses(NEARLY_ALL, rate, period, min(period, seconds / 4), seconds - 1)


@pytest.mark.timeout(300)
async def test_a_restart_begins_no_new_period(ground: Ground) -> None:
    """20 per 4 s, or 100 a minute, are that in any sliding period, however often the worker is
    killed and started again; what a killed one had reserved is lost, and not made up for.
    """
    rate, period = (100, 60.0) if FULL else (20, 4.0)
    async with Simulator(Options()) as api, metronome() as late:
        queue = endless(ground, "restarted")
        workers = Fleet(ground=ground, queue=queue, api=api, rate=rate, period=period)
        for _ in range(times(3, 30)):
            program = await workers.daemon()
            await within(api.wait_for_requests(len(api.requests) + random.randint(5, 8)))
            program.kill()
            await program.ended()
        log = Log(came=moments(api.requests), late=late)
    log.keeps(rate, period)
    log.keeps(rate // 4 + 1, period / 4)  # the first start of a new process may come late


@pytest.mark.timeout(300)
async def test_what_killed_workers_had_reserved_is_not_made_up_for(ground: Ground) -> None:
    """With several starts reserved by each, kill -9 of some leaves the rest at the pace of all. It
    is judged from the last kill on: how late a killed process was by itself is not known.
    """
    rate, seconds = 40, times(3, 60)
    async with Simulator(Options(latency_seconds=0.05)) as api, metronome() as late:
        queue = endless(ground, "killed", 5_000)
        workers = Fleet(ground=ground, queue=queue, api=api, rate=rate)
        killed = [await workers.daemon() for _ in range(times(2, 4))]
        staying = asyncio.create_task(workers.work(times(2, 4), seconds + 2.0))
        for program in killed:
            await within(api.wait_for_requests(len(api.requests) + rate))
            program.kill()
            await program.ended()
        alive = asyncio.get_running_loop().time()
        await staying
        log = Log(came=moments(r for r in api.requests if r.arrived_at > alive), late=late)
    log.keeps(rate, 1.0)
    log.uses(NEARLY_ALL, rate, 1.0, log.came[-1] - seconds / 2, log.came[-1])


@pytest.mark.timeout(300)
async def test_a_lowered_rate_holds_when_the_last_has_it(ground: Ground) -> None:
    """While some workers have the old rate and some the new, no period holds more than the higher
    one; as soon as the last has the lower one, that holds, and is used.
    """
    high, seconds = 4 * RATE, times(2, 30)
    async with Simulator(Options()) as api, metronome() as late:
        queue = endless(ground, "lowered", 5_000)
        before = Fleet(ground=ground, queue=queue, api=api, rate=high)
        after = replace(before, rate=RATE)
        old = asyncio.create_task(before.work(2, seconds))
        await within(api.wait_for_requests(high // 2))
        new = asyncio.create_task(after.work(2, 3.0 * seconds))
        await old
        lowered = asyncio.get_running_loop().time() - api.requests[0].arrived_at
        await new
        log = Log(came=moments(api.requests), late=late)
    log.keeps(high, 1.0)
    later = replace(log, came=[at for at in log.came if at > lowered + 0.1])
    later.keeps(RATE, 1.0)
    later.uses(0.95, RATE, 1.0, later.came[0], later.came[-1])


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "back"])
async def test_a_clock_that_is_set_by_an_hour_changes_no_pace(ground: Ground, hours: int) -> None:
    """Four workers on a machine whose clock is set in mid-run start nothing early, and lose one
    distance at most.
    """
    seconds, period = times(6, 30), 4.0
    async with Simulator(Options(latency_seconds=0.05)) as api, metronome() as late:
        queue, clocks = endless(ground, "set"), OneClock()
        workers = Fleet(ground=ground, queue=queue, api=api, rate=RATE, period=period)
        drains = [asyncio.create_task(workers.task(seconds, clocks.clock)) for _ in range(4)]
        await within(api.wait_for_requests(RATE))
        clocks.seconds += hours * 3600  # before the answer lets its worker look for more
        await together(*drains)
        log = Log(came=moments(api.requests), late=late)
    log.keeps(RATE, period)
    log.spaces(0.6 * period / RATE)
    log.uses(0.9, RATE, period, 0.5, seconds - 0.5)


async def set_at_each(clocks: OneClock, api: Simulator, steps: Iterator[float]) -> None:
    """Set the clock at every second request."""
    for step in steps:
        await api.wait_for_requests(len(api.requests) + 2)
        clocks.seconds += step


async def test_a_clock_that_is_set_again_and_again_makes_nothing_early(ground: Ground) -> None:
    """Half a minute is less than a lease: what was reserved before is sent, and still nothing
    comes before its turn.
    """
    seconds, steps = times(4, 60), cycle((30.0, 30.0, -30.0, 30.0, -30.0))
    async with Simulator(Options()) as api, metronome() as late:
        queue, clocks = endless(ground, "unsteady"), OneClock()
        workers = Fleet(ground=ground, queue=queue, api=api, rate=RATE)
        drains = [asyncio.create_task(workers.task(seconds, clocks.clock)) for _ in range(4)]
        setting = asyncio.create_task(set_at_each(clocks, api, steps))
        await together(*drains)
        setting.cancel()
        log = Log(came=moments(api.requests), late=late)
    log.keeps(RATE, 1.0)
    log.uses(0.6, RATE, 1.0, 0.5, seconds - 0.5)


@pytest.mark.parametrize("kind", ["429", "retry-after-503"])
async def test_what_one_is_told_holds_all(ground: Ground, kind: str) -> None:
    """A request to wait that one of four workers gets is kept by all: nothing begins until it is
    over, but what had been reserved when the answer was on disk.
    """
    async with Simulator(Options(script={20: kind, 40: kind})) as api, metronome() as late:
        queue = endless(ground, "told")
        workers = Fleet(ground=ground, queue=queue, api=api, rate=4 * RATE)
        await workers.work(4, times(5, 15))
        came = [request.arrived_at for request in api.requests]
        told = [request.arrived_at for request in api.requests if request.kind == kind]
    assert 2 == len(told)
    quiet = 0.5 + HOPS * late.worst
    for at in told:
        assert [] == [other - at for other in came if at + quiet < other < at + 1.0]
        assert [] != [other for other in came if at + 1.0 <= other]
