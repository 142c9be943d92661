"""Carry one claim to its one POST: wait for its start, send, classify, hand over to the writer.

Knows nothing of when to claim, and asks no table.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from worker.api.client import Api
from worker.core import request
from worker.core.breaker import Breaker, observe
from worker.core.model import Accepted, Claim, CoolDown, Outcome, Released, Result, Start, Video
from worker.core.redact import without_secrets
from worker.core.request import Defaults
from worker.core.run_state import RunState
from worker.runner.limiter import Limiter
from worker.runner.reporter import Reporter
from worker.runner.transaction import QueueTransaction
from worker.runner.writer import Writer

MISSED_SECONDS = 5.0
"""A start so long past, because the process or its database stood still, was used by another
process meanwhile: the pace has gone on.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """The attempts of one run. ``ended`` is called whenever a slot is free again."""

    api: Api
    defaults: Defaults
    limiter: Limiter
    writer: Writer
    run: RunState
    transaction: QueueTransaction
    reporter: Reporter
    ended: Callable[[], None]
    callback_url: Callable[[int], str | None] = lambda _: None
    _sending: set[asyncio.Task[object]] = field(default_factory=set)

    def cut_short(self) -> None:
        """Cancel every exchange that is under way; each ends in an outcome."""
        for task in tuple(self._sending):
            task.cancel()

    async def carry(self, start: Start) -> None:
        """Take one claim from its start to the writer."""
        clock, started_at = self.transaction.clock, None
        began = clock.monotonic()
        outcome: Outcome = Released("our own stop")
        if began > start.at + MISSED_SECONDS:
            outcome = Released("its start was missed")
        elif await self.limiter.begin(start.at):
            began, started_at = clock.monotonic(), clock.now()
            outcome = await self._send(start)
        self._end(start.claim, outcome, began, started_at)

    async def _send(self, start: Start) -> Outcome:
        """Send the request. A stop may cut the exchange short from here on."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        claim = start.claim
        callback_url = self.callback_url(claim.video_id)
        body = request.body(claim.video, claim.request_id, self.defaults, callback_url)
        self._sending.add(task)
        try:
            outcome = await self.api.new_job(body, lambda: self._too_late(start))
        finally:
            self._sending.discard(task)
        if isinstance(outcome, Accepted):
            return outcome
        return _without_own(outcome, claim.video, self.defaults.callback_url, callback_url)

    def _too_late(self, start: Start) -> str | None:
        """Return why this claim may not be sent any more (law 4); None if it may. Both clocks are
        read, since one of them may have stood still or jumped.
        """
        clock = self.transaction.clock
        by_wall_clock = (start.claim.lease_until - clock.now()).total_seconds()
        left = min(start.lease_ends - clock.monotonic(), by_wall_clock)
        if left >= self.transaction.settings.timeout_seconds + 5:
            return None
        return f"only {left:.0f} s of the lease were left, too few to send"

    def _end(
        self, claim: Claim, outcome: Outcome, began: float, started_at: datetime | None
    ) -> None:
        """Hand the result to the writer, without an await since the answer."""
        work, before = self.transaction, self.run.breaker
        now = work.clock.monotonic()
        self.run.breaker, outcome = observe(before, claim, outcome, began, now, work.dice())
        self.run.end(claim, outcome, now)
        pause = self._new_cool_down(before, outcome, now)
        result = Result(claim=claim, outcome=outcome, started_at=started_at, cool_down=pause)
        self.writer.settle(result)
        self.ended()
        self.reporter.ended(claim, outcome, now - began)

    def _new_cool_down(self, before: Breaker, outcome: Outcome, now: float) -> CoolDown | None:
        """Return the pause that this outcome made the breaker ask for, and log it."""
        breaker = self.run.breaker
        if breaker is before or breaker.cool_until in {before.cool_until, 0}:
            return None
        reason = breaker.stop.message if breaker.stop else outcome.message or ""
        asked = CoolDown(breaker.cool_until - now, reason)
        self.reporter.cool_down(asked)
        return asked


def _without_own(outcome: Outcome, video: Video, default: str | None, made: str | None) -> Outcome:
    """Return the outcome without the secrets of its request's links in its message: of this row, of
    the callback that all rows have by ``default``, of the one that was ``made`` for this row.
    """
    message = outcome.message or ""
    if made is not None:
        message = message.replace(made.rpartition("/")[2], "…")  # signed
    for link in filter(None, (video.url, video.transcript_url, video.callback_url, default, made)):
        message = without_secrets(message, link)
    return replace(outcome, message=message)
