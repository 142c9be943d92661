"""Scenario 12, what ails the API itself: a proxy answers for it, it asks for a pause, a key is
revoked.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.processes.programs import Program, states, until, videos, within
from tests.proof.between import Between, Forward, serve
from tests.proof.ground import Ground, addresses, among_served, hand_in, times
from tests.wire import Line, answer
from worker.simulator import Options, Simulator

SLOTS = 8

CROWD = 8
"""Unclear outcomes in a row after which no request starts (law 13)."""

TOGETHER = times(7, 60)
"""Answers at one instant that ask for the same pause."""

RATE = times(20, 60)
"""Starts per second after that pause."""

BURST = times(TOGETHER - 1, RATE // 5)
"""Arrivals that a tenth of a second may hold then, for a busy machine: not all, or twice the pace.
"""

SLOW = answer(b'{"errors": [{"message": "slow"}]}', "429 Too Many Requests", Retry_After="1")


@asynccontextmanager
async def imitation(ground: Ground) -> AsyncIterator[Simulator]:
    """Yield the API within the test, which may change its mind; its book is the judge's."""
    async with Simulator(Options(book=ground.book)) as simulator:
        yield simulator


async def cooled_down(daemon: Program, count: int) -> None:
    """Wait until the daemon's own answers have begun so many cool-downs: such a line of the log
    says the seconds. That a cool-down holds a claim is logged too.
    """
    begun = partial(daemon.events, "cool_down")
    await until(lambda: sum("seconds" in each for each in begun()) >= count)


@pytest.mark.timeout(300)
async def test_what_ails_the_api_is_no_row_s_fault(ground: Ground) -> None:
    """While a proxy answers for the API, or it asks for a pause, or the key is revoked, hardly a
    request is made and no row is charged for it; when it is over, all videos come in.
    """
    scenes = (behind_a_proxy, asked_to_pause, revoked, revoked_for_a_while)
    async with asyncio.TaskGroup() as playing:
        for scene in scenes:
            playing.create_task(scene(ground))


async def behind_a_proxy(ground: Ground) -> None:
    """Check that many unclear answers make only a few doubts."""
    urls = addresses("behind-a-proxy", times(40, 1_000))
    queue, probes = ground.database("behind-a-proxy", urls[:1]), times(1, 2)
    async with imitation(ground) as api:
        worker: dict[str, Any] = {"database_url": queue, "api_url": api.url, "concurrency": SLOTS}
        daemon = await ground.start("run", **worker)
        await daemon.logged("attempt_ended", outcome="accepted")
        api.options = replace(api.options, failures={"lost-502": 1.0})
        hand_in(queue, urls[1:])
        await cooled_down(daemon, 1 + probes)
        daemon.signal(signal.SIGTERM)
        assert 143 == (await daemon.ended()).code
        handful = CROWD + SLOTS - 1 + probes
        assert 1 + CROWD + probes <= len(api.requests) <= 1 + handful
        api.options = replace(api.options, failures={})
        await ground.finish(queue, api_url=api.url)
    verdict = ground.judged(12, "a proxy answers for the API", urls)
    assert CROWD <= len(verdict.in_doubt) <= handful
    assert urls == verdict.once


async def asked_to_pause(ground: Ground) -> None:
    """Answers that ask all at once for a pause are not followed by requests all at once."""
    urls, told = addresses("asked-to-pause", TOGETHER), asyncio.Event()
    queue = ground.database("asked-to-pause", among_served(urls[:1]))
    hand_in(queue, urls[1:])
    waiting: list[float] = []

    async def all_at_once(line: Line, _: Forward) -> None:
        waiting.append(time.monotonic())
        if len(waiting) == TOGETHER:
            told.set()
        await within(told.wait())
        line.say(SLOW)

    async with (
        imitation(ground) as api,
        Between(api.url, {"asked-to-pause": (all_at_once, serve)}) as between,
    ):
        worker = {"database_url": queue, "api_url": between.url, "concurrency": TOGETHER}
        more = {"rate": RATE, "backoff_base_seconds": 0.001}
        done = await ground.run("drain", "--wait", **worker, **more)
        assert (0, {"submitted": TOGETHER + 1}) == (done.code, states(queue))
        arrived = sorted(request.arrived_at for request in api.requests[1:])
    assert max(waiting) + 1 <= arrived[0]
    fullest = max(sum(at <= other < at + 0.1 for other in arrived) for at in arrived)
    assert fullest <= BURST < TOGETHER
    ground.judged(12, f"{TOGETHER} answers at once that ask for a pause", urls)


async def revoked(ground: Ground) -> None:
    """Check that a drain whose key is refused ends after two requests."""
    urls = addresses("revoked", times(10, 200))
    queue = ground.database("revoked", urls)
    async with imitation(ground) as api:
        api.options = replace(api.options, keys=frozenset({"another-key"}))
        done = await ground.run("drain", database_url=queue, api_url=api.url)
        assert (77, 2) == (done.code, len(api.requests))
        assert {("pending", 0)} == {(row["state"], row["attempts"]) for row in videos(queue)}
        api.options = Options(book=ground.book)
        await ground.finish(queue, api_url=api.url)
    assert urls == ground.judged(12, "a revoked key and a drain", urls).once


async def revoked_for_a_while(ground: Ground) -> None:
    """Check that a daemon with a refused key waits, and goes on when the key works again."""
    urls = addresses("revoked-for-a-while", times(10, 200))
    queue = ground.database("revoked-for-a-while", urls)
    async with imitation(ground) as api:
        api.options = replace(api.options, keys=frozenset({"another-key"}))
        worker: dict[str, Any] = {"database_url": queue, "api_url": api.url}
        daemon = await ground.start("run", **worker, backoff_base_seconds=0.05)
        await cooled_down(daemon, times(1, 2))
        assert 1 + times(1, 2) == len(api.requests)
        api.options = Options(book=ground.book)
        await daemon.logged("attempt_ended", len(urls), outcome="accepted")
        daemon.signal(signal.SIGTERM)
        assert 143 == (await daemon.ended()).code
    assert {("submitted", 1)} == {(row["state"], row["attempts"]) for row in videos(queue)}
    assert urls == ground.judged(12, "a revoked key and a daemon", urls).once
