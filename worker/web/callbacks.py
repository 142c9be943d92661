"""Take the API's calls at the end of a job: each lets its job be asked about at once, no more."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from worker import opening
from worker.core.callback import video_of
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.store import jobs, shared_state

LOOK_SECONDS = 1.0
MOST_CALLS, LONGEST = 100, 100
"""Calls of one look, and characters of a token; a job whose call is lost is asked about later."""


@dataclass(slots=True)
class Inbox:
    """The calls since the last look, which comes after their answers: so a right token costs no
    other time than a wrong one. ``rest`` waits for seconds.
    """

    database: Database
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep
    looking: asyncio.Task[None] | None = None
    _came: set[str] = field(default_factory=set)

    def take(self, token: str) -> None:
        """Keep a call for the next look."""
        if len(self._came) < MOST_CALLS and len(token) <= LONGEST:
            self._came.add(token)
        if self.looking is None or self.looking.done():
            self.looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Break off the look under way, and wait for its end."""
        if self.looking:
            self.looking.cancel()
            await asyncio.wait({self.looking}, timeout=LOOK_SECONDS)

    async def _look(self) -> None:
        while self._came:
            await self.rest(LOOK_SECONDS)
            came, self._came = self._came, set()
            with suppress(DatabaseProblem):
                await self._note(came)

    async def _note(self, tokens: Collection[str]) -> None:
        secret = await self.database.read(shared_state.callback_secret)
        if found := {video_of(secret, token) for token in tokens if secret} - {None}:
            await opening.change(
                self.database, lambda c, now: jobs.hasten(c, found, now), "to note callbacks"
            )
