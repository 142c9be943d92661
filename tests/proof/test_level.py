"""The pace finds its level: a hidden limit of 20, then 5, then 20 a second, which nobody is told.

Quick, it is the control loop alone in virtual time; in full, four processes against the imitation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from tests.arrivals import let_through
from tests.proof.ground import FULL, Ground, addresses, together
from tests.proof.virtual import Fleet, Stage
from worker.simulator import Limit, Options, Simulator
from worker.simulator.limit import Change

RATE = 50
"""The setting, far above what the API lets through."""

SETTLED_SECONDS = 60.0
"""After a change of the limit, until everything must be well again."""

LIMITS = (20, 5, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The settled part of a stage: the share of its requests that were too many, and the share of
    its limit that was used.
    """

    limit: int
    limited: float
    used: float


def levels(arrivals: Iterable[tuple[float, bool]], stage: float) -> list[Level]:
    """Return the levels of the stages, each so many seconds long, by the API's log."""
    known, found = list(arrivals), []
    for place, limit in enumerate(LIMITS):
        begin, end = place * stage + SETTLED_SECONDS, (place + 1) * stage
        through = [passed for at, passed in known if begin <= at < end]
        used = sum(through) / (limit * (end - begin))
        found.append(Level(limit=limit, limited=1 - sum(through) / len(through), used=used))
    return found


def held(found: Sequence[Level]) -> None:
    """Check that few starts were limited, and most of the allowed ones used."""
    for level in found:
        assert level.limited < 0.01, found
        assert level.used >= 0.9, found


@pytest.mark.parametrize("latency", [0.01, 0.1, 0.5])
def test_the_loop_finds_the_level(latency: float) -> None:
    """For any dice and latency, starts follow the API's limit through four stages of minutes."""
    for seed in range(4):
        stages = [Stage(after=300.0 * place, limit=limit) for place, limit in enumerate(LIMITS)]
        workers = Fleet(rate=RATE, stages=stages, latency=latency, dice=Random(seed))
        arrivals = workers.work(900)
        held(levels(((each.at, not each.limited) for each in arrivals), 300))


@pytest.mark.timeout(900)
async def four_processes_find_the_level(ground: Ground) -> None:
    """Measure the same with four real processes on one file, by the simulator's log."""
    stage = 180.0
    changes = tuple(Change(stage * place, Limit(LIMITS[place], 1.0)) for place in (1, 2))
    options = Options(limit=Limit(LIMITS[0], 1.0), limit_changes=changes, latency_seconds=0.05)
    queue = ground.database("level", addresses("level", 12_000))
    async with Simulator(options) as api:
        drains = [
            await ground.start(
                *("drain", "--max-seconds", str(3 * stage + 5)),
                database_url=queue,
                api_url=api.url,
                rate=RATE,
                concurrency=16,
                log_level="error",
            )
            for _ in range(4)
        ]
        await together(*(drain.ended(patience=4 * stage) for drain in drains))
    found = levels(let_through(api.requests), stage)
    held(found)


if FULL:  # it takes ten minutes; the loop above is the same in small
    test_four_processes_find_the_level = four_processes_find_the_level
