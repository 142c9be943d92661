"""Ask for the API's list of jobs when doubts are worth it, and write what the list proves.

One question serves all doubts of the moment. It spends a start of the shared pace, as every request
does. Knows no SQL, and judges nothing itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from worker.api.client import Api
from worker.clock import sleep_or_event
from worker.core.evidence import Ambiguous, Found, NoEvidence, Resolvable
from worker.core.job_list import Listing, Unlisted
from worker.core.run_state import RunState
from worker.db.address import DatabaseProblem
from worker.db.database import BAD_VALUE, refusal
from worker.runner.limiter import Limiter
from worker.runner.reporter import Reporter
from worker.runner.transaction import QueueTransaction
from worker.runner.verdicts import SOONEST_SECONDS, JudgedDoubt, next_list_at
from worker.runner.writer import TRY_AGAIN_SECONDS
from worker.store import doubts, leases, shared_state

T = TypeVar("T")

LOOK_SECONDS = 20.0
"""Between looks at a cool-down: its end may come sooner than was told."""

TOLD_SECONDS = 5.0
"""A longer wait for the list is logged."""

Learn = Callable[[Listing | Unlisted, datetime], Awaitable[None]]
"""Take what a list that was asked for then shows of jobs, beside doubts."""

WriteVerdicts = Callable[..., tuple[list[JudgedDoubt], set[int]]]


class Write(Protocol):
    """Do a transaction: by a run's writer, or by a command's database."""

    def __call__(self, work: Callable[[Connection], T], purpose: str) -> Awaitable[T]:
        """Return ``work``'s result, committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """The answer to one question: the list or why there is none, and the verdicts by it."""

    shown: Listing | Unlisted
    asked_at: datetime
    judged: Sequence[JudgedDoubt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """The one who settles doubts by evidence. ``news`` is called after each question, ``called``
    makes ``run`` look at once; a ``write`` whose caller has gone is done all the same.
    """

    api: Api
    limiter: Limiter
    write: Write
    transaction: QueueTransaction
    state: RunState
    reporter: Reporter
    news: Callable[[], None] = lambda: None
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, learn: Learn | None = None) -> None:
        """Ask whenever it is time, until the limiter is shut."""
        clock = self.transaction.clock
        while not self.limiter.is_shut:
            self.called.clear()
            try:
                at = await self.next_at()
                if at is None or at > clock.now():
                    # New doubts may go unseen for so long.
                    left = SOONEST_SECONDS if at is None else (at - clock.now()).total_seconds()
                    await sleep_or_event(self.called, min(SOONEST_SECONDS, left))
                elif (done := await self.settle(if_due=True)) is not None:
                    self.news()
                    if learn is not None:
                        await learn(done.shown, done.asked_at)
            except (DatabaseProblem, *BAD_VALUE) as error:
                self.reporter.unwritten(error, clock.now())
                await self.limiter.wait_until(clock.monotonic() + TRY_AGAIN_SECONDS)

    async def repeat(self, ask: Callable[[], Awaitable[datetime]]) -> None:
        """Ask each time when the last time has said (UTC), until the limiter is shut."""
        clock = self.transaction.clock
        while not self.limiter.is_shut:
            again_at = clock.now() + timedelta(seconds=TRY_AGAIN_SECONDS)
            try:
                again_at = await ask()
            except (DatabaseProblem, *BAD_VALUE) as error:
                self.reporter.unwritten(error, clock.now())
            await self.limiter.wait_until(clock.until(again_at))

    async def next_at(self) -> datetime | None:
        """Return when the list is worth asking for (UTC); None while there is no doubt."""
        now = self.transaction.clock.now()
        return await self.write(lambda c: next_list_at(c, now), "to see what is in doubt")

    async def expire(self) -> None:
        """Put in doubt what dead workers had in flight (law 4). A row that refuses it is left."""
        work, now = self.transaction, self.transaction.clock.now()
        lapsed = {*await self.write(work.lapsed, "to see whose lease has run out")}
        for video_id in sorted(lapsed):
            end = partial(leases.expire, now=now, worker=work.worker, aside=lapsed - {video_id})
            try:
                for expired in await self.write(end, "to end a lease"):
                    self.reporter.expired(expired)
            except BAD_VALUE as error:
                self.reporter.unwritable(video_id, refusal(error))

    async def settle(self, *, if_due: bool = False) -> Reconciled | None:
        """Ask once and write what is proven. Return None where ``ask`` does."""
        try:
            asked = await self.ask(if_due=if_due)
            return asked and await self.conclude(*asked)
        finally:
            self.state.reads_list = False

    async def conclude(self, shown: Listing | Unlisted, asked_at: datetime) -> Reconciled:
        """Write what a list proves that was asked for then (UTC)."""
        work, now = self.transaction, self.transaction.clock.now()

        def write(
            connection: Connection, among: Collection[int] | None = None
        ) -> tuple[list[JudgedDoubt], set[int]]:
            judged = work.verdicts.write(connection, shown, asked_at, now, among)
            return judged, doubts.still_in_doubt(connection)

        try:
            judged, left = await self.write(write, "to settle doubts")
        except BAD_VALUE:
            judged = []
            for each in await self.write(
                lambda c: work.verdicts.read(c, shown, asked_at), "to examine doubts"
            ):
                judged += await self._alone(each, write)
            left = await self.write(doubts.still_in_doubt, "to see what is in doubt")
        done = Reconciled(shown=shown, asked_at=asked_at, judged=judged)
        self._learn(done, left)
        return done

    async def _alone(self, judged: JudgedDoubt, write: WriteVerdicts) -> list[JudgedDoubt]:
        """Write one verdict; a row that refuses it stays in doubt, and stops no other (law 14)."""
        video_id = judged.doubt.video_id
        try:
            return (await self.write(partial(write, among={video_id}), "to settle a doubt"))[0]
        except BAD_VALUE as error:
            why = refusal(error)
            self.reporter.unwritable(video_id, why)
            return [replace(judged, verdict=NoEvidence(why, Resolvable.NONE))]

    async def examine(self) -> Reconciled | None:
        """Ask once and judge, but write no verdict."""
        if (asked := await self.ask()) is None:
            return None
        read = self.transaction.verdicts.read
        judged = await self.write(lambda c: read(c, *asked), "to examine doubts")
        return Reconciled(shown=asked[0], asked_at=asked[1], judged=judged)

    async def ask(self, *, if_due: bool = False) -> tuple[Listing | Unlisted, datetime] | None:
        """Return the list, and when it was asked for (UTC), at the next start that the pace allows.
        None if the limiter was shut before, or, with ``if_due``, if another process was first.
        """
        if not await self._begin():
            return None
        asked_at = self.transaction.clock.now()

        def note(connection: Connection) -> bool:
            due_at = next_list_at(connection, asked_at) if if_due else asked_at
            if due_at is None or due_at > asked_at:
                return False
            shared_state.list_asked(connection, asked_at)
            return True

        self.state.reads_list = True
        if not await self.write(note, "to ask for the list"):
            return None
        return await self.list_jobs(), asked_at

    async def list_jobs(self) -> Listing | Unlisted:
        """Return the list; hold all for as long as the API asks for instead."""
        shown = await self.api.list_jobs()
        if isinstance(shown, Unlisted) and shown.retry_after is not None:
            hold, seconds, why = self.transaction.pacer.hold, shown.retry_after, shown.reason
            await self.write(lambda c: hold(c, seconds, why), "to note why there is no list")
        return shown

    async def cancel(self, job_id: str) -> str | None:
        """Cancel a job that still waits. Return why it was not cancelled, None if it was."""
        if not await self._begin():
            return "stopped before it was asked"
        return await self.api.cancel_job(job_id)

    async def _begin(self) -> bool:
        pacer, clock, purpose = self.transaction.pacer, self.transaction.clock, "to ask the API"
        told = False
        while isinstance(start := await self.write(pacer.reserve_one, purpose), datetime):
            if not told and (start - clock.now()).total_seconds() > TOLD_SECONDS:
                self.reporter.must_wait(start)
                told = True
            again = clock.monotonic() + LOOK_SECONDS
            if not await self.limiter.wait_until(min(clock.until(start), again)):
                return False
        return await self.limiter.begin(start)

    def _learn(self, done: Reconciled, left: set[int]) -> None:
        """Take the committed verdicts over into the run, and report them."""
        for each in done.judged:
            video_id = each.doubt.video_id
            # 1. A job was found. 2. A pending video may have one. 3. The doubt is settled.
            if isinstance(each.verdict, Found):
                self.state.counts.submitted += 1
            if isinstance(each.verdict, Ambiguous) and each.is_recheck:
                self.state.open_doubt(video_id)
            elif each.resolvable is None:
                self.state.close_doubt(video_id)
        seen = {e.doubt.video_id: e.resolvable for e in done.judged if e.resolvable is not None}
        self.state.learn(seen, left)
        self.reporter.reconciled(done.shown, done.judged)
