"""Write for one process: wanted claims and ready results share one transaction.

While a transaction runs, new results and claims gather for the next. The task is never cancelled,
since a cancelled database await may have committed. Callers enqueue without an await and wait on
futures. Knows neither HTTP nor SQL.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from worker.clock import sleep_or_event
from worker.core.model import Accepted, InDoubt, Invalid, NotSent, Released, Result
from worker.core.reasons import ClaimResult
from worker.core.run_state import RunState
from worker.db.address import DatabaseProblem, LogLostError
from worker.db.database import BAD_VALUE, Database, refusal
from worker.runner.model import Committed
from worker.runner.reporter import Reporter
from worker.runner.transaction import QueueTransaction
from worker.store.queue import Unwritable

T = TypeVar("T")
_Asked = tuple[Callable[[Connection], object], str, asyncio.Future[Any]]

TRY_AGAIN_SECONDS = 1.0
"""Between tries while the database cannot be used."""

QUIET_TURNS = 12
"""Turns of the event loop without a new result, after which the writer waits for no more."""

SMALLEST_PART = 32
"""Results, and claims, that are worth a transaction of their own: each takes half a millisecond."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    free_slots: Callable[[], int]
    future: asyncio.Future[ClaimResult]


@dataclass(slots=True, eq=False)
class Writer:
    """The writing side of one process: run it as a task, close it last. ``troubled`` is set while
    the database, or a result's row, cannot be used, and the run's state says why; ``unwritten``
    results are not on disk.
    """

    database: Database
    transaction: QueueTransaction
    state: RunState
    reporter: Reporter
    try_again_seconds: float = TRY_AGAIN_SECONDS
    troubled: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    unwritten: int = 0
    _ready: list[Result] = field(default_factory=list)
    _held: list[Result] = field(default_factory=list)
    _held_are_due: bool = False
    _unwritable: set[str] = field(default_factory=set)
    _log_lost: LogLostError | None = None
    _wanted: _Wanted | None = None
    _asked: list[_Asked] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _written: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False

    def __post_init__(self) -> None:
        self._written.set()

    @property
    def _part(self) -> int:
        """Return half of the slots, as the others send meanwhile; of a server, far perhaps, all."""
        slots = self.transaction.settings.concurrency
        return max(SMALLEST_PART, slots // 2) if self.database.runs_in_thread else slots

    def settle(self, result: Result) -> None:
        """Enqueue a result for the next transaction, at once and without an await."""
        self._ready.append(result)
        self.unwritten += 1
        self._written.clear()
        self._news.set()

    async def written(self) -> None:
        """Wait until every enqueued result is on disk, or the writer has ended."""
        await self._written.wait()

    async def claim(self, free_slots: Callable[[], int]) -> ClaimResult:
        """Claim as many videos as ``free_slots()`` says when the transaction begins. One caller at
        a time. Raises DatabaseProblem, and then nothing was claimed (law 9).
        """
        future: asyncio.Future[ClaimResult] = asyncio.get_running_loop().create_future()
        self._wanted = _Wanted(free_slots, future)
        self._news.set()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._release(future.result())
            raise

    def enqueue(self, work: Callable[[Connection], T], purpose: str) -> "asyncio.Future[T]":
        """Return the future of ``work``'s result, from a transaction of its own that ends whatever
        becomes of the caller, and after earlier results that can be written. It raises what
        ``work`` raises, or DatabaseProblem.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.append((work, purpose, future))
        self._news.set()
        return future

    def close(self) -> None:
        """End ``run`` when everything enqueued is on disk."""
        self._closing = True
        self._news.set()

    def give_up(self) -> None:
        """End ``run`` although a result could not be written: its lease will run out."""
        self.given_up.set()
        self.close()

    async def run(self) -> None:
        """Write until closed."""
        try:
            while any((self._ready, self._held, self._wanted, self._asked, not self._closing)):
                await self._news.wait()
                self._news.clear()
                await self._gather()
                asked, self._asked = self._asked, []
                # ``asked`` comes after every result that was enqueued before it.
                await self._transact(len(self._ready) if asked else self._part)
                await self._serve(asked)
                if self.given_up.is_set():
                    return
        finally:
            self._written.set()

    async def _gather(self) -> None:
        """Let the event loop turn until no more results arrive: more share a transaction so."""
        seen, quiet = -1, 0
        while quiet < QUIET_TURNS and not (self._wanted and len(self._ready) >= self._part):
            quiet = quiet + 1 if seen == len(self._ready) else 0
            seen = len(self._ready)
            await asyncio.sleep(0)

    async def _transact(self, most: int) -> None:
        ready, self._ready = self._ready[:most], self._ready[most:]
        if self._ready:
            self._news.set()
        if self._held_are_due:
            ready, self._held, self._held_are_due = [*self._held, *ready], [], False
        wanted, self._wanted = self._wanted, None
        try:
            if wanted and self._log_lost:
                raise self._log_lost
            if wanted and not ready and (seen := await self.database.read(self.transaction.peek)):
                if not self._held:  # nothing waits to be written
                    self.state.database_problem = None
                self._answer(wanted, seen)
            elif wanted or ready:
                self._publish(wanted, await self._write(ready, wanted))
        except DatabaseProblem as problem:
            await self._wait_for_database(ready, wanted, problem)
        except BAD_VALUE:
            self._wanted = wanted
            await self._row_by_row(ready)

    async def _serve(self, asked: Sequence[_Asked]) -> None:
        """Do the work that was enqueued beside results and claims, one after the other."""
        for work, purpose, future in asked:
            try:
                answer = await self.database.write(work, purpose)
            except Exception as error:  # noqa: BLE001 - the asker's work, the asker's error
                error.add_note(purpose)
                if isinstance(error, LogLostError):
                    self._log_lost = error  # no claim meets it any more
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(answer)

    async def _write(self, ready: Sequence[Result], wanted: _Wanted | None) -> Committed:
        free_slots = min(wanted.free_slots(), self._part) if wanted else 0
        monotonic = self.transaction.clock.monotonic
        began = monotonic()
        done = await self.database.write(
            lambda connection: self.transaction.write(
                connection, ready, free_slots, passing=self.troubled.is_set()
            ),
            f"to settle {len(ready)} and claim up to {free_slots}",
        )
        self.reporter.observe("database_transaction", monotonic() - began)
        return done

    async def _row_by_row(self, ready: Sequence[Result]) -> None:
        """Write each row alone, so that only the one that the database refuses fails (law 14)."""
        self._news.set()
        try:
            await self._expire_each()
            if not ready and self._wanted:
                await self._claim_alone(self._wanted)
        except DatabaseProblem as problem:
            wanted, self._wanted = self._wanted, None
            await self._wait_for_database(ready, wanted, problem)
        else:
            await self._one_by_one(ready)

    async def _expire_each(self) -> None:
        lapsed = set(await self.database.read(self.transaction.lapsed))
        for video_id in lapsed:
            others = Unwritable(known=lapsed - {video_id})
            work = replace(self.transaction, unwritable=others).write
            try:
                one = partial(work, results=(), free_slots=0)
                self._publish(None, await self.database.write(one, "to end a lease"))
            except BAD_VALUE as error:
                self._set_aside(video_id, refusal(error))

    async def _claim_alone(self, wanted: _Wanted) -> None:
        """Claim one video. Raises DatabaseProblem if it is no row that cannot be written."""
        alone = replace(self.transaction, closes_at_once=1)
        alone.unwritable.tried = []
        work = partial(alone.write, results=(), free_slots=min(1, wanted.free_slots()))
        try:
            done = await self.database.write(work, "to claim one")
        except BAD_VALUE as error:
            if not alone.unwritable.tried:
                raise DatabaseProblem(
                    f"database {self.database.address}: it holds a value that cannot be read or "
                    f"written ({refusal(error)}): correct it"
                ) from error
            await self._fail(alone.unwritable.tried[0], refusal(error))
        else:
            self._wanted = None
            self._publish(wanted, done)

    async def _fail(self, video_id: int, why: str) -> None:
        """Fail a video whose claim is refused; leave it alone if that is refused as well."""
        work, failed = partial(self.transaction.refuse, video_id=video_id, why=why), 0
        with suppress(*BAD_VALUE):
            failed = await self.database.write(work, "to fail one")
        (self._report_refused if failed else self._set_aside)(video_id, why)

    def _set_aside(self, video_id: int, why: str) -> None:
        known = self.transaction.unwritable.known
        if video_id not in known:
            known.add(video_id)
            self._report_refused(video_id, why)

    def _report_refused(self, video_id: int, why: str) -> None:
        self.state.counts.failed += 1
        self.reporter.unwritable(video_id, why)

    async def _one_by_one(self, ready: Sequence[Result]) -> None:
        """Write each result alone, so that only the one with a bad value fails (law 14)."""
        for place, result in enumerate(ready):
            try:
                self._publish(None, await self._write([result], None))
            except DatabaseProblem as problem:
                await self._wait_for_database(ready[place:], None, problem)
                return
            except BAD_VALUE as error:
                self._refuse(result, error)

    def _refuse(self, result: Result, error: Exception) -> None:
        """Replace a result that cannot be stored with an in-doubt one and enqueue that. If it fails
        too, drop it: the lease will run out into a doubt.
        """
        token = result.claim.token
        if token in self._unwritable:
            self.reporter.lost(result.claim)
            self._set_aside(result.claim.video_id, refusal(error))
            self._count_written()
            return
        self._unwritable.add(token)
        why, outcome = refusal(error), result.outcome
        if isinstance(outcome, Released | NotSent | Invalid):  # certainly no job
            self._ready.append(replace(result, outcome=Invalid(why)))
            return
        job = f"; it made job {outcome.job_id}" if isinstance(outcome, Accepted) else ""
        why = f"an answer came, but it could not be written down: {why}{job}"
        self._ready.append(replace(result, outcome=InDoubt(why)))

    async def _wait_for_database(
        self, ready: Sequence[Result], wanted: _Wanted | None, problem: DatabaseProblem
    ) -> None:
        """Try results that could not be written again; their requests are never repeated."""
        self.reporter.database(problem)
        self.state.database_problem = str(problem)
        if isinstance(problem, LogLostError):
            self._log_lost = problem
        self.troubled.set()
        self._ready = [*ready, *self._ready]
        if wanted and not wanted.future.cancelled():
            wanted.future.set_exception(problem)
        if self._ready:
            self._news.set()
            await sleep_or_event(self.given_up, self.try_again_seconds)

    def _publish(self, wanted: _Wanted | None, done: Committed) -> None:
        """Tell the run and its report what is on disk, then hand the claims over."""
        self._put_aside(done.held)
        if not self._held:
            self.reporter.database(None)
            self.state.database_problem = None
            self.troubled.clear()
        for settlement in done.settled:
            self.state.settle(settlement)
            self.reporter.settled(settlement)
            self._count_written()
        for settlement in done.closed:
            self.state.settle(settlement)
            result = settlement.result
            self.reporter.refused(result.claim.video_id, result.outcome.message)
        for expired in done.expired:
            self.state.open_doubt(expired.video_id)
            self.reporter.expired(expired)
        if wanted:
            self._answer(wanted, done.claimed)

    def _put_aside(self, held: Sequence[Result]) -> None:
        """Try results whose row another program holds again later; all others go on."""
        if held and not self._held:
            asyncio.get_running_loop().call_later(self.try_again_seconds, self._take_up)
        self._held += held

    def _take_up(self) -> None:
        self._held_are_due = True
        self._news.set()

    def _count_written(self) -> None:
        self.unwritten -= 1
        if not self.unwritten:
            self._written.set()

    def _answer(self, wanted: _Wanted, claimed: ClaimResult) -> None:
        if wanted.future.cancelled():
            self._release(claimed)
        else:
            wanted.future.set_result(claimed)

    def _release(self, claimed: ClaimResult) -> None:
        for start in claimed.starts:
            self.settle(Result(claim=start.claim, outcome=Released("the caller has gone")))
