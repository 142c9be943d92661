"""The one writing task: claims wanted and outcomes ready go together into one transaction.

While a transaction runs, whatever comes piles up for the next. The task is never cancelled: a
cancelled database await may have committed. Callers put things down without an await and wait on
futures. Knows neither HTTP nor SQL.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from sqlalchemy import Connection

from worker.clock import sleep_or_event
from worker.core.model import InDoubt, Released
from worker.db.database import BAD_VALUE, Database, DatabaseProblem
from worker.runner.reporter import Reporter
from worker.runner.terms import ClaimResult, Committed, CoolDown, Note, Settled
from worker.runner.transaction import QueueTransaction
from worker.store.settle import Ending

T = TypeVar("T")

TRY_AGAIN_SECONDS = 1.0
"""Between tries to write while the database cannot be written."""

QUIET_TURNS = 12
"""Turns of the event loop without a new ending, after which no more are waited for."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    note: Note
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    work: Callable[[Connection], object]
    purpose: str
    future: asyncio.Future[object]


@dataclass(frozen=True, slots=True)
class _Wanted:
    room: Callable[[], int]
    future: asyncio.Future[ClaimResult]


class Writer:
    """The writing side of one process: run it as a task, close it last.

    ``troubled`` is set while the database cannot be used, and ``problem`` says why; ``unwritten``
    counts the endings that are not on disk yet.
    """

    def __init__(
        self,
        database: Database,
        transaction: QueueTransaction,
        reporter: Reporter,
        *,
        try_again_seconds: float = TRY_AGAIN_SECONDS,
    ) -> None:
        self._database = database
        self._work = transaction
        self._reporter = reporter
        self._try_again_seconds = try_again_seconds
        self._ready: list[_Waiting] = []
        self._wanted: _Wanted | None = None
        self._asked: list[_Asked] = []
        self._news = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()
        self._closing = False
        self._giving_up = asyncio.Event()
        self.troubled = asyncio.Event()
        self.problem: DatabaseProblem | None = None
        self.unwritten = 0

    def settle(self, ending: Ending, cool_down: CoolDown | None = None) -> None:
        """Put an ending down for the next transaction, at once and without an await. The chronicle
        is told when it is on disk.
        """
        self._ready.append(_Waiting(Note(ending, cool_down)))
        self.unwritten += 1
        self._written.clear()
        self._news.set()

    async def written(self) -> None:
        """Wait until every ending that was put down is on disk, or nobody writes any more."""
        await self._written.wait()

    async def claim(self, room: Callable[[], int]) -> ClaimResult:
        """Ask for as many starts as ``room()`` says when the transaction begins. One caller at a
        time. Raises DatabaseProblem, and then nothing was claimed (law 9).
        """
        future: asyncio.Future[ClaimResult] = asyncio.get_running_loop().create_future()
        self._wanted = _Wanted(room, future)
        self._news.set()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._release(future.result())
            raise

    async def ask(self, work: Callable[[Connection], T], purpose: str) -> T:
        """``work``'s result, in a transaction of its own that ends whatever becomes of the caller.
        Raises what ``work`` raises, or DatabaseProblem.
        """
        return await self.put(work, purpose)

    def put(self, work: Callable[[Connection], T], purpose: str) -> "asyncio.Future[T]":
        """The same, put down at once and without an await; somebody has to look at the future."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(work, purpose, cast("asyncio.Future[object]", future)))
        self._news.set()
        return future

    def close(self) -> None:
        """End ``run`` when everything put down is on disk."""
        self._closing = True
        self._news.set()

    def give_up(self) -> None:
        """End ``run`` although something could not be written: its lease will run out."""
        self._giving_up.set()
        self.close()

    async def run(self) -> None:
        """Write until closed."""
        try:
            while self._ready or self._wanted or self._asked or not self._closing:
                await self._news.wait()
                self._news.clear()
                await self._gather()
                await self._turn()
                await self._serve()
                if self._giving_up.is_set():
                    return
        finally:
            self._written.set()

    async def _gather(self) -> None:
        """Let the event loop turn until no more endings arrive: a quarter of the transactions."""
        seen, quiet = -1, 0
        while quiet < QUIET_TURNS:
            quiet = quiet + 1 if seen == len(self._ready) else 0
            seen = len(self._ready)
            await asyncio.sleep(0)

    async def _turn(self) -> None:
        """One transaction with everything that waits; alone, a claim looks before it writes."""
        ready, self._ready = self._ready, []
        wanted, self._wanted = self._wanted, None
        try:
            if wanted and not ready and (seen := await self._database.read(self._work.look)):
                self._answer(wanted, seen)
            elif wanted or ready:
                self._tell(wanted, await self._write(ready, wanted))
        except DatabaseProblem as problem:
            await self._wait_for_database(ready, wanted, problem)
        except BAD_VALUE:
            if not ready:
                raise
            self._wanted = wanted
            await self._one_by_one(ready)

    async def _serve(self) -> None:
        """What was asked for beside endings and claims, one after the other."""
        asked, self._asked = self._asked, []
        for question in asked:
            try:
                answer = await self._database.write(question.work, question.purpose)
            except Exception as error:  # noqa: BLE001 - the asker's work, the asker's error
                if not question.future.cancelled():
                    question.future.set_exception(error)
            else:
                if not question.future.cancelled():
                    question.future.set_result(answer)

    async def _write(self, ready: Sequence[_Waiting], wanted: _Wanted | None) -> Committed:
        notes = [waiting.note for waiting in ready]
        room = wanted.room() if wanted else 0
        return await self._database.write(
            lambda connection: self._work.write(connection, notes, room),
            f"to settle {len(notes)} and claim up to {room}",
        )

    async def _one_by_one(self, ready: Sequence[_Waiting]) -> None:
        """A shared transaction failed for a value: each alone, so that only the offender fails."""
        self._news.set()
        for place, waiting in enumerate(ready):
            try:
                self._tell(None, await self._write([waiting], None))
            except DatabaseProblem as problem:
                await self._wait_for_database(ready[place:], None, problem)
                return
            except BAD_VALUE as error:
                self._refuse(waiting, error)

    def _refuse(self, waiting: _Waiting, error: Exception) -> None:
        """What cannot be stored ends as a doubt; if not even that can, its lease will run out."""
        if not waiting.refused:
            note = _unwritable(waiting.note, error)
            self._ready.append(replace(waiting, note=note, refused=True))
        else:
            self._told(Settled(ending=waiting.note.ending, transition=None))

    async def _wait_for_database(
        self, ready: Sequence[_Waiting], wanted: _Wanted | None, problem: DatabaseProblem
    ) -> None:
        """Endings that could not be written are tried again; their requests never are."""
        self._reporter.database(problem)
        self.problem = problem
        self.troubled.set()
        self._ready = [*ready, *self._ready]
        if wanted and not wanted.future.cancelled():
            wanted.future.set_exception(problem)
        if self._ready:
            self._news.set()
            await sleep_or_event(self._giving_up, self._try_again_seconds)

    def _tell(self, wanted: _Wanted | None, done: Committed) -> None:
        self._reporter.database(None)
        self.problem = None
        self.troubled.clear()
        for settled in done.settled:
            self._told(settled)
        for closed in done.closed:
            self._reporter.closed(closed)
        for expired in done.expired:
            self._reporter.expired(expired)
        if wanted:
            self._answer(wanted, done.turn)

    def _told(self, settled: Settled) -> None:
        self._reporter.settled(settled)
        self.unwritten -= 1
        if not self.unwritten:
            self._written.set()

    def _answer(self, wanted: _Wanted, turn: ClaimResult) -> None:
        """Hand the claims over; claims whose caller has gone are released."""
        if wanted.future.cancelled():
            self._release(turn)
        else:
            wanted.future.set_result(turn)

    def _release(self, turn: ClaimResult) -> None:
        for start in turn.starts:
            gone = Released("the caller has gone")
            self.settle(Ending(claim=start.claim, outcome=gone, started_at=None))


def _unwritable(note: Note, error: Exception) -> Note:
    """The doubt that stands for an answer which cannot be stored."""
    why = f"an answer came, but it could not be written down: {type(error).__name__}"
    return Note(replace(note.ending, outcome=InDoubt(why)), note.cool_down)
