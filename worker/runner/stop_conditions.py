"""Whether a run is over, and why: by its orders, by a trouble, or because nothing is left to do.

Decides from what the parts of the run know, without an await; ends nothing itself.
"""

from typing import assert_never

from worker.clock import Clock
from worker.core.breaker import Stop, Trouble
from worker.core.evidence import Resolvable
from worker.db.database import DatabaseProblem, Unreachable
from worker.runner.attempts import Attempts
from worker.runner.limiter import Limiter
from worker.runner.orders import RunOptions, StopReason
from worker.runner.reconciler import Reconciler
from worker.runner.reporter import Reporter
from worker.runner.terms import ClaimResult, WaitReason

PATIENCE_SECONDS = 60.0
"""How long a drain sits out a database that is gone, and one that does not wait an API that gives
no clear answer.
"""

_END_OF_TROUBLE = {
    Trouble.ACCOUNT: StopReason.ACCOUNT,
    Trouble.ADDRESS: StopReason.ADDRESS,
    Trouble.EQUAL_REFUSALS: StopReason.EQUAL_REFUSALS,
}


class Closing:
    """The end of one run. ``stop`` is the trouble that ended it, if one did."""

    def __init__(
        self,
        *,
        options: RunOptions,
        clock: Clock,
        limiter: Limiter,
        attempts: Attempts,
        reconciler: Reconciler | None,
        reporter: Reporter,
    ) -> None:
        self._options = options
        self._clock = clock
        self._limiter = limiter
        self._attempts = attempts
        self._reconciler = reconciler
        self._reporter = reporter
        self._began = clock.monotonic()
        self._list_awaited: float | None = None
        self._rows_awaited: float | None = None
        self._lost_at: float | None = None
        self.stop: Stop | None = None

    @property
    def deadline(self) -> float:
        """The monotonic second at which the time of these orders is over."""
        seconds = self._options.max_seconds
        return float("inf") if seconds is None else self._began + seconds

    @property
    def _longest(self) -> float:
        """For how many seconds these orders sit out what may pass by itself."""
        return self._options.retry_after_max_seconds if self._options.wait else PATIENCE_SECONDS

    def over(self) -> tuple[StopReason, str] | None:
        """Why nothing more may be claimed, whatever the table holds."""
        stop, now = self._attempts.breaker.stop, self._clock.monotonic()
        if self._at_limit() and not self._limiter.taken:
            return StopReason.LIMIT, ""
        if now >= self.deadline:
            return StopReason.TIME, ""
        if self._options.drain and stop is not None:
            self.stop = stop
            return _END_OF_TROUBLE[stop.trouble], stop.message
        if self._gives_up_on_api(max(now, self._attempts.breaker.cool_until)):
            return StopReason.UNREACHABLE, self._attempts.last_unclear
        return None

    def _at_limit(self) -> bool:
        """Whether all requests are begun or about to; one that is not sent makes room again."""
        return self._options.limit is not None and self._attempts.spent >= self._options.limit

    def _gives_up_on_api(self, until: float) -> bool:
        """Whether a drain that does not wait has no reason to sit out a trouble that lasts until
        that monotonic second.
        """
        gives_up = self._options.drain and not self._options.wait
        troubled = self._attempts.breaker.blanks > 0 and not self._attempts.breaker.trusted
        return gives_up and troubled and until > self._attempts.clear_at + PATIENCE_SECONDS

    def found(self) -> None:
        """The database works."""
        self._lost_at = None

    def lost(self, problem: DatabaseProblem) -> tuple[StopReason, str] | None:
        """Whether a claim that failed ends the run: a daemon waits for its database, and a drain
        sits out for a while what may pass by itself.
        """
        now = self._clock.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        passing = isinstance(problem, Unreachable) and now < self._lost_at + PATIENCE_SECONDS
        return (StopReason.DATABASE, str(problem)) if self._options.drain and not passing else None

    def ended(self, turn: ClaimResult) -> tuple[StopReason, str] | None:
        """Whether a turn that brought no start is the end of a drain. An answer that is on its way
        is waited for, be it to a video or to a question for the list. A queue that has moved ends
        a daemon as well.
        """
        if turn.why is not WaitReason.LIST:
            self._list_awaited = None
        if turn.why is not WaitReason.HELD:
            self._rows_awaited = None
        asking = self._reconciler is not None and self._reconciler.asking
        goes_on = not self._options.drain or self._limiter.taken or asking
        if goes_on and turn.why is not WaitReason.MOVED:
            return None
        end = self._end_of(turn)
        if end is None:
            return None
        return end, turn.detail or (self.stop.message if self.stop else "")

    def _end_of(self, turn: ClaimResult) -> StopReason | None:
        match turn.why:
            case WaitReason.PACE:
                return None
            case WaitReason.PAUSE:
                return StopReason.PAUSED
            case WaitReason.MOVED:
                return StopReason.MOVED
            case WaitReason.NOTHING:
                return self._emptied()
            case WaitReason.COOL_DOWN:
                return self._ended_by_cool_down(turn)
            case WaitReason.CAP:
                return self._ended_by_cap(turn)
            case WaitReason.LIST:
                return None if self._awaits_list(turn) else self._emptied()
            case WaitReason.HELD:
                return None if self._awaits_rows() else self._emptied()
            case WaitReason.LATER | WaitReason.OTHERS | WaitReason.DOUBTS:
                return None if self._options.wait else self._emptied()
            case _:
                assert_never(turn.why)

    def _emptied(self) -> StopReason:
        """Nothing is left to ask with: a refusal that no other video could confirm counts."""
        suspicion = self._attempts.breaker.suspicion
        if suspicion is None:
            return StopReason.EMPTY
        self.stop = suspicion.stop
        return _END_OF_TROUBLE[suspicion.stop.trouble]

    def _awaits_list(self, turn: ClaimResult) -> bool:
        """Whether the API's list is being asked for, or is worth waiting for: to a drain that
        waits, while time alone may settle a doubt that it made.
        """
        if turn.until is None or turn.until > self._clock.now():
            self._list_awaited = None
            return self._options.wait and self._own_doubts_may_settle()
        if self._list_awaited is None:
            self._list_awaited = self._clock.monotonic()
        return self._clock.monotonic() < self._list_awaited + self._longest

    def _awaits_rows(self) -> bool:
        """Whether rows that are due, and that another program holds, are waited for still."""
        if self._rows_awaited is None:
            self._rows_awaited = self._clock.monotonic()
        return self._clock.monotonic() < self._rows_awaited + self._longest

    def _own_doubts_may_settle(self) -> bool:
        reconciler = self._reconciler
        return reconciler is not None and any(
            reconciler.hope(video) is Resolvable.TIME for video in self._reporter.doubts
        )

    def _ended_by_cool_down(self, turn: ClaimResult) -> StopReason | None:
        """A pause is sat out where it is short enough for these orders."""
        until = self._clock.until(turn.until) if turn.until else self._clock.monotonic()
        longest = self._clock.monotonic() + self._options.retry_after_max_seconds
        patience = longest if self._options.wait else self._attempts.clear_at + PATIENCE_SECONDS
        return StopReason.COOL_DOWN if until > min(longest, patience) else None

    def _ended_by_cap(self, turn: ClaimResult) -> StopReason | None:
        """What anybody has claimed may make room again, and is waited for; then a cap that opens
        by time is sat out as a pause is.
        """
        if turn.submitting:
            return None
        opens_soon = turn.until is not None and self._ended_by_cool_down(turn) is None
        return None if opens_soon else StopReason.CAP

    def trouble(self) -> Stop | None:
        """What ended the run, with the videos that failed by it while the rest came in."""
        known, last = self.stop, self._attempts.breaker.stop
        return last if known and last and last.trouble is known.trouble else known

    def needs_person(self) -> frozenset[int]:
        """The doubts of this run that only a person can settle."""
        reconciler = self._reconciler
        return frozenset(
            video
            for video in self._reporter.doubts
            if reconciler is None or reconciler.hope(video) is Resolvable.NONE
        )
