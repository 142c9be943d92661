"""Scenario 1: kill -9 at random moments, among faults of every kind, with several in flight."""

import asyncio
import random
import signal
from typing import Any

import pytest

from tests.processes.programs import Program, states
from tests.proof.ground import HOUR_SECONDS, Ground, addresses, times
from worker.simulator import KINDS

RESTARTS = times(5, 200)
VIDEOS = times(100, 5_000)

STATUSES = (
    *("400", "401", "404", "408", "409", "429", "500", "503"),
    *("proxy-502", "proxy-504", "retry-after-503"),
)
LIES = {"same-id", "unasked"}
"""Answers that name a wrong job: that of another video whose own answer was lost, or one that
nobody asked for, said on a kept connection just after the next request was sent on it. Nobody can
tell them from true ones, so they are no part of the promise.
"""
FAULTS = (*STATUSES, *(kind for kind in KINDS if "STATUS" not in kind and kind not in LIES))
SHARE = 0.05 / len(FAULTS)
"""One request in twenty meets one of them."""


async def cut_off(program: Program) -> int:
    """Kill it at a random moment of its work, if it has not ended by itself; its exit code."""
    more = random.randrange(VIDEOS // RESTARTS)
    line, count = ("attempt_ended", more) if more else ("run_started", 1)
    reached = asyncio.create_task(program.logged(line, count))
    ended = asyncio.create_task(program.ended())
    await asyncio.wait({reached, ended}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(random.uniform(0, 0.02))  # not to wait: to hit any step of the next ones
    if not ended.done():
        program.kill()
    await asyncio.gather(reached, ended, return_exceptions=True)
    return ended.result().code


async def restarted(ground: Ground, queue: str, number: int, worker: dict[str, Any]) -> Program:
    """Start the worker for the n-th time, at once after a kill.

    From half of the runs on, start it late enough that every lease is over.
    """
    if number < RESTARTS // 2:
        return await ground.start("drain", "--wait", database_url=queue, **worker)
    hours = str(number * HOUR_SECONDS)
    program = ("-m", "tests.proof.ahead")
    return await ground.start(hours, queue, "--wait", program=program, **worker)


async def finished(ground: Ground, queue: str, worker: dict[str, Any]) -> None:
    """Let workers that nobody kills do what is left, and settle the doubts that the API's list
    settles; two refused keys in a row end one early.
    """
    for number in range(RESTARTS, RESTARTS + 10):
        hours = number * HOUR_SECONDS
        await ground.finish(queue, seconds=hours, on_doubt="reconcile", **worker)
        if {"submitted", "failed", "in_doubt"} >= set(states(queue)):
            return


@pytest.mark.timeout(1_200)
async def test_kill_9_at_random_moments(ground: Ground) -> None:
    """Wherever a worker is cut off, whatever the API does meanwhile: each job that was bought is
    known or doubted, none is bought again, and no video vanishes.
    """
    urls = addresses("any", VIDEOS)
    queue = ground.database("queue", urls)
    faults = [word for kind in FAULTS for word in ("--fail", f"{kind}={SHARE}")]
    seed = str(random.randrange(1_000_000))
    worker: dict[str, Any] = {
        "api_url": await ground.imitate("--latency", "0.02", "--seed", seed, *faults),
        "concurrency": 8,
        "rate": 200,
        "timeout_seconds": 2,
        "backoff_base_seconds": 0.05,
    }
    codes = [
        await cut_off(await restarted(ground, queue, number, worker)) for number in range(RESTARTS)
    ]
    await finished(ground, queue, worker)

    assert {-signal.SIGKILL, 0, 1, 75, 77, 78} >= set(codes)
    assert RESTARTS / 3 < codes.count(-signal.SIGKILL)
    assert {"submitted", "failed", "in_doubt"} >= set(states(queue))
    ground.judged(1, "kill -9 at random moments", urls, count=RESTARTS)
