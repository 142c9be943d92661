"""Scenario 16: kill -9 at each step of following jobs to their end."""

import pytest

from tests.proof.followed import RESTARTS, Scene, killed, killed_among_troubles
from tests.proof.following import ASK, GONE, LIST, LISTED, MISSED, TOLD
from tests.proof.ground import Ground, addresses, times

FOLLOWED = times((LIST[1], LISTED[0], TOLD[0], MISSED), (*LIST, *LISTED, *ASK, *TOLD, MISSED))
"""In the order of one life: the list shows most ends, job_status the details of each error and what
it does not know.
"""

BURIED = times(GONE[:1], GONE)
"""What a list does with a job that is not known an hour later either."""

JOBS = 21
"""A list without those that are gone does not look like a page."""


@pytest.mark.timeout(900)
async def test_kill_9_at_each_step_of_following(ground: Ground) -> None:
    """Wherever a worker dies that follows jobs: no end is believed that was none, none is lost, and
    no job is sent twice.
    """
    urls = addresses("followed", JOBS)
    scene = Scene(ground, urls, "status", ["finished", "error", "gone"])
    lives = ("--job", "error=0.5", "--job", "gone=0.2")
    api = await ground.imitate("--job-seconds", "0.01", "--seed", "2", *lives)
    await ground.finish(scene.queue, seconds=0, api_url=api, follow="off", concurrency=1)
    await killed(scene, api, FOLLOWED)
    await scene.work(api, scene.is_missed_again)
    await killed(scene, api, BURIED)
    await scene.finish(api)
    count = len(FOLLOWED) + len(BURIED)
    ground.judged(16, "kill -9 at each step of following", urls, count=count)


@pytest.mark.timeout(3_600)
async def test_kill_9_while_sending_and_following(ground: Ground) -> None:
    """Wherever a worker dies that sends and follows at once, whatever the API answers: the same."""
    urls = await killed_among_troubles(ground, "status")
    ground.judged(16, "kill -9 among troubles, following", urls, count=RESTARTS)
