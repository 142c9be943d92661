"""Prune old videos in small transactions, with a rest after each, so that no claim waits for long.

Knows no SQL.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from worker.clock import Clock
from worker.core.pruning import next_night
from worker.db.address import DatabaseProblem
from worker.db.database import BAD_VALUE, Database
from worker.log import Event, Log
from worker.runner.reconciler import Write
from worker.store import pruning, workers
from worker.store.bulk import batches

AT_ONCE = 100
"""Videos of one transaction, which takes some milliseconds."""

REST, REST_ALONE = 15, 1
"""Times the duration of a step, but at most LONGEST_REST_SECONDS: beside workers, and without."""

LONGEST_REST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pruner:
    """The one who prunes a queue; ``rest`` waits for seconds."""

    database: Database
    write: Write
    clock: Clock
    log: Log
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, keep: timedelta) -> None:
        """Prune each night, until cancelled."""
        while True:
            night = next_night(self.clock.now())
            while self.clock.now() < night:
                await self.rest(LONGEST_REST_SECONDS)  # the clock may be set
            with suppress(DatabaseProblem, *BAD_VALUE):  # the writer reports it
                self.log.info(Event.PRUNED, videos=await self.prune(self.clock.now() - keep))

    async def prune(self, asked: datetime) -> int:
        """Prune what is older than ``asked`` (UTC), as far as it may be, and return how many videos
        that were. Raises DatabaseProblem.
        """
        clock, read, done, after = self.clock, self.database.read, 0, 0
        before = await read(partial(pruning.boundary, now=clock.now(), asked=asked))
        while True:
            began = clock.monotonic()
            ids, last = await read(partial(pruning.look, after=after, before=before))
            if last is None:
                return done
            await self._rest(began)
            for some in batches(ids, AT_ONCE):
                began = clock.monotonic()
                step = partial(pruning.prune, ids=some, before=before, now=clock.now())
                done += await self.write(step, "to prune")
                await self._rest(began)
            after = last

    async def _rest(self, began: float) -> None:
        took = self.clock.monotonic() - began
        alive = await self.database.read(partial(workers.alive, now=self.clock.now()))
        await self.rest(min(LONGEST_REST_SECONDS, (REST if alive else REST_ALONE) * took))
