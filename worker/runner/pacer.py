"""Everybody's pace on one connection: it follows the clock, yields to answers, is spent on starts.

Called inside a transaction of the queue. Knows no video.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker.clock import Clock, Steps
from worker.core import pace
from worker.core.model import Throttled, TryLater
from worker.runner.terms import Note
from worker.store import shared_state

UNTOLD_COOL_DOWN_SECONDS = 1.0
"""After a 429 that names no time."""

LONGEST_COOL_DOWN_SECONDS = 31_536_000.0
"""A year: what an absurd Retry-After is taken for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacer:
    """The part of one process in it. ``rate`` starts per ``period_seconds``; ``steps`` is how its
    clock was set.
    """

    rate: int
    period_seconds: float
    clock: Clock
    dice: Callable[[], float]
    steps: Steps

    def follow(self, connection: Connection, began: float, now: datetime) -> None:
        """Move pace and cool-down along with a clock that was set since they were written, for
        everybody. A step is noted only when they are seen to follow it: this may be rolled back.
        """
        step = self.steps.since(now, began)
        if step is None or abs(step) > pace.LEAD:
            known = shared_state.read(connection)
            by = pace.moved(now, known.written_at, step or timedelta(0))
            if by:
                shared_state.move(connection, known.moved(by), now)
                return
        self.steps.note(now, began)

    def is_behind(self, known: shared_state.SharedState, began: float, now: datetime) -> bool:
        """Whether the clock was set since the account was written, so that ``follow`` is due."""
        step = self.steps.since(now, began) or timedelta(0)
        return bool(pace.moved(now, known.written_at, step))

    def account_for(self, connection: Connection, note: Note, now: datetime) -> None:
        """What an ending means for everybody: a cool-down, a slower pace."""
        outcome, started_at = note.ending.outcome, note.ending.started_at
        if note.cool_down:
            until = now + timedelta(seconds=note.cool_down.seconds)
            shared_state.cool_down(connection, until, note.cool_down.reason, now)
        if isinstance(outcome, TryLater) and outcome.retry_after is not None:
            until = self._after(now, outcome.retry_after)
            shared_state.cool_down(connection, until, outcome.message, now)
        if isinstance(outcome, Throttled) and started_at is not None:
            told = outcome.retry_after
            hold = self._after(now, UNTOLD_COOL_DOWN_SECONDS if told is None else told)
            shared_state.cool_down(connection, hold, outcome.message, now)
            known, began = shared_state.read(connection).brake, min(started_at, now)
            shared_state.brake(connection, pace.cut(self.rate, known, began, hold))

    def hold(self, connection: Connection, seconds: float, reason: str) -> None:
        """Let everybody wait, because an answer to a question asked for it."""
        began, now = self.clock.monotonic(), self.clock.now()
        self.follow(connection, began, now)
        shared_state.cool_down(connection, self._after(now, seconds), reason, now)

    def _after(self, now: datetime, seconds: float) -> datetime:
        """That long from ``now`` and a little later, so that a crowd does not come back as one; an
        absurd number of seconds is a year.
        """
        return now + timedelta(
            seconds=min(seconds, LONGEST_COOL_DOWN_SECONDS) * (1 + self.dice() / 10)
        )

    def plan(self, known: shared_state.SharedState, now: datetime) -> pace.Grant | pace.Wait:
        """The starts that may be reserved at ``now``, or how long to wait."""
        gap = pace.spacing(self._rate(known, now), self.period_seconds)
        return pace.plan(now, known.next_start_at, known.cool_down_until, gap)

    def _rate(self, known: shared_state.SharedState, now: datetime) -> float:
        brake = pace.resume(known.brake, known.next_start_at, now)
        return pace.rate_in_force(self.rate, brake, now)

    def reserve_one(self, connection: Connection) -> float | datetime:
        """Spend one start on a question to the API: the monotonic second at which it may begin, or
        the moment (UTC) at which to try again.
        """
        began, now = self.clock.monotonic(), self.clock.now()
        self.follow(connection, began, now)
        known = shared_state.read(connection)
        planned = self.plan(known, now)
        if isinstance(planned, pace.Wait) and planned.repair is not None:
            shared_state.reserve(connection, planned.repair, now)
            return planned.until
        first = max(now, known.next_start_at, known.cool_down_until or now)
        if first > now + pace.LEAD:
            return first - pace.LEAD
        gap = pace.spacing(self._rate(known, now), self.period_seconds)
        shared_state.reserve(connection, first + gap, now)
        return began + (first - now).total_seconds()
