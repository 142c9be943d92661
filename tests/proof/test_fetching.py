"""Scenario 16: kill -9 at each step of fetching the results of finished jobs."""

import pytest

from tests.proof.followed import RESTARTS, Scene, killed, killed_among_troubles
from tests.proof.following import FETCH, PART, RENAME, RENAMED, STORED
from tests.proof.ground import Ground, addresses, times

POINTS = times((PART, RENAME, RENAMED, STORED[1]), (*FETCH, PART, RENAME, RENAMED, *STORED))

JOBS = 20


@pytest.mark.timeout(900)
async def test_kill_9_at_each_step_of_fetching(ground: Ground) -> None:
    """Wherever a worker dies that fetches results: each becomes one verified file, and no other is
    left behind.
    """
    urls = addresses("fetched", JOBS)
    scene = Scene(ground, urls, "results", ["finished"])
    api = await ground.imitate("--job-seconds", "0.01")
    await ground.finish(scene.queue, seconds=0, api_url=api, follow="off")
    await killed(scene, api, POINTS)
    await scene.finish(api)
    ground.judged(16, "kill -9 at each step of fetching", urls, count=len(POINTS))


@pytest.mark.timeout(3_600)
async def test_kill_9_while_sending_following_and_fetching(ground: Ground) -> None:
    """Wherever a worker dies that does all of it at once, whatever the API answers: each result of
    a finished job is one verified file, and no job is sent twice.
    """
    urls = await killed_among_troubles(ground, "results")
    ground.judged(16, "kill -9 among troubles, fetching", urls, count=RESTARTS)
