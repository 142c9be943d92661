"""Play jobs that live to their end, and kill workers that follow them and fetch their results."""

import random
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.processes.programs import Program, execute, until
from tests.proof.ground import HOUR_SECONDS, Ground, addresses, times
from tests.proof.judge_jobs import Ends, misjudged, unproven
from tests.proof.pausing import REACHED
from worker.simulator import JOB_KINDS, RESULT_KINDS, STATUS_KINDS

RESTARTS = times(3, 100)
VIDEOS = times(40, 2_000)

LIVES = [kind for kind in JOB_KINDS if kind not in {"transfer-error", "missing", "unlisted"}]
"""But for a dead host's, whose brake has its own proof, and two that nobody can tell from one that
is gone: missing for an hour; in no list, where ``job_status`` says 404 by mistake, twice.
"""

STATUSES = ("429", "404", "500", "retry-after-503", "proxy-502", "proxy-404")
ANSWERS = (*STATUSES, *(kind for kind in STATUS_KINDS if "STATUS" not in kind))
DELIVERIES = (*STATUSES, *(kind for kind in RESULT_KINDS if "STATUS" not in kind))

TROUBLED = times(0.3, 0.1)
"""The share of questions with another answer. Some ask for a pause, in which a worker does nothing
more until it is killed.
"""

QUIET_SECONDS = 8.0
"""Then whatever is due by now has been asked."""

OPEN = "SELECT * FROM jobs WHERE ended_as IS NULL"
UNSENT = "SELECT * FROM videos WHERE state IN ('pending', 'submitting')"
MISSED_AGAIN = "SELECT * FROM jobs WHERE polled_at > missing_since"


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
        wrong = self.misjudged()
        assert not wrong, wrong

    def misjudged(self) -> list[str]:
        """Return the ends in the table that are not the book's."""
        return list(misjudged(self.ground.book, self.queue))

    def unproven(self) -> list[str]:
        """Return what is wrong with results, where they are fetched."""
        if self.follow != "results":
            return []
        return list(unproven(self.ground.book, self.queue, self.folder, ["core"]))

    def is_over(self) -> bool:
        """Return True if every video is sent, each end in the book is in the table, and each result
        on the disk.
        """
        known = Ends(self.ground.book)
        ended = {job_id for end in self.ends for job_id in known.of(end)}
        left = {row["job_id"] for row in execute(self.queue, OPEN)}
        if execute(self.queue, UNSENT) or not left.isdisjoint(ended):
            return False
        return not self.unproven()

    def is_missed_again(self) -> bool:
        """Return True if a job was not known twice, so that a list may prove it gone."""
        return bool(execute(self.queue, MISSED_AGAIN))

    async def work(self, api: str, is_done: Callable[[], bool]) -> None:
        """Let a worker be until that is done, or it has nothing to do."""
        program = await self.start(api)
        await program.logged("run_started")
        with suppress(TimeoutError):
            await until(is_done, QUIET_SECONDS)
        await self.kill(program)

    async def finish(self, api: str) -> None:
        """Let workers that nobody kills do what is left, each an hour after the other, until it is
        done or 30 of them have done nothing: an old job is due to every second one, and a third of
        the answers say nothing.
        """
        before, idle = self.left(), 0
        while not self.is_over() and idle < 30:
            await self.work(api, self.is_over)
            before, left = self.left(), before
            idle = idle + 1 if before == left else 0
        assert self.is_over(), self.left()

    def left(self) -> tuple[set[object], set[object], list[str]]:
        """Return the videos that are not sent, the open jobs, and what is wrong with results."""
        unsent, jobs = (execute(self.queue, which) for which in (UNSENT, OPEN))
        return {row["id"] for row in unsent}, {row["job_id"] for row in jobs}, self.unproven()


async def killed(scene: Scene, api: str, points: Sequence[str]) -> None:
    """Kill a worker at each point."""
    for point in points:
        program = await scene.start(api, point)
        await program.printed(f"{REACHED}{point}")
        await scene.kill(program)


async def killed_among_troubles(ground: Ground, follow: str) -> list[str]:
    """Kill workers that send, follow and fetch at once, whatever the API answers; return the
    addresses of the videos.
    """
    urls = addresses("any", VIDEOS)
    # The first and the last job are between no others, so that no list proves them gone.
    scene = Scene(ground, urls, follow, ["finished", "error"])
    seed = str(random.randrange(1_000_000))
    troubles = (
        *shared("--job", LIVES, 0.5),
        *shared("--status", ANSWERS, TROUBLED),
        *shared("--results", DELIVERIES, TROUBLED),
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
    return urls
