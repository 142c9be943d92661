"""Run the claim loop: claim while there are free slots, begin what was claimed, stop in order.

A daemon and a drain are this one loop. Knows no settings file, no signal and no SQL.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from worker.api.client import Api
from worker.api.uploads import UploadApi
from worker.clock import ended
from worker.core import stop_conditions
from worker.core.model import Start
from worker.core.reasons import ClaimResult, Stop, StopReason, WaitReason
from worker.core.run_state import RunState
from worker.core.stop_conditions import RunOptions
from worker.db.address import DatabaseProblem, LogLostError, Unreachable
from worker.db.database import Database
from worker.log import Event
from worker.runner.attempts import Attempts
from worker.runner.fetcher import Fetcher
from worker.runner.follower import Follower
from worker.runner.heartbeat import Heartbeat
from worker.runner.limiter import Limiter
from worker.runner.model import RunReport
from worker.runner.pruner import Pruner
from worker.runner.reconciler import Reconciler
from worker.runner.reporter import Reporter
from worker.runner.transaction import QueueTransaction
from worker.runner.uploader import Uploader
from worker.runner.writer import TRY_AGAIN_SECONDS, Writer
from worker.store.workers import WorkerRow

LONGEST_SLEEP_SECONDS = 20.0
"""Between looks at the table when nothing calls: a wall clock may have jumped, and a run without a
heartbeat for a minute passes for a dead one.
"""

LAST_WORDS_SECONDS = 0.1  # for a task to end by itself, before it is cancelled
LAST_WRITE_SECONDS = 5.0  # for a database that cannot be written, after the grace of a stop


@dataclass(kw_only=True, eq=False)
class Runner:
    """One run of one process. Its loop turns every 20 s at least, and its heartbeat shows that."""

    database: Database
    transaction: QueueTransaction
    api: Api
    limiter: Limiter
    options: RunOptions
    reporter: Reporter
    row: WorkerRow
    upload_api: UploadApi
    beat: Callable[[], None] = lambda: None
    callback_url: Callable[[int], str | None] = lambda _: None

    def __post_init__(self) -> None:
        self._settings = self.transaction.settings
        self._clock = self.transaction.clock
        reconciles, now = self._settings.reconciles, self._clock.monotonic()
        self.state = RunState(began_at=now, reconciles=reconciles)
        self._deadline = stop_conditions.deadline(self.state, self.options)
        self._writer = Writer(self.database, self.transaction, self.state, self.reporter)
        self._heartbeat = Heartbeat(
            self.row, self.beat, self._writer.enqueue, self._clock, self.reporter
        )
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._seen: int | None = None
        self._slots: list[asyncio.Task[None]] = []
        self._idle_slots: list[asyncio.Future[Start]] = []
        self._attempts = Attempts(
            api=self.api,
            defaults=self._settings.defaults,
            limiter=self.limiter,
            writer=self._writer,
            run=self.state,
            transaction=self.transaction,
            reporter=self.reporter,
            ended=self._wake.set,
            callback_url=self.callback_url,
        )
        self._reconciler = Reconciler(
            api=self.api,
            limiter=self.limiter,
            write=self._writer.enqueue,
            transaction=self.transaction,
            state=self.state,
            reporter=self.reporter,
            news=self._wake.set,
        )
        self._uploading: asyncio.Task[None] | None = None
        uploader = Uploader(api=self.upload_api, database=self.database, beside=self._reconciler)
        self._uploader = uploader if self._settings.roots else None
        self._follower = Follower(self._reconciler, self.reporter.followed)

    async def run(self) -> RunReport:
        """Work until the run is over by its options, or until told to stop."""
        log = self.reporter.log
        log.info(Event.RUN_STARTED, slots=self._settings.concurrency, drain=self.options.drain)
        async with asyncio.TaskGroup() as group:
            writing = asyncio.create_task(self._writer.run())
            tasks = [group.create_task(each) for each in self._beside()]
            if self._uploader:
                self._uploading = group.create_task(self._uploader.run())
            try:
                stop = await self._run_feed(group, writing)
                if self._settings.follows and stop_conditions.asks_last(stop, self.options):
                    await self._follower.ask_last(self._stopping)
                for task in tasks:  # each waits for the writer or the API, which bear to be left
                    task.cancel()
                await self._wind_down()
                if not self._writer.given_up.is_set():
                    self._heartbeat.leave()
                elif (problem := self.state.database_problem) and not self._stopping.is_set():
                    stop = Stop(reason=StopReason.DATABASE, message=problem)
            except BaseException:
                self.limiter.shut()
                await self._cut_short(LAST_WORDS_SECONDS if writing.done() else LAST_WRITE_SECONDS)
                raise
            finally:
                self._writer.close()
                await self._written(writing)
        log.info(Event.RUN_ENDED, why=stop.reason, detail=stop.message)
        stop = stop_conditions.with_late_failures(stop, self.state)
        return RunReport(stop=stop, counts=self.state.counts, last=self.state.last)

    def _beside(self) -> Iterator[Coroutine[Any, Any, None]]:
        settings = self._settings
        if settings.reconciles:
            yield self._reconciler.run(self._follower.learn if settings.follows else None)
        if settings.follows and not self.options.brief:
            yield self._follower.run()
        if settings.fetches and not self.options.brief:
            yield Fetcher(self._reconciler).run()
        if settings.keep_days and not self.options.drain:
            write = self._writer.enqueue
            pruner = Pruner(self.database, write, self._clock, self.reporter, settings.follow)
            yield pruner.run(timedelta(days=settings.keep_days))

    def stop(self) -> int:
        """Begin nothing more; return the number of requests in flight, which get their grace."""
        self.reporter.log.info(Event.RUN_STOPPING, in_flight=self.state.in_flight)
        self._stopping.set()
        self.limiter.shut()
        self._wake.set()
        return self.state.in_flight

    def hurry(self) -> None:
        """End the grace now."""
        self._hurrying.set()

    async def _run_feed(self, group: asyncio.TaskGroup, writing: asyncio.Task[None]) -> Stop:
        """Run the claim loop and return why it ended. Return early if the writer task has died, or
        if a stop or the deadline comes while the database is locked.
        """
        feeding = asyncio.create_task(self._feed(group))
        stopping = asyncio.create_task(self._stopping.wait())
        left = self._deadline - self._clock.monotonic() + LAST_WRITE_SECONDS
        try:
            await asyncio.wait(
                {writing, feeding, stopping},
                timeout=None if left == float("inf") else left,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if stopping.done() and not writing.done():
                await ended(feeding, LAST_WRITE_SECONDS, self._hurrying)
            reason = StopReason.STOPPED if self._stopping.is_set() else StopReason.HELD
        finally:
            stopping.cancel()
            await self._end_feed(feeding)
        if writing.done():
            writing.result()
        if feeding.done() and not feeding.cancelled():
            return feeding.result()
        return Stop(reason=reason, message=StopReason.HELD)

    async def _end_feed(self, feeding: asyncio.Task[Stop]) -> None:
        """End the loop if it has not ended by itself. A short query gets time to end first, since
        a cancelled one may leave a lock held.
        """
        if not feeding.done():
            self._stopping.set()
            self._wake.set()
            await asyncio.wait({feeding}, timeout=LAST_WORDS_SECONDS)
            feeding.cancel()

    async def _written(self, writing: asyncio.Task[None]) -> None:
        """Wait for the last transaction. If it lasts, the writer gave up, or a claim whose caller
        has gone waits for another program's lock.
        """
        await ended(writing, LAST_WRITE_SECONDS, self._hurrying)
        if writing.done():
            writing.result()
        else:  # cancelled it may leave a lock held; it ends when its database is closed
            writing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _feed(self, group: asyncio.TaskGroup) -> Stop:
        while (over := self._stop_before_claim()) is None:
            self._wake.clear()
            self._heartbeat.turned()
            if self._free_slots() <= 0:
                await self._sleep(None)
                continue
            try:
                result = await self._writer.claim(self._free_slots)
                self.state.database_lost_at = None
                self.reporter.claimed(result)
                for start in result.starts:
                    self._begin(start, group)
                if not result.starts:
                    if (stop := self._stop_after_claim(result)) is not None:
                        return stop
                    await self._idle(result)
            except DatabaseProblem as problem:
                if (stop := self._stop_without_database(problem)) is not None:
                    return stop
                await self._sleep(self._clock.monotonic() + TRY_AGAIN_SECONDS)
        return over

    def _free_slots(self) -> int:
        if self._stopping.is_set():
            return 0
        return stop_conditions.free_slots(self.state, self.options, self._settings.concurrency)

    def _stop_before_claim(self) -> Stop | None:
        if self._stopping.is_set():
            return Stop(reason=StopReason.STOPPED)
        return stop_conditions.stop_before_claim(self.state, self.options, self._clock.monotonic())

    def _stop_after_claim(self, result: ClaimResult) -> Stop | None:
        now, until = self._clock.monotonic(), result.until
        seconds = None if until is None else (until - self._clock.now()).total_seconds()
        if self.options.drain and not self.state.busy:
            self.state.note_wait(stop_conditions.stalls(result, seconds), now)
        longest = self._settings.retry_after_max_seconds
        return stop_conditions.stop_after_claim(
            result, self.state, self.options, now, seconds=seconds, longest=longest
        )

    def _stop_without_database(self, problem: DatabaseProblem) -> Stop | None:
        if isinstance(problem, LogLostError):  # a daemon cannot wait for it either
            return Stop(reason=StopReason.DATABASE, message=str(problem))
        now, run = self._clock.monotonic(), self.state
        if run.database_lost_at is None:
            run.database_lost_at = now
        return stop_conditions.stop_without_database(
            run, self.options, str(problem), now, unreachable=isinstance(problem, Unreachable)
        )

    async def _idle(self, result: ClaimResult) -> None:
        """Sleep until the result's moment, or until a row is written to the database."""
        now = self._clock.monotonic()
        until = min(now + LONGEST_SLEEP_SECONDS, self._deadline)
        overdue = result.until is not None and result.until <= self._clock.now()
        if result.reason is WaitReason.LIST and overdue:
            self._reconciler.called.set()  # new videos do not wait for it
        elif result.reason is WaitReason.UPLOADS and self._uploader:
            self._uploader.called.set()
        elif result.until is not None:
            until = min(until, self._clock.until(result.until))
        if result.reason is WaitReason.PACE:
            await self._sleep(until)
            return
        before, self._seen = self._seen, self.database.data_version()
        if self._seen != before:
            return  # a row was written, perhaps after the claim looked: look again
        self._look()
        try:
            await self._sleep(until)
        finally:
            self._looking.cancel()

    def _look(self) -> None:
        """Wake the loop if a row was written, and look again soon: by a timer, which costs an idle
        daemon half of what a task does that sleeps.
        """
        later = asyncio.get_running_loop().call_later
        self._looking = later(self._settings.poll_seconds, self._look)
        with suppress(DatabaseProblem):  # which the next claim meets as well
            if self.database.data_version() == self._seen:
                return
        self._wake.set()

    async def _sleep(self, until: float | None) -> None:
        """Wait for an attempt's end, a stop or the second ``until``; never past the deadline."""
        now = self._clock.monotonic()
        end = min(self._deadline, now + LONGEST_SLEEP_SECONDS)
        seconds = (end if until is None else min(end, until)) - now
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for would make a task each time
                await self._wake.wait()

    def _begin(self, start: Start, group: asyncio.TaskGroup) -> None:
        self.state.begin()
        if self._idle_slots:
            self._idle_slots.pop().set_result(start)
        else:
            self._slots.append(group.create_task(self._serve(start)))

    async def _serve(self, start: Start) -> None:
        """Carry claims, one after the other: a task for each would take a tenth of its time."""
        loop = asyncio.get_running_loop()
        while True:
            await self._attempts.carry(start)
            idle: asyncio.Future[Start] = loop.create_future()
            self._idle_slots.append(idle)
            start = await idle

    async def _wind_down(self) -> None:
        """Release the claims that have not begun and let the others end. A stop, or a database that
        cannot be written, leaves them the grace; then they are cut short.
        """
        self.limiter.shut()
        settled = asyncio.create_task(self._settled())
        await ended(settled, None, self._stopping, self._writer.troubled)
        await ended(settled, self._settings.grace, self._hurrying)
        settled.cancel()
        await self._cut_short(LAST_WRITE_SECONDS)

    async def _settled(self) -> None:
        while self.state.in_flight or self.state.uploading:
            self._wake.clear()
            await self._wake.wait()
        await self._writer.written()

    async def _cut_short(self, seconds: float) -> None:
        self._attempts.cut_short()
        if self._uploading:
            self._uploading.cancel()
        self._hurrying.clear()
        settled = asyncio.create_task(self._settled())
        await ended(settled, seconds, self._hurrying)
        if not settled.done():
            settled.cancel()
            open_ = self.state.in_flight + self._writer.unwritten
            self.reporter.log.error(Event.SETTLE_GIVEN_UP, attempts=open_)
            self._writer.give_up()
        for slot in self._slots:
            slot.cancel()
