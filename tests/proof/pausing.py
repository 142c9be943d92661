"""A worker that stops dead at a named point of its writing, to be killed there.

`python -m tests.proof.pausing POINT` drains the database of the settings. Before a commit, it holds
the database's lock with everything written; after it, nobody in the process has been told yet.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from tests.proof.ahead import clock_ahead, configured, work
from worker import wiring
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.runner.model import Committed
from worker.settings import Key, Settings

T = TypeVar("T")

REACHED = "reached: "
"""Printed at the point, with its name."""

INTENT = ("before the intent commit", "after the intent commit")
SETTLE = ("before the settle commit", "after the settle commit")


class PausingDatabase(Database):
    """A database whose writing stops at ``point``."""

    def __init__(self, url: str, point: str) -> None:
        super().__init__(url, dice=random.random, now=wiring.CLOCK.now, waiting=lambda _: None)
        self._point = point

    async def write(self, work: Callable[[Connection], T], purpose: str) -> T:
        """Commit as the worker does, up to the point."""

        def written(connection: Connection) -> T:
            result = work(connection)
            self._stop(result, INTENT[0], SETTLE[0])
            return result

        result = await super().write(written, purpose)
        self._stop(result, INTENT[1], SETTLE[1])
        return result

    def _stop(self, result: object, intent: str, settle: str) -> None:
        """Print the point and do nothing more, if this is it."""
        if not isinstance(result, Committed):
            return
        claimed, settled = self._point == intent, self._point == settle
        if (claimed and result.claimed.starts) or (settled and result.settled):
            sys.stdout.write(f"{REACHED}{self._point}\n")
            sys.stdout.flush()
            while True:
                signal.pause()


async def _drain(settings: Settings, key: Key, point: str) -> None:
    async with PausingDatabase(settings.database_url, point) as database:
        options = RunOptions(drain=True)
        await work(settings, key, database, options, clock=clock_ahead(0))


if __name__ == "__main__":
    asyncio.run(_drain(*configured(), sys.argv[1]))
