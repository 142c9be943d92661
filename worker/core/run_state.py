"""Keep what one run knows of itself: its breaker, its counts, its doubts, what is in flight.

Knows no task, no table and no clock: times are seconds of one monotonic clock.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from worker.core.breaker import Breaker
from worker.core.evidence import Resolvable
from worker.core.model import (
    Accepted,
    Claim,
    Outcome,
    Refused,
    Released,
    Settlement,
    State,
    Throttled,
)
from worker.core.reasons import Stop, WaitReason


@dataclass(slots=True)
class Counts:
    """The videos of one run by what became of them."""

    submitted: int = 0
    failed: int = 0
    in_doubt: int = 0
    postponed: int = 0

    @property
    def ended(self) -> int:
        """Return how many the run has done with."""
        return self.submitted + self.failed + self.in_doubt


@dataclass(slots=True, kw_only=True)
class RunState:
    """The facts that decide how a run goes on.

    Attributes:
        last_clear_at: Time of the last clear answer, at first ``began_at``.
        last_unclear: Message of the last other outcome.
        last: The last request that ended.
        spent: Requests begun or about to.
        reads_list: True from a question for the API's list until its answer is written.
        reconciles: True where the API's list settles doubts.
        resolvable: What may still settle a doubt, as the last list has shown.
        stalled: A wait without an end of its own, and since when it lasts.
        uploading: Local files that are being uploaded.
        upload_trouble: The trouble that holds all uploads, and since when.
        database_lost_at: Time since which the database cannot be used.
        database_problem: Why it cannot be written.
    """

    began_at: float
    reconciles: bool = False
    breaker: Breaker = field(default_factory=Breaker)
    last_clear_at: float = field(init=False)
    last_unclear: str = ""
    last: tuple[Claim, Outcome] | None = None
    spent: int = 0
    in_flight: int = 0
    reads_list: bool = False
    counts: Counts = field(default_factory=Counts)
    doubts: set[int] = field(default_factory=set)
    resolvable: dict[int, Resolvable] = field(default_factory=dict)
    stalled: tuple[WaitReason, float] | None = None
    uploading: int = 0
    upload_trouble: tuple[Stop, float] | None = None
    database_lost_at: float | None = None
    database_problem: str | None = None

    def __post_init__(self) -> None:
        self.last_clear_at = self.began_at

    def begin(self) -> None:
        """Count a claim that is about to be sent."""
        self.in_flight += 1
        self.spent += 1

    def end(self, claim: Claim, outcome: Outcome, now: float) -> None:
        """Count the end of an attempt. One that sent nothing for our own reasons is not spent."""
        self.in_flight -= 1
        if isinstance(outcome, Accepted | Refused):
            self.last_clear_at = now
        else:
            self.last_unclear = outcome.message
        if isinstance(outcome, Released):
            self.spent -= 1
        else:
            self.last = claim, outcome

    def settle(self, settlement: Settlement) -> None:
        """Count a settled attempt. The job id of a lost claim was written as well."""
        video_id, outcome = settlement.result.claim.video_id, settlement.result.outcome
        state = settlement.written and settlement.written.state
        if settlement.status.late:
            self.close_doubt(video_id)
        if state is not None:
            self.doubts.discard(video_id)
        if state is State.SUBMITTED or (state is None and isinstance(outcome, Accepted)):
            self.counts.submitted += 1
        elif state is State.FAILED:
            self.counts.failed += 1
        elif state is State.IN_DOUBT:
            self.open_doubt(video_id)
        elif state is State.PENDING and not isinstance(outcome, Released):
            self.counts.postponed += 1

    def open_doubt(self, video_id: int) -> None:
        """Count a video that came into doubt without an attempt of this run."""
        self.doubts.add(video_id)
        self.counts.in_doubt += 1

    def close_doubt(self, video_id: int) -> None:
        """Take a settled doubt out of the counts, if it is this run's."""
        if video_id in self.doubts:
            self.doubts.discard(video_id)
            self.counts.in_doubt -= 1

    def learn(self, resolvable: dict[int, Resolvable], left: AbstractSet[int]) -> None:
        """Take over what a list has shown of doubts, of which ``left`` are in doubt still."""
        self.resolvable = {v: r for v, r in (self.resolvable | resolvable).items() if v in left}
        self.doubts &= left

    def note_wait(self, reason: WaitReason | None, now: float) -> None:
        """Note since when the run waits for ``reason``; None for a wait that ends by itself."""
        if reason is None:
            self.stalled = None
        elif self.stalled is None or self.stalled[0] is not reason:
            self.stalled = reason, now

    def note_uploads(self, trouble: Stop | None, now: float) -> None:
        """Note the trouble that holds all uploads; None once it is over."""
        since = now if self.upload_trouble is None else self.upload_trouble[1]
        self.upload_trouble = None if trouble is None else (trouble, since)

    @property
    def busy(self) -> bool:
        """Return True while an answer is awaited, to a video or to a question for the list."""
        return self.in_flight > 0 or self.reads_list

    @property
    def silence(self) -> str | None:
        """Return why no clear answer comes; None if one came, or the API refuses all or slows, or
        the database keeps the run from asking.
        """
        first = self.in_flight and self.last_clear_at == self.began_at
        why = self.last_unclear if self.breaker.blanks else "no answer yet" if first else None
        slowed = self.last is not None and isinstance(self.last[1], Throttled)
        known = self.breaker.stop or self.breaker.suspicion or self.database_problem
        return None if known or slowed else why

    @property
    def awaits_own_doubts(self) -> bool:
        """Return True if time alone may settle a doubt of this run."""
        return self.reconciles and any(
            self.resolvable.get(video, Resolvable.TIME) is Resolvable.TIME for video in self.doubts
        )
