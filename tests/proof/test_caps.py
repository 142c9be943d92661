"""Scenario 14: four processes, refusals, lost answers and kill -9 around a cap."""

import asyncio
import random
import signal
from collections import Counter
from typing import Any

import pytest

from tests.processes.programs import Program, read_book, states
from tests.proof.ground import (
    FINISH_SECONDS,
    HOUR_SECONDS,
    Ground,
    addresses,
    times,
    together,
)

PROCESSES = 4
CAP = 100
VIDEOS = 3 * CAP
KILLS = times(1, 4)
"""Of each process, in each of the hours."""

CAPS = ("max_per_day", "max_total")[: times(1, 2)]

HOURS = range(1, times(2, 4))
"""After each, the leases of those that were killed before are over."""

FAULTS = {"400": 0.1, "500": 0.05, "503": 0.05, "lost": 0.07, "lost-502": 0.03, "reset": 0.05}
"""A third of the requests, half of which made no job and release their room."""

WORK = 1.6 / (KILLS * (1 + len(HOURS)))
"""Seconds that a process gets at most before it is killed, so that the cap is reached in the end
and not before.
"""


async def killed(program: Program) -> int:
    """Kill it at a random moment of its work, if it has not ended by itself; its exit code."""
    await program.logged("run_started")
    ended = asyncio.create_task(program.ended())
    await asyncio.wait({ended}, timeout=random.uniform(0, WORK))  # not to wait: at any step
    if not ended.done():
        program.kill()
    return (await ended).code


async def lane(ground: Ground, queue: str, hours: int, worker: dict[str, Any]) -> list[int]:
    """Return one process after the other, each of them killed, all with a clock so far ahead."""
    return [await killed(await started(ground, queue, hours, **worker)) for _ in range(KILLS)]


async def started(ground: Ground, queue: str, hours: int, **worker: Any) -> Program:  # noqa: ANN401
    """Return a drain whose clock is so far ahead."""
    seconds = str(hours * HOUR_SECONDS)
    return await ground.start(seconds, queue, program=("-m", "tests.proof.ahead"), **worker)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cap", CAPS)
async def test_a_cap_is_exact(ground: Ground, cap: str) -> None:
    """Whatever is refused, lost or killed among four processes: what was accepted or is in doubt
    fills the cap and never passes it, and each drain that is not killed ends for the cap alone.
    """
    for number in range(times(1, 10)):
        urls = addresses(f"{cap}-{number}", VIDEOS)
        queue = ground.database(f"{cap}-{number}", urls)
        faults = [word for kind, share in FAULTS.items() for word in ("--fail", f"{kind}={share}")]
        seed = str(random.randrange(1_000_000))
        worker: dict[str, Any] = {
            "api_url": await ground.imitate("--latency", "0.05", "--seed", seed, *faults),
            "rate": 60,
            "timeout_seconds": 5,
            cap: CAP,
        }
        for hours in (0, *HOURS):
            lanes = [lane(ground, queue, hours, worker) for _ in range(PROCESSES)]
            codes = Counter(code for codes in await together(*lanes) for code in codes)
            assert {-signal.SIGKILL} >= set(codes) - {0}
        last = [await started(ground, queue, 1 + len(HOURS), **worker) for _ in range(PROCESSES)]
        for done in await together(*(program.ended(FINISH_SECONDS) for program in last)):
            assert (0, f"{queue}: a cap is reached\n") == (done.code, done.out), done.err

        again = await ground.run("drain", "--json", database_url=queue, **worker)
        assert ("a cap is reached", []) == (again.told["end"], again.events("attempt_ended"))
        known = states(queue)
        assert CAP == known["submitted"] + known["in_doubt"]
        verdict = ground.judged(14, f"four processes, kill -9 and {cap}", urls, count=PROCESSES)
        assert CAP == len({*verdict.once, *verdict.in_doubt})
        jobs = [job for job in read_book(ground.book) if job.url in urls]
        assert len(verdict.once) == len(jobs)
        assert CAP >= len(jobs)
