"""A worker that is frozen, and whose clocks know nothing of the time until it is thawed.

`python -m tests.proof.stale SECONDS JUMPS [FREEZE]` works on the database of the settings until it
is stopped. Its wall clock is SECONDS behind, so that its leases are over for every other worker. At
SIGCONT the clocks that JUMPS names (wall, monotonic or both) have gone on by as much, as they do in
a process that was frozen for so long. With FREEZE it stops by itself as soon as it has committed to
send a video whose address holds that word.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from tests.proof.ahead import configured, work
from worker import wiring
from worker.clock import Clock
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.runner.model import Committed
from worker.settings import Settings

T = TypeVar("T")

JUMPS = ("both", "wall", "monotonic")


@dataclass
class Hands:
    """Clocks that stand as many seconds behind as they have missed."""

    seconds: float
    jumps: str
    thawed: bool = False

    @property
    def clock(self) -> Clock:
        """Return the clock as the worker takes it."""
        return Clock(
            now=lambda: datetime.now(UTC) - timedelta(seconds=self._missed("wall")),
            monotonic=lambda: time.monotonic() - self._missed("monotonic"),
        )

    def _missed(self, which: str) -> float:
        return 0 if self.thawed and self.jumps in {which, "both"} else self.seconds

    def thaw(self) -> None:
        """Show the time that has passed."""
        self.thawed = True


class FreezingDatabase(Database):
    """A database after whose commit of a certain claim the process stands still."""

    def __init__(self, url: str, word: str | None) -> None:
        super().__init__(url, dice=random.random, now=wiring.CLOCK.now, waiting=lambda _: None)
        self._word = word

    async def write(self, work: Callable[[Connection], T], purpose: str) -> T:
        """Commit as the worker does; at the chosen claim, stop the process."""
        result = await super().write(work, purpose)
        claims = (
            [start.claim for start in result.claimed.starts]
            if isinstance(result, Committed)
            else []
        )
        if self._word and any(self._word in claim.video.url for claim in claims):
            self._word = None
            os.kill(os.getpid(), signal.SIGSTOP)
        return result


async def _run(settings: Settings, hands: Hands, word: str | None) -> None:
    signal.signal(signal.SIGCONT, lambda _, __: hands.thaw())
    async with FreezingDatabase(settings.database_url, word) as database:
        options = RunOptions(drain=False)
        await work(settings, configured()[1], database, options, clock=hands.clock)


def main() -> None:
    """Work until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("jumps", choices=JUMPS)
    parser.add_argument("freeze", nargs="?")
    given = parser.parse_args(sys.argv[1:])
    hands = Hands(given.seconds, given.jumps)
    asyncio.run(_run(configured()[0], hands, given.freeze))


if __name__ == "__main__":
    main()
