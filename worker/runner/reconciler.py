"""Asks the API's list of jobs when doubts are worth it, and has written what the list proves.

One question serves all doubts of the moment. It goes through the same gate as every request, and
spends a start of everybody's pace. Knows no SQL, and judges nothing itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from worker.api.client import Api
from worker.clock import sleep_or_event
from worker.core.evidence import Resolvable
from worker.core.job_list import Listing, Unlisted
from worker.db.database import DatabaseProblem
from worker.runner.limiter import Limiter
from worker.runner.reporter import Reporter
from worker.runner.transaction import QueueTransaction
from worker.runner.verdicts import SOONEST_SECONDS, JudgedDoubt, Verdicts, next_list_at
from worker.store import doubts, shared_state

T = TypeVar("T")

TOLD_SECONDS = 5.0
"""Who waits for longer than that before it may ask says so."""

DATABASE_SECONDS = 1.0
"""Between looks while the database cannot be used."""


class Write(Protocol):
    """How a transaction gets done: by a run's ledger, or by a command's database."""

    def __call__(self, work: Callable[[Connection], T], purpose: str) -> Awaitable[T]:
        """``work``'s result, committed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What one question brought: the list, or why there is none, and what was found by it."""

    shown: Listing | Unlisted
    findings: Sequence[JudgedDoubt]


class Reconciler:
    """Settles doubts by evidence. ``news`` is called after each question; ``write`` may be awaited
    and left, and is then done all the same. ``asking`` from a question on
    until its answer is written down.
    """

    def __init__(
        self,
        *,
        api: Api,
        limiter: Limiter,
        write: Write,
        transaction: QueueTransaction,
        verdicts: Verdicts,
        reporter: Reporter,
        news: Callable[[], None],
    ) -> None:
        self._api = api
        self._limiter = limiter
        self._write = write
        self._work = transaction
        self._verdicts = verdicts
        self._reporter = reporter
        self._news = news
        self._hopes: dict[int, Resolvable] = {}
        self._called = asyncio.Event()
        self.asking = False

    def hope(self, video_id: int) -> Resolvable:
        """What may still settle this doubt, as far as the last list has shown."""
        return self._hopes.get(video_id, Resolvable.TIME)

    def call(self) -> None:
        """Let ``run`` look at once whether there is something to ask about."""
        self._called.set()

    async def run(self) -> None:
        """Ask whenever it is time, until the gate is shut."""
        while not self._limiter.is_shut:
            self._called.clear()
            try:
                at = await self.next_at()
                if at is None or at > self._work.clock.now():
                    await self._sleep(at)
                elif await self.settle(if_due=True):
                    self._news()
            except DatabaseProblem:  # the ledger says so, and is the one to say it
                await self._limiter.wait_until(self._work.clock.monotonic() + DATABASE_SECONDS)

    async def _sleep(self, until: datetime | None) -> None:
        """Until that moment (UTC), or a call; no longer than new doubts may go unseen."""
        seconds = SOONEST_SECONDS
        if until is not None:
            seconds = min(seconds, (until - self._work.clock.now()).total_seconds())
        await sleep_or_event(self._called, seconds)

    async def next_at(self) -> datetime | None:
        """When the list is worth asking for (UTC), None while there is nothing to ask about."""
        now = self._work.clock.now()
        return await self._write(lambda c: next_list_at(c, now), "to see what is in doubt")

    async def settle(self, *, if_due: bool = False) -> Reconciled | None:
        """Ask once and write what is proven; None where the gate was shut before, or where it is
        too early, ``if_due``.
        """
        try:
            asked = await self.ask(if_due=if_due)
            return asked and await self._conclude(*asked)
        finally:
            self.asking = False

    async def _conclude(self, shown: Listing | Unlisted, asked_at: datetime) -> Reconciled:
        now = self._work.clock.now()

        def write(connection: Connection) -> tuple[list[JudgedDoubt], set[int]]:
            self._hold(connection, shown)
            findings = self._verdicts.write(connection, shown, asked_at, now)
            return findings, doubts.still_in_doubt(connection)

        findings, left = await self._write(write, "to settle doubts")
        self._learn(shown, findings, left)
        return Reconciled(shown=shown, findings=findings)

    async def examine(self) -> Reconciled | None:
        """The same, but nothing is written."""
        asked = await self.ask()
        if asked is None:
            return None
        shown, asked_at = asked
        findings = await self._write(
            lambda c: self._verdicts.read(c, shown, asked_at), "to examine doubts"
        )
        return Reconciled(shown=shown, findings=findings)

    async def ask(self, *, if_due: bool = False) -> tuple[Listing | Unlisted, datetime] | None:
        """The list, and when it was asked for (UTC), at the next start that the pace allows; None
        where the gate was shut before, or where another process was first, ``if_due``.
        """
        if not await self._begin():
            return None
        asked_at = self._work.clock.now()

        def note(connection: Connection) -> bool:
            due_at = next_list_at(connection, asked_at) if if_due else asked_at
            if due_at is None or due_at > asked_at:
                return False
            shared_state.list_asked(connection, asked_at)
            return True

        self.asking = True
        if not await self._write(note, "to ask for the list"):
            return None
        return await self._api.list_jobs(), asked_at

    async def cancel(self, job_id: str) -> str | None:
        """Have a job cancelled that still waits; why it was not, None if it was."""
        if not await self._begin():
            return "stopped before it was asked"
        return await self._api.cancel_job(job_id)

    async def _begin(self) -> bool:
        """Wait for the next start that the pace allows, and spend it; False where the gate is shut
        before.
        """
        start = await self._write(self._work.pacer.reserve_one, "to ask the API")
        while isinstance(start, datetime):
            if (start - self._work.clock.now()).total_seconds() > TOLD_SECONDS:
                self._reporter.must_wait(start)
            if not await self._limiter.wait_until(self._work.clock.until(start)):
                return False
            start = await self._write(self._work.pacer.reserve_one, "to ask the API")
        return await self._limiter.begin(start)

    def _hold(self, connection: Connection, shown: Listing | Unlisted) -> None:
        """A pause that the API asks for is everybody's."""
        if isinstance(shown, Unlisted) and shown.retry_after is not None:
            self._work.pacer.hold(connection, shown.retry_after, shown.reason)

    def _learn(
        self, shown: Listing | Unlisted, findings: Sequence[JudgedDoubt], left: set[int]
    ) -> None:
        """What somebody else has settled meanwhile is no doubt of this run any more."""
        seen = {f.doubt.video_id: f.hope for f in findings if f.hope is not None}
        self._hopes = {v: hope for v, hope in (self._hopes | seen).items() if v in left}
        self._reporter.reconciled(shown, findings)
        self._reporter.doubts &= left
