"""One claim, one POST: an attempt waits for its start, is sent, judged and settled.

Knows nothing of when to claim, and asks no table.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from worker.api.client import Api
from worker.core import request
from worker.core.breaker import Breaker, Ending, observe
from worker.core.model import REQUEST_COLUMNS, Accepted, Claim, Outcome, Refused, Released
from worker.runner.limiter import Limiter
from worker.runner.orders import RunOptions
from worker.runner.reporter import Reporter
from worker.runner.terms import CoolDown, Start
from worker.runner.transaction import QueueTransaction
from worker.runner.writer import Writer
from worker.store import settle

MISSED_SECONDS = 5.0
"""A start that is so long past, because the process or its database stood still, was somebody
else's meanwhile: the pace has gone on.
"""


class Attempts:
    """The attempts of one run, and what they have taught the breaker.

    ``spent`` counts requests begun or about to; ``clear_at`` is the monotonic second of the last
    clear answer, ``last_unclear`` what came instead of one. ``ended`` is called whenever a slot is
    free again.
    """

    def __init__(
        self,
        *,
        api: Api,
        limiter: Limiter,
        writer: Writer,
        options: RunOptions,
        transaction: QueueTransaction,
        reporter: Reporter,
        ended: Callable[[], None],
    ) -> None:
        self._api = api
        self._limiter = limiter
        self._writer = writer
        self._options = options
        self._clock = transaction.clock
        self._dice = transaction.dice
        self._reporter = reporter
        self._ended = ended
        self._sending: set[asyncio.Task[object]] = set()
        self.breaker = Breaker()
        self.spent = 0
        self.clear_at = self._clock.monotonic()
        self.last_unclear = ""

    def cut_short(self) -> None:
        """End every exchange that is under way, in whatever it has come to."""
        for task in tuple(self._sending):
            task.cancel()

    def take(self) -> None:
        """Count a claim that ``carry`` is about to get."""
        self._limiter.take(1)
        self.spent += 1

    async def carry(self, start: Start) -> None:
        """From the claim to the ledger."""
        began = self._clock.monotonic()
        outcome: Outcome = Released("our own stop")
        started_at = None
        if self._clock.monotonic() > start.at + MISSED_SECONDS:
            outcome = Released("its start was missed")
        elif await self._limiter.begin(start.at):
            began, started_at = self._clock.monotonic(), self._clock.now()
            outcome = await self._send(start)
        self._end(start.claim, outcome, began, started_at)

    async def _send(self, start: Start) -> Outcome:
        """The exchange, which a stop may cut short from here on."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        body = request.body(start.claim.video, start.claim.request_id, self._options.defaults)
        self._sending.add(task)
        try:
            return await self._api.new_job(body, lambda: self._too_late(start))
        finally:
            self._sending.discard(task)

    def _too_late(self, start: Start) -> str | None:
        """Why this claim may not be sent any more (law 4), by both clocks: one of them may have
        stood still or jumped.
        """
        left = min(
            start.lease_ends - self._clock.monotonic(),
            (start.claim.lease_until - self._clock.now()).total_seconds(),
        )
        if left >= self._options.timeout_seconds + 5:
            return None
        return f"only {left:.0f} s of the lease were left, too few to send"

    def _end(
        self, claim: Claim, outcome: Outcome, began: float, started_at: datetime | None
    ) -> None:
        """From the answer to the ledger's queue, without an await."""
        now = self._clock.monotonic()
        before = self.breaker
        own = _own_values(claim) if isinstance(outcome, Refused) else ()
        seen = Ending(video_id=claim.video_id, started_at=began, outcome=outcome, own=own)
        self.breaker, outcome = observe(before, seen, now, self._dice())
        if isinstance(outcome, Accepted | Refused):
            self.clear_at = now
        else:
            self.last_unclear = outcome.message
        if isinstance(outcome, Released):
            self.spent -= 1
        ending = settle.Ending(claim=claim, outcome=outcome, started_at=started_at)
        self._writer.settle(ending, self._new_cool_down(before, outcome, now))
        self._limiter.give_back()
        self._ended()
        self._reporter.ended(claim, outcome, now - began)

    def _new_cool_down(self, before: Breaker, outcome: Outcome, now: float) -> CoolDown | None:
        """The pause that this ending made the breaker ask for, for everybody."""
        breaker = self.breaker
        if breaker.cool_until in {before.cool_until, 0}:
            return None
        reason = breaker.stop.message if breaker.stop else outcome.message or ""
        asked = CoolDown(breaker.cool_until - now, reason)
        self._reporter.cool_down(asked)
        return asked


def _own_values(claim: Claim) -> tuple[str, ...]:
    """What a refusal of this row may quote."""
    values = (getattr(claim.video, column) for column in REQUEST_COLUMNS)
    return (*(value for value in values if isinstance(value, str)), claim.request_id)
