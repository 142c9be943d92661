"""The loop: claim when there is room, begin what was claimed, end when the orders say so.

Running for ever and draining are this one loop. Knows no settings file, no signal and no SQL: it is
given its parts, and told to stop.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from worker.api.client import Api
from worker.db.database import Database, DatabaseProblem
from worker.log import Event
from worker.runner.attempts import Attempts
from worker.runner.heartbeat import Heartbeat, HeartbeatSource
from worker.runner.limiter import Limiter
from worker.runner.orders import RunOptions, RunReport, StopReason
from worker.runner.reconciler import Reconciler
from worker.runner.reporter import Reporter
from worker.runner.stop_conditions import Closing
from worker.runner.terms import ClaimResult, Start, WaitReason
from worker.runner.transaction import QueueTransaction
from worker.runner.writer import Writer

LONGEST_SLEEP_SECONDS = 20.0
"""Between looks at the table when nothing calls: a wall clock may have jumped, and the others take
a run that shows no sign of life for a minute for a dead one.
"""

DATABASE_SECONDS = 1.0
"""Between claims while the database cannot be used."""

LAST_WORDS_SECONDS = 0.1
"""What gets this long to end by itself, before it is cancelled."""

LAST_WRITE_SECONDS = 5.0
"""What a stop gives a database that cannot be written, after the grace."""


class Runner:
    """One run of one process. Its loop turns every 20 s at least, and ``signs`` show that."""

    def __init__(
        self,
        *,
        database: Database,
        transaction: QueueTransaction,
        api: Api,
        limiter: Limiter,
        options: RunOptions,
        reporter: Reporter,
        signs: HeartbeatSource,
    ) -> None:
        self._database = database
        self._clock = transaction.clock
        self._limiter = limiter
        self._options = options
        self._reporter = reporter
        self._writer = Writer(database, transaction, reporter)
        self._heartbeat = Heartbeat(
            signs=signs, put=self._writer.put, clock=self._clock, reporter=reporter
        )
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._given_up = False
        self._seen: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempts = Attempts(
            api=api,
            limiter=limiter,
            writer=self._writer,
            options=options,
            transaction=transaction,
            reporter=reporter,
            ended=self._wake.set,
        )
        self._reconciler = self._made_reconciler(api, transaction)
        self._closing = Closing(
            options=options,
            clock=self._clock,
            limiter=limiter,
            attempts=self._attempts,
            reconciler=self._reconciler,
            reporter=reporter,
        )

    def _made_reconciler(self, api: Api, transaction: QueueTransaction) -> Reconciler | None:
        """What settles doubts by evidence, where the terms want it."""
        verdicts = transaction.verdicts
        if verdicts is None:
            return None
        return Reconciler(
            api=api,
            limiter=self._limiter,
            write=self._writer.ask,
            transaction=transaction,
            verdicts=verdicts,
            reporter=self._reporter,
            news=self._wake.set,
        )

    async def run(self) -> RunReport:
        """Work until the orders say that it is over, or until told to stop."""
        log = self._reporter.log
        log.info(Event.RUN_STARTED, slots=self._limiter.slots, drain=self._options.drain)
        async with asyncio.TaskGroup() as group:
            writing = asyncio.create_task(self._writer.run())
            settling = self._reconciler and group.create_task(self._reconciler.run())
            try:
                end, detail = await self._run_feed(group, writing)
                if settling:  # it waits for the ledger or the API, which both bear to be left
                    settling.cancel()
                await self._wind_down()
                if not self._given_up:
                    self._heartbeat.leave()
                if self._given_up and self._writer.problem and not self._stopping.is_set():
                    end, detail = StopReason.DATABASE, str(self._writer.problem)
            except BaseException:
                self._limiter.shut()
                await self._cut_short(LAST_WORDS_SECONDS if writing.done() else LAST_WRITE_SECONDS)
                raise
            finally:
                self._writer.close()
                await self._written(writing)
        log.info(Event.RUN_ENDED, why=end, detail=detail)
        return RunReport(
            end=end,
            detail=detail,
            counts=self._reporter.counts,
            stop=self._closing.trouble(),
            needs_person=self._closing.needs_person(),
        )

    def stop(self) -> None:
        """Begin nothing more; what is in flight gets its grace."""
        self._reporter.log.info(Event.RUN_STOPPING, in_flight=self._limiter.taken)
        self._stopping.set()
        self._limiter.shut()
        self._wake.set()

    def hurry(self) -> None:
        """The grace is over now."""
        self._hurrying.set()

    async def _run_feed(
        self, group: asyncio.TaskGroup, writing: asyncio.Task[None]
    ) -> tuple[StopReason, str]:
        """The feeding loop's end. A ledger that died ends it at once, and so does a stop, or the
        end of its time, while the loop waits for a database that somebody else holds.
        """
        feeding = asyncio.create_task(self._feed(group))
        stopping = asyncio.create_task(self._stopping.wait())
        left = self._closing.deadline - self._clock.monotonic() + LAST_WRITE_SECONDS
        try:
            await asyncio.wait(
                {writing, feeding, stopping},
                timeout=None if left == float("inf") else left,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if stopping.done() and not writing.done():
                await _all_ended({feeding}, LAST_WRITE_SECONDS, self._hurrying)
            end = StopReason.STOPPED if self._stopping.is_set() else StopReason.HELD
        finally:
            stopping.cancel()
            await self._end_feed(feeding)
        if writing.done():
            writing.result()
        if feeding.done() and not feeding.cancelled():
            return feeding.result()
        return end, StopReason.HELD

    async def _end_feed(self, feeding: asyncio.Task[tuple[StopReason, str]]) -> None:
        """End the loop where it has not ended by itself; but a question to the database, which is
        a matter of a moment, is poison when it is cancelled.
        """
        if not feeding.done():
            self._stopping.set()
            self._wake.set()
            await asyncio.wait({feeding}, timeout=LAST_WORDS_SECONDS)
            feeding.cancel()

    async def _written(self, writing: asyncio.Task[None]) -> None:
        """Wait for the last transaction. Where it lasts, the ledger gave up, or a claim whose
        caller has gone waits for somebody else's lock.
        """
        await _all_ended({writing}, LAST_WRITE_SECONDS, self._hurrying)
        if writing.done():
            writing.result()
        else:  # to cancel it would be poison; it ends when its database is closed
            writing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _feed(self, group: asyncio.TaskGroup) -> tuple[StopReason, str]:
        """Claim whenever there is room, until it is over."""
        while (over := self._over()) is None:
            self._wake.clear()
            self._heartbeat.turned()
            if self._room() <= 0:
                await self._sleep(self._attempts.breaker.cool_until if self._cooling() else None)
                continue
            try:
                turn = await self._writer.claim(self._room)
                self._closing.found()
                self._reporter.turned(turn)
                for start in turn.starts:
                    self._begin(start, group)
                if not turn.starts:
                    if (ended := self._closing.ended(turn)) is not None:
                        return ended
                    await self._idle(turn)
            except DatabaseProblem as problem:
                if (ended := self._closing.lost(problem)) is not None:
                    return ended
                await self._sleep(self._clock.monotonic() + DATABASE_SECONDS)
        return over

    def _over(self) -> tuple[StopReason, str] | None:
        return (StopReason.STOPPED, "") if self._stopping.is_set() else self._closing.over()

    def _cooling(self) -> bool:
        return self._clock.monotonic() < self._attempts.breaker.cool_until

    def _room(self) -> int:
        """How many requests more may be claimed now."""
        if self._cooling() or self._stopping.is_set():
            return 0
        taken = self._limiter.taken
        room = min(
            self._limiter.slots - taken, self._attempts.breaker.room(taken, self._limiter.slots)
        )
        if self._options.limit is not None:
            room = min(room, self._options.limit - self._attempts.spent)
        return room

    async def _idle(self, turn: ClaimResult) -> None:
        """Sleep until the turn's moment, or until anybody writes to the database."""
        now = self._clock.monotonic()
        until = min(now + LONGEST_SLEEP_SECONDS, self._closing.deadline)
        if (
            turn.why is WaitReason.LIST
            and turn.until is not None
            and turn.until <= self._clock.now()
        ):
            self._call_for_list()
        elif turn.until is not None:
            until = min(until, self._clock.until(turn.until))
        if turn.why is WaitReason.PACE:
            await self._sleep(until)
            return
        before, self._seen = self._seen, self._database.data_version()
        if self._seen != before:
            return  # somebody has written, perhaps after the look: look again
        while self._clock.monotonic() < until and not self._wake.is_set():
            await self._sleep(min(until, self._clock.monotonic() + self._options.poll_seconds))
            if self._database.data_version() != self._seen:
                return

    def _call_for_list(self) -> None:
        """It is asked for meanwhile; new videos are not kept waiting by that."""
        if self._reconciler is not None:
            self._reconciler.call()

    async def _sleep(self, until: float | None) -> None:
        """Wait for an attempt's end, a stop, or the monotonic second ``until``; never past the
        end of the orders.
        """
        now = self._clock.monotonic()
        end = min(self._closing.deadline, now + LONGEST_SLEEP_SECONDS)
        seconds = (end if until is None else min(end, until)) - now
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for would make a task each time
                await self._wake.wait()

    def _begin(self, start: Start, group: asyncio.TaskGroup) -> None:
        self._attempts.take()
        task = group.create_task(self._attempts.carry(start))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wind_down(self) -> None:
        """Release what has not begun and let the rest end. A stop, or a database that cannot be
        written, leaves it the grace; what outlives that is cut short.
        """
        self._limiter.shut()
        settled = asyncio.create_task(self._settled())
        await _all_ended({settled}, None, self._stopping, self._writer.troubled)
        await _all_ended({settled}, self._options.grace_seconds, self._hurrying)
        settled.cancel()
        await self._cut_short(LAST_WRITE_SECONDS)

    async def _settled(self) -> None:
        """Wait until every attempt has ended, and what it came to is on disk."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        await self._writer.written()

    async def _cut_short(self, seconds: float) -> None:
        """End what is under way, and give what it came to that long to be written."""
        self._attempts.cut_short()
        self._hurrying.clear()
        settled = asyncio.create_task(self._settled())
        await _all_ended({settled}, seconds, self._hurrying)
        if not settled.done():
            settled.cancel()
            open_ = len(self._tasks) + self._writer.unwritten
            self._reporter.log.error(Event.SETTLE_GIVEN_UP, attempts=open_)
            self._writer.give_up()
            self._given_up = True
            for task in tuple(self._tasks):
                task.cancel()


async def _all_ended(
    tasks: Collection[asyncio.Task[Any]], seconds: float | None, *sleep_or_event: asyncio.Event
) -> None:
    """Wait for all of the tasks, no longer than ``seconds``, nor than until one of the events."""
    called = [asyncio.create_task(event.wait()) for event in sleep_or_event]
    ended = asyncio.create_task(asyncio.wait(tuple(tasks)))
    await asyncio.wait({ended, *called}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for waiting in (ended, *called):
        waiting.cancel()
