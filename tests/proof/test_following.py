"""Scenario 16: kill -9 at each step of following jobs and of fetching their results."""

import random
import signal
from collections.abc import Sequence
from contextlib import suppress

import pytest

from tests.processes.programs import Program, execute, until
from tests.proof.following import (
    ASK,
    FETCH,
    GONE,
    LIST,
    LISTED,
    MISSED,
    PART,
    RENAME,
    RENAMED,
    STORED,
    TOLD,
)
from tests.proof.ground import HOUR_SECONDS, Ground, addresses, times
from tests.proof.judge_jobs import Ends, misjudged, unproven
from tests.proof.pausing import REACHED
from worker.simulator import JOB_KINDS, RESULT_KINDS, STATUS_KINDS

FOLLOWING = (*LIST, *LISTED, *ASK, *TOLD, MISSED, *GONE)
"""In the order of one life: the list shows most ends, job_status the details of each error and what
it does not know, and a list one hour later that this is gone.
"""

FETCHING = (*FETCH, PART, RENAME, RENAMED, *STORED)

FEW_FOLLOWING = (LIST[1], LISTED[0], TOLD[0], MISSED, GONE[0])
FEW_FETCHING = (PART, RENAME, RENAMED, STORED[1])

JOBS = 21
"""A list without those that are gone does not look like a page."""

RESTARTS = times(3, 100)
VIDEOS = times(40, 2_000)

LIVES = [kind for kind in JOB_KINDS if kind not in {"transfer-error", "missing"}]
"""But for a dead host's, whose brake has its own proof, and one that is missing for an hour."""

STATUSES = ("429", "404", "500", "retry-after-503", "proxy-502", "proxy-404")
ANSWERS = (*STATUSES, *(kind for kind in STATUS_KINDS if "STATUS" not in kind))
DELIVERIES = (*STATUSES, *(kind for kind in RESULT_KINDS if "STATUS" not in kind))

QUIET_SECONDS = 8.0
"""Then whatever is due by now has been asked."""

OPEN = "SELECT * FROM jobs WHERE ended_as IS NULL"


def shared(flag: str, kinds: Sequence[str], share: float) -> list[str]:
    """Return the flags of `simulate` that give these kinds a share of the whole."""
    return [word for kind in kinds for word in (flag, f"{kind}={share / len(kinds):.6f}")]


class Scene:
    """A queue whose jobs are followed until all of these ends are seen, and the folder of their
    results.
    """

    def __init__(
        self, ground: Ground, urls: Sequence[str], follow: str, ends: Sequence[str]
    ) -> None:
        self.ground, self.follow, self.ends, self.hours = ground, follow, ends, 0
        self.queue = ground.database("followed", urls)
        self.folder = ground.folder / "results"
        self.folder.mkdir()

    async def start(self, api: str, *point: str) -> Program:
        """Start a worker an hour ahead of the one before, perhaps one that stops at a point."""
        self.hours += 1
        return await self.ground.start(
            str(self.hours * HOUR_SECONDS),
            *point,
            program=("-m", "tests.proof.following"),
            database_url=self.queue,
            api_url=api,
            follow=self.follow,
            results_dir=self.folder,
        )

    async def kill(self, program: Program) -> None:
        """Kill it, whatever it does; no end is believed that was none."""
        program.kill()
        assert -signal.SIGKILL == (await program.ended()).code
        assert [] == self.misjudged()

    def misjudged(self) -> list[str]:
        """Return the ends in the table that are not the book's."""
        return list(misjudged(self.ground.book, self.queue))

    def unproven(self) -> list[str]:
        """Return what is wrong with results, where they are fetched."""
        if self.follow != "results":
            return []
        return list(unproven(self.ground.book, self.queue, self.folder, ["core"]))

    def is_over(self) -> bool:
        """Return True if each end in the book is in the table, and each result on the disk."""
        known = Ends(self.ground.book)
        ended = {job_id for end in self.ends for job_id in known.of(end)}
        if not {row["job_id"] for row in execute(self.queue, OPEN)}.isdisjoint(ended):
            return False
        return not self.unproven()

    async def finish(self, api: str) -> None:
        """Let workers that nobody kills do what is left, each an hour after the other."""
        for _ in range(20):
            program = await self.start(api)
            with suppress(TimeoutError):
                await until(self.is_over, QUIET_SECONDS)
            await self.kill(program)
            if self.is_over():
                return
        assert [] == self.unproven()
        left = [dict(row) for row in execute(self.queue, OPEN)]
        pytest.fail(f"the book has ends that no worker sees: {left}")


@pytest.mark.timeout(900)
async def test_kill_9_at_each_step_of_following(ground: Ground) -> None:
    """Wherever a worker dies that follows jobs: no end is believed that was none, none is lost, and
    no job is sent twice.
    """
    urls, points = addresses("followed", JOBS), times(FEW_FOLLOWING, FOLLOWING)
    scene = Scene(ground, urls, "status", ["finished", "error", "gone"])
    lives = ("--job", "error=0.5", "--job", "gone=0.2")
    api = await ground.imitate("--job-seconds", "0.01", "--seed", "2", *lives)
    await ground.finish(scene.queue, seconds=0, api_url=api, follow="off")
    await killed(scene, api, points)
    ground.judged(16, "kill -9 at each step of following", urls, count=len(points))


@pytest.mark.timeout(900)
async def test_kill_9_at_each_step_of_fetching(ground: Ground) -> None:
    """Wherever a worker dies that fetches results: each becomes one verified file, and no other is
    left behind.
    """
    urls, points = addresses("fetched", JOBS), times(FEW_FETCHING, FETCHING)
    scene = Scene(ground, urls, "results", ["finished"])
    api = await ground.imitate("--job-seconds", "0.01")
    await ground.finish(scene.queue, seconds=0, api_url=api, follow="off")
    await killed(scene, api, points)
    ground.judged(16, "kill -9 at each step of fetching", urls, count=len(points))


async def killed(scene: Scene, api: str, points: Sequence[str]) -> None:
    """Kill a worker at each point, then let others finish."""
    for point in points:
        program = await scene.start(api, point)
        await program.printed(f"{REACHED}{point}")
        await scene.kill(program)
    await scene.finish(api)


@pytest.mark.timeout(3_600)
async def test_kill_9_among_troubles(ground: Ground) -> None:
    """Wherever a worker dies that sends, follows and fetches at once, whatever the API answers:
    the same.
    """
    urls = addresses("any", VIDEOS)
    # The first and the last job are between no others, so that no list proves them gone.
    scene = Scene(ground, urls, "results", ["finished", "error"])
    seed = str(random.randrange(1_000_000))
    troubles = (
        *shared("--job", LIVES, 0.5),
        *shared("--status", ANSWERS, 0.3),
        *shared("--results", DELIVERIES, 0.3),
    )
    often = ("--job-seconds", "0.01-0.5", "--results-delay", "0.1", "--seed", seed)
    api = await ground.imitate(*often, *troubles)
    for _ in range(RESTARTS):
        program = await scene.start(api)
        event = random.choice(["attempt_ended", "job_changed", "result_stored"])
        with suppress(TimeoutError):
            await until(lambda: bool(program.events(event)), QUIET_SECONDS)  # noqa: B023 - at once
        await scene.kill(program)
    await scene.finish(api)
    ground.judged(16, "kill -9 among troubles of jobs", urls, count=RESTARTS)
