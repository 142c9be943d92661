"""What a run is told to do, and how it reports: values without behaviour of their own."""

from dataclasses import dataclass
from enum import StrEnum

from worker.core.breaker import Stop
from worker.core.model import Accepted, Released, State
from worker.core.request import Defaults
from worker.runner.terms import Settled


class StopReason(StrEnum):
    """Why a run was over."""

    EMPTY = "nothing is due"
    LIMIT = "the limit of requests is reached"
    TIME = "the time is over"
    STOPPED = "stopped by a signal"
    PAUSED = "paused"
    CAP = "a cap is reached"
    COOL_DOWN = "the API asked for a longer pause"
    UNREACHABLE = "no clear answer from the API"
    ACCOUNT = "the API refuses the account"
    ADDRESS = "the address is not the API's"
    EQUAL_REFUSALS = "the same refusal again and again"
    DATABASE = "the database cannot be used"
    HELD = "the database was held by somebody else"
    MOVED = "the queue has moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run is to be done; times in seconds. ``drain``: end when nothing is due; ``wait``: not
    before backoffs, cool-downs and repeatable doubts are over; ``limit``: begin so many requests.
    """

    drain: bool
    wait: bool = False
    limit: int | None = None
    max_seconds: float | None = None
    timeout_seconds: float
    grace_seconds: float
    poll_seconds: float
    retry_after_max_seconds: float
    defaults: Defaults


@dataclass(slots=True)
class Counts:
    """What this run did to its videos."""

    submitted: int = 0
    failed: int = 0
    in_doubt: int = 0
    postponed: int = 0

    def count(self, settled: Settled) -> None:
        """One settled attempt. A lost claim's job id was still written down."""
        outcome, transition = settled.ending.outcome, settled.transition
        state = transition.state if transition else None
        if state is State.SUBMITTED or (state is None and isinstance(outcome, Accepted)):
            self.submitted += 1
        elif state is State.FAILED:
            self.failed += 1
        elif state is State.IN_DOUBT:
            self.in_doubt += 1
        elif state is State.PENDING and not isinstance(outcome, Released):
            self.postponed += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How a run ended. ``hopeless``: the videos that it left in doubt for a person to settle."""

    end: StopReason
    detail: str
    counts: Counts
    stop: Stop | None
    needs_person: frozenset[int] = frozenset()
