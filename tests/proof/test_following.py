"""Scenario 16: kill -9 at each step of following jobs and of fetching their results."""

import signal
from contextlib import suppress

import pytest

from tests.processes.programs import Program, execute, until
from tests.proof.following import ASK, GONE, LIST, LISTED, MISSED, TOLD
from tests.proof.ground import HOUR_SECONDS, Ground, addresses
from tests.proof.judge_jobs import Ends, misjudged
from tests.proof.pausing import REACHED

FOLLOWING = (*LIST, *LISTED, *ASK, *TOLD, MISSED, *GONE)
"""In the order of one life: the list shows most ends, job_status the details of each error and what
it does not know, and a list one hour later that this is gone.
"""

JOBS = 21
"""A list without those that are gone does not look like a page."""

OPEN = "SELECT * FROM jobs WHERE ended_as IS NULL"

QUIET_SECONDS = 6.0
"""Then whatever is due by now has been asked."""


async def follower(ground: Ground, queue: str, hours: int, *point: str, **more: object) -> Program:
    """Start a worker so many hours ahead, perhaps one that stops at a point."""
    return await ground.start(
        str(hours * HOUR_SECONDS),
        *point,
        program=("-m", "tests.proof.following"),
        database_url=queue,
        **more,
    )


async def kill(program: Program) -> None:
    """Kill it, whatever it does."""
    program.kill()
    assert -signal.SIGKILL == (await program.ended()).code


def is_over(ground: Ground, queue: str) -> bool:
    """Return True if each end in the book is in the table."""
    open_ = {row["job_id"] for row in execute(queue, OPEN)}
    return open_.isdisjoint(Ends(ground.book).ends)


async def followed(ground: Ground, queue: str, hours: int, **more: object) -> None:
    """Let workers that nobody kills see all ends, each an hour after the other."""
    for hour in range(hours, hours + 5):
        program = await follower(ground, queue, hour, **more)
        with suppress(TimeoutError):
            await until(lambda: is_over(ground, queue), QUIET_SECONDS)
        await kill(program)
        assert [] == list(misjudged(ground.book, queue))
        if is_over(ground, queue):
            return
    left = [dict(row) for row in execute(queue, OPEN)]
    pytest.fail(f"the book has ends that no worker sees: {left}")


@pytest.mark.timeout(900)
async def test_kill_9_at_each_step_of_following(ground: Ground) -> None:
    """Wherever a worker dies that follows jobs: no end is believed that was none, none is lost, and
    no job is sent twice.
    """
    urls = addresses("followed", JOBS)
    queue = ground.database("followed", urls)
    script = [word for kind in ("error=0.5", "gone=0.2") for word in ("--job", kind)]
    api = await ground.imitate("--job-seconds", "0.01", "--seed", "2", *script)
    await ground.finish(queue, seconds=0, api_url=api, follow="off")
    for hours, point in enumerate(FOLLOWING, start=1):
        program = await follower(ground, queue, hours, point, api_url=api)
        await program.printed(f"{REACHED}{point}")
        await kill(program)
        assert [] == list(misjudged(ground.book, queue)), point
    await followed(ground, queue, len(FOLLOWING) + 1, api_url=api)
    ground.judged(16, "kill -9 at each step of following", urls, count=len(FOLLOWING))
