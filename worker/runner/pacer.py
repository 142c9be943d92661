"""Read and write the pace that all processes share: it follows the clock and yields to answers.

Called inside a transaction of the queue. Knows no video.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker.clock import Clock, Steps
from worker.core import pace
from worker.core.classify import UNTOLD_SECONDS
from worker.core.model import Accepted, Refused, Result, Throttled, TryLater
from worker.settings import Settings
from worker.store import jobs, shared_state

UNREADABLE_COOL_DOWN = timedelta(seconds=30)
"""In place of one whose end plain SQL has made unreadable. Then one answer shows what holds."""

LONGEST_QUESTION_SPACING = timedelta(seconds=30)

LONGEST_COOL_DOWN_SECONDS = 31_536_000.0
"""A year: what an absurd Retry-After is taken for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacer:
    """The part of one process in the shared pace.

    Attributes:
        steps: Changes of its wall clock.
        probe_after: Age at which it probes a cool-down by one request; None for never.
        probes: The time of the probe whose answer is awaited, as its claim was written.
    """

    settings: Settings
    clock: Clock
    dice: Callable[[], float]
    steps: Steps = field(default_factory=Steps)
    probe_after: timedelta | None = None
    probes: set[datetime] = field(default_factory=set)

    def follow(self, connection: Connection, began: float, now: datetime) -> None:
        """Move pace and cool-down along with a clock that was set since they were written, once for
        each step.
        """
        step = self.steps.since(now, began)
        if step is None or abs(step) > pace.LEAD:
            known = self.read(connection, now)
            self.steps.see(known.written_at)
            by = pace.moved(now, known.written_at, self.steps.since(now, began) or timedelta(0))
            if by:
                shared_state.move(connection, known.moved(by), now)
                self.steps.follow(now, began)
                return
        self.steps.note(now, began)

    def is_behind(self, known: shared_state.SharedState, began: float, now: datetime) -> bool:
        """Return True if the shared state is to be written: the clock was set since, or a moment
        of it is unreadable.
        """
        step = self.steps.since(now, began) or timedelta(0)
        return bool(known.unreadable or pace.moved(now, known.written_at, step))

    def read(self, connection: Connection, now: datetime) -> shared_state.SharedState:
        """Return the shared state. Replace unreadable moments so that no start comes too soon."""
        known = shared_state.read(connection)
        if known.unreadable:
            if "cool_down_until" in known.unreadable:
                known = replace(known, cool_down_until=now + UNREADABLE_COOL_DOWN)
            known = replace(known, brake=known.brake and replace(known.brake, cut_at=now))
            known = replace(known, next_start_at=now + self._gap(known, now), written_at=now)
            shared_state.move(connection, known, now)
        return known

    def account_for(self, connection: Connection, result: Result, now: datetime) -> None:
        """Write the cool-down and the slower pace that a result asks for."""
        outcome, started_at = result.outcome, result.started_at
        probed = self.probes and started_at and any(started_at >= each for each in self.probes)
        if probed and isinstance(outcome, Accepted | Refused | Throttled | TryLater):
            shared_state.end_cool_down(connection, now)  # what it says now is in force
        if result.cool_down:
            until = now + timedelta(seconds=result.cool_down.seconds)
            shared_state.cool_down(connection, until, result.cool_down.reason, now)
        if isinstance(outcome, TryLater) and outcome.retry_after is not None:
            until = self._after(now, outcome.retry_after)
            shared_state.cool_down(connection, until, outcome.message, now)
        if isinstance(outcome, Throttled) and started_at is not None:
            told = outcome.retry_after
            hold = self._after(now, UNTOLD_SECONDS if told is None else told)
            shared_state.cool_down(connection, hold, outcome.message, now)
            known, began = shared_state.read(connection).brake, min(started_at, now)
            shared_state.brake(connection, pace.cut(self.settings.rate, known, began, hold))

    def hold(self, connection: Connection, seconds: float, reason: str) -> None:
        """Write a cool-down that the answer to a question asked for."""
        began, now = self.clock.monotonic(), self.clock.now()
        self.follow(connection, began, now)
        shared_state.cool_down(connection, self._after(now, seconds), reason, now)

    def _after(self, now: datetime, seconds: float) -> datetime:
        """Return so long after ``now``, with jitter, so that a crowd does not come back as one."""
        seconds = min(seconds, LONGEST_COOL_DOWN_SECONDS) * (1 + self.dice() / 10)
        return now + timedelta(seconds=seconds)

    def plan(self, known: shared_state.SharedState, now: datetime) -> pace.Grant | pace.Wait:
        """Return the starts that may be reserved at ``now``, or how long to wait: a long cool-down
        allows one start each time that it is so old, until an answer ends it.
        """
        until, gap = known.cool_down_until, self._gap(known, now)
        if until is None or until <= now or self.probe_after is None:
            return pace.plan(now, known.next_start_at, until, gap)
        probe_at = min(until, (known.written_at or now) + self.probe_after)
        planned = pace.plan(now, known.next_start_at, probe_at, gap)
        return replace(planned, room=1) if isinstance(planned, pace.Grant) else planned

    def _gap(self, known: shared_state.SharedState, now: datetime) -> timedelta:
        brake = pace.resume(known.brake, known.next_start_at, now)
        rate = pace.rate_in_force(self.settings.rate, brake, now)
        return pace.spacing(rate, self.settings.period_seconds)

    def question(self, connection: Connection) -> timedelta | datetime:
        """Return the least time from a question about jobs to the next, that of five starts but at
        most half a minute; or when to look again (UTC), if none may be asked now.
        """
        began, now = self.clock.monotonic(), self.clock.now()
        self.follow(connection, began, now)
        known, later = self.read(connection, now), now + LONGEST_QUESTION_SPACING
        free_at = max(known.cool_down_until or now, jobs.asking(connection).next_question_at or now)
        if known.moved_to is not None:
            return later
        if known.cooling(now) or now < free_at <= later:  # beyond it, the clock was set
            return min(later, free_at)
        return min(LONGEST_QUESTION_SPACING, 5 * self._gap(known, now))

    def reserve_one(self, connection: Connection) -> float | datetime:
        """Spend one start on a question to the API. Return the monotonic second at which it may
        begin, or the moment (UTC) at which to try again.
        """
        began, now = self.clock.monotonic(), self.clock.now()
        self.follow(connection, began, now)
        known = self.read(connection, now)
        planned = self.plan(known, now)
        if isinstance(planned, pace.Wait) and planned.repair is not None:
            shared_state.reserve(connection, planned.repair, now)
            return planned.until
        first = max(now, known.next_start_at, known.cool_down_until or now)
        if first > now + pace.LEAD:
            return first - pace.LEAD
        shared_state.reserve(connection, first + self._gap(known, now), now)
        return began + (first - now).total_seconds()
