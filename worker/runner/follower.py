"""Follow jobs to their end: ask about one, or for the list, as the budget of questions allows.

A question spends no start of the pace. Knows no SQL, and decides no end.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from worker.clock import ended
from worker.core.following import (
    BEFORE_ALL,
    GONE_AFTER,
    LONGEST_WAIT,
    FollowedJob,
    JobStatus,
    NoStatus,
    buried,
    heard,
    question,
)
from worker.core.job_list import Listing, Unlisted
from worker.core.model import Fact
from worker.db.address import DatabaseProblem
from worker.db.database import BAD_VALUE
from worker.runner.reconciler import Reconciler
from worker.store import jobs, results, shared_state
from worker.store.bulk import batches
from worker.store.jobs import JobChange

IDLE = timedelta(seconds=30)
"""Between looks at the table: a job may be due sooner than was seen."""

AT_ONCE = 200
"""Jobs of a list that one transaction writes; sends wait for it some milliseconds."""

REST = 15
"""Times that a list took, until the next question."""

LAST_QUESTION_SECONDS = 5.0
"""For the question at the end of a drain."""

Asked = JobStatus | NoStatus | Listing | Unlisted | None
"""The answer to a question; None where none was asked."""


@dataclass(frozen=True, slots=True)
class Follower:
    """The one who asks about jobs, beside one who settles doubts by the same lists. ``told`` takes
    each change that is on disk.
    """

    reconciler: Reconciler
    told: Callable[[JobChange], None]

    async def run(self) -> None:
        """Ask whenever it is time, until the limiter is shut."""
        await self.reconciler.repeat(self._ask)

    async def _ask(self) -> datetime:
        said, again_at = await self.ask()
        if isinstance(said, NoStatus) and not said.missing:
            now = self.reconciler.transaction.clock.now()
            self.reconciler.reporter.unanswered(said.reason, now)
        return again_at

    async def ask_last(self, stopping: asyncio.Event) -> None:
        """Ask one question before a drain ends, which it delays for seconds at most, and on while
        an error that a list has shown may be asked about.
        """
        asking = asyncio.create_task(self._ask_on())
        await ended(asking, LAST_QUESTION_SECONDS, stopping)
        asking.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await asking
        except (DatabaseProblem, *BAD_VALUE) as error:
            now = self.reconciler.transaction.clock.now()
            self.reconciler.reporter.unwritten(error, now)

    async def _ask_on(self) -> None:
        limiter, clock = self.reconciler.limiter, self.reconciler.transaction.clock
        until = clock.now() + timedelta(seconds=LAST_QUESTION_SECONDS)
        while (again_at := await self._ask()) < until and await self.reconciler.write(
            self._owes_details, "to see which errors were shown"
        ):
            if not await limiter.wait_until(clock.until(again_at)):
                return

    def _owes_details(self, connection: Connection) -> bool:
        due = jobs.due(connection, self.reconciler.transaction.clock.now(), 1)
        return any(job.status == "error" for job in due)

    async def ask(self) -> tuple[Asked, datetime]:
        """Ask one question. Return its answer, and when to ask again (UTC)."""
        clock = self.reconciler.transaction.clock
        chosen = await self.reconciler.write(self._choose, "to choose a question about jobs")
        if isinstance(chosen, datetime):
            return None, chosen
        if chosen is not None:
            said = await self.reconciler.api.job_status(chosen.job_id)
            self._tell(
                await self.reconciler.write(partial(self._hear, chosen, said), "to follow a job")
            )
            return said, clock.now()
        asked_at, shown = clock.now(), await self.reconciler.list_jobs()
        if self.reconciler.transaction.settings.reconciles:
            await self.reconciler.conclude(shown, asked_at)
        await self.learn(shown, asked_at)
        rest = min(timedelta(seconds=LONGEST_WAIT), REST * (clock.now() - asked_at))
        return shown, clock.now() + rest

    def _choose(self, connection: Connection) -> FollowedJob | datetime | None:
        """Reserve a question: the job to ask about, None for the list; or when to look again."""
        now, pacer = self.reconciler.transaction.clock.now(), self.reconciler.transaction.pacer
        due, later = jobs.due(connection, now, 2), now + IDLE
        if not due:
            jobs.recall(connection, now)
            return min(later, jobs.next_at(connection) or later)
        if isinstance(spacing := pacer.question(connection), datetime):
            return spacing
        unproven = jobs.is_any_missing(connection, now - GONE_AFTER)
        number, known = jobs.open_jobs(connection), jobs.asking(connection)
        chosen = question(due, known, number, now, spacing=spacing, unproven=unproven)
        if isinstance(chosen, datetime):
            return min(later, chosen)
        jobs.note(connection, next_question_at=now + spacing)
        if chosen is None:
            shared_state.list_asked(connection, now)
            jobs.note(connection, jobs_listed_at=now)
        else:
            patience = timedelta(seconds=2 * self.reconciler.transaction.settings.timeout_seconds)
            jobs.postpone(connection, chosen, now + patience)
        return chosen

    def _hear(
        self, asked: FollowedJob, said: JobStatus | NoStatus, connection: Connection
    ) -> Sequence[JobChange]:
        if isinstance(said, NoStatus) and said.retry_after is not None:
            self.reconciler.transaction.pacer.hold(connection, said.retry_after, said.reason)
        found = jobs.named(connection, [asked.job_id])
        planned = [replace(job, next_poll_at=asked.next_poll_at) for job in found]
        changes = self._write(connection, planned, {asked.job_id: said})
        for job in found:
            if job.next_poll_at == BEFORE_ALL:  # it was called for while it was asked about
                jobs.postpone(connection, job, BEFORE_ALL)
        return changes

    def _write(
        self,
        connection: Connection,
        found: Sequence[FollowedJob],
        said: Mapping[str, JobStatus | NoStatus],
    ) -> Sequence[JobChange]:
        work = self.reconciler.transaction
        now, known = work.clock.now(), jobs.asking(connection)
        asked = [job for job in found if job.job_id in said and job.ended_as is None]
        pairs = [(job, heard(job, said[job.job_id], now, work.dice(), known)) for job in asked]
        changes = jobs.write(connection, [p for p in pairs if p[0] is not p[1]], now, work.worker)
        finished = [job.job_id for job, fact, _ in changes if fact is Fact.JOB_FINISHED]
        if finished and work.settings.fetches:
            results.want(connection, work.settings.result_types, now, finished)
        return changes

    async def learn(self, shown: Listing | Unlisted, asked_at: datetime) -> None:
        """Write what a list shows of own jobs, some at a time, and which of them it proves gone."""
        if isinstance(shown, Unlisted):
            return
        listed = {each.job_id: each.status for each in shown.entries if each.job_id is not None}
        around: list[datetime] = []
        for some in batches(list(listed), AT_ONCE):
            status = {job_id: listed[job_id] for job_id in some}
            try:
                work = partial(self._listed, status)
                found, changes = await self.reconciler.write(work, "to follow jobs by a list")
            except BAD_VALUE as error:  # they are asked about one by one (law 14)
                self.reconciler.reporter.unwritten(error, self.reconciler.transaction.clock.now())
                continue
            self._tell(changes)
            around = sorted([*around, *(job.accepted_at for job in found)])
            del around[1:-1]
        if around and shown.paged is None and all(each.job_id for each in shown.entries):
            bury = partial(self._bury, listed, asked_at, (around[0], around[-1]))
            self._tell(await self.reconciler.write(bury, "to find jobs that are gone"))

    def _listed(
        self, status: Mapping[str, str | None], connection: Connection
    ) -> tuple[Sequence[FollowedJob], Sequence[JobChange]]:
        found = jobs.named(connection, status)
        if shown := [status[job.job_id] is not None for job in found if job.ended_as is None]:
            known = jobs.asking(connection).list_shows_status or 0
            jobs.note(connection, list_shows_status=max(known, *shown, 0))
        said = {j: JobStatus(status=s, listed=True) for j, s in status.items() if s is not None}
        return found, self._write(connection, found, said)

    def _bury(
        self,
        listed: Mapping[str, str | None],
        asked_at: datetime,
        around: tuple[datetime, datetime],
        connection: Connection,
    ) -> Sequence[JobChange]:
        work = self.reconciler.transaction
        missing = jobs.missing(connection, asked_at - GONE_AFTER, around, AT_ONCE)
        now, unlisted = work.clock.now(), [job for job in missing if job.job_id not in listed]
        pairs = [(job, buried(job, around, now)) for job in unlisted]
        return jobs.write(connection, [p for p in pairs if p[0] is not p[1]], now, work.worker)

    def _tell(self, changes: Sequence[JobChange]) -> None:
        for change in changes:
            self.told(change)
