"""Prune old videos in small transactions, with a rest after each, so that no claim waits for long.

Knows no SQL.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from worker.clock import Clock
from worker.core.pruning import next_night
from worker.db.address import DatabaseProblem
from worker.db.database import BAD_VALUE, Database, refusal
from worker.log import Event
from worker.runner.reconciler import Write
from worker.runner.reporter import Reporter
from worker.store import pruning, workers
from worker.store.bulk import BELOW_ALL, batches

AT_ONCE = 100
"""Videos of one transaction, which takes some milliseconds."""

REST, REST_ALONE = 15, 1
"""Times the duration of a step, but at most LONGEST_REST_SECONDS: beside workers, and without."""

LONGEST_REST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pruner:
    """The one who prunes a queue; ``follow``: the setting; ``rest`` waits for seconds; ``refused``:
    the videos that cannot be deleted.
    """

    database: Database
    write: Write
    clock: Clock
    reporter: Reporter
    follow: str
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep
    refused: set[int] = field(default_factory=set)

    async def run(self, keep: timedelta) -> None:
        """Prune each night, until cancelled."""
        while True:
            night = next_night(self.clock.now())
            while self.clock.now() < night:
                await self.rest(LONGEST_REST_SECONDS)  # the clock may be set
            try:
                done = await self.prune(self.clock.now() - keep)
                self.reporter.log.info(Event.PRUNED, videos=done)
            except (DatabaseProblem, *BAD_VALUE) as error:
                self.reporter.unwritten(error, self.clock.now())

    async def prune(self, asked: datetime) -> int:
        """Prune what is older than ``asked`` (UTC), as far as it may be, and return how many videos
        that were. Raises DatabaseProblem.
        """
        clock, read, done, after = self.clock, self.database.read, 0, BELOW_ALL
        before = await read(partial(pruning.boundary, now=clock.now(), asked=asked))
        while True:
            began = clock.monotonic()
            ids, last = await read(
                partial(pruning.look, after=after, before=before, follow=self.follow)
            )
            if last is None:
                return done
            await self._rest(began)
            for some in batches([each for each in ids if each not in self.refused], AT_ONCE):
                done += await self._prune(some, before)
            after = last

    async def _prune(self, ids: Sequence[int], before: datetime) -> int:
        """Prune these videos, by halves where one refuses it, which stops no other (law 14)."""
        began, now = self.clock.monotonic(), self.clock.now()
        step = partial(pruning.prune, ids=ids, before=before, follow=self.follow, now=now)
        try:
            done = await self.write(step, "to prune")
        except BAD_VALUE as error:
            await self._rest(began)
            if len(ids) > 1:
                middle = len(ids) // 2
                first = await self._prune(ids[:middle], before)
                return first + await self._prune(ids[middle:], before)
            self.refused.add(ids[0])
            self.reporter.refused(ids[0], refusal(error))
            return 0
        await self._rest(began)
        return done

    async def _rest(self, began: float) -> None:
        took = self.clock.monotonic() - began
        alive = await self.database.read(partial(workers.alive, now=self.clock.now()))
        await self.rest(min(LONGEST_REST_SECONDS, (REST if alive else REST_ALONE) * took))
