"""A drain in front of an API that takes jobs and answers no question."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.parts import Worker, add
from tests.runner.test_following_run import URLS, due_at_once
from tests.wire import NEVER_SECONDS, Line, MovableLoop, Wire, answer
from worker.core.reasons import StopReason
from worker.db.database import Database
from worker.store import jobs


@asynccontextmanager
async def hanging(asked: asyncio.Event) -> AsyncIterator[str]:
    """Yield the address of an API that takes jobs and answers no question."""
    made = iter(range(100))

    async def script(line: Line) -> None:
        while True:
            request = await line.request()
            if request.startswith(b"GET"):
                asked.set()
                await line.rest()
                return
            line.say(answer(b'{"job_id": "j-%d"}' % next(made)))

    async with Wire(script) as wire:
        yield wire.url


@pytest.mark.parametrize("how", ["stop", "time"])
async def test_the_last_question_holds_no_exit(database: Database, how: str) -> None:
    """A stop, or an API that does not answer for seconds, ends the wait for the last question."""
    await due_at_once(database)
    await add(database, *URLS)
    asked = asyncio.Event()
    worker = Worker(timeout_seconds=NEVER_SECONDS)
    async with hanging(asked) as url, worker.on(database, url) as runner:
        running = asyncio.create_task(runner.run())
        await asyncio.wait_for(asked.wait(), 30)
        if how == "stop":
            runner.stop()
        else:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, MovableLoop)
            loop.moved += 5.0
        report = await asyncio.wait_for(running, 30)
    assert (StopReason.EMPTY, 3) == (report.stop.reason, report.counts.submitted)
    assert 3 == (await database.read(jobs.counts)).open
