"""Fold the outcomes of a run into a circuit breaker: go on, cool down, probe or stop.

It holds law 8 (a refused account stops the run, one stray refusal does not), law 13 (a crowd of
doubts is the API's trouble) and the stop on twenty equal refusals. Until the first clear answer,
and after every trouble, it allows one request at a time. Knows no clock and no dice: times are
seconds of one monotonic clock, a roll is from 0 to 1.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from worker.core.advice import kind
from worker.core.model import (
    REQUEST_COLUMNS,
    Accepted,
    AccountRefused,
    Claim,
    Invalid,
    Outcome,
    Refused,
    Released,
    TryLater,
    WrongAddress,
)
from worker.core.reasons import Stop, StopReason

CROWD = 8
"""Outcomes in a row without a clear answer that start a cool-down (law 13)."""

EQUAL_REFUSALS = 20
"""Refusals in a row with the same message that stop a run (README.md, What an answer means)."""

FIRST_COOL_DOWN_SECONDS = 5.0
LONGEST_COOL_DOWN_SECONDS = 300.0
LONGEST_COOL_DOWN = timedelta(seconds=1.25 * LONGEST_COOL_DOWN_SECONDS)
"""With the dice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A first account refusal that another video has not yet confirmed."""

    video_id: int
    seen_at: float
    stop: Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The state after the outcomes so far.

    Attributes:
        trusted: True after a clear answer; otherwise one request at a time is allowed.
        blanks: Outcomes in a row without a clear answer.
        cool_until: End of the last cool-down (monotonic seconds).
        cleared: Videos whose account refusal was found to be their own (law 8).
        equal: What the messages of the last refusals share, and their videos.
        stop: A confirmed trouble.
    """

    trusted: bool = False
    blanks: int = 0
    cool_downs: int = 0
    cool_until: float = 0.0
    suspicion: Suspicion | None = None
    cleared: frozenset[int] = frozenset()
    equal: tuple[frozenset[str], tuple[int, ...]] = (frozenset(), ())
    stop: Stop | None = None

    def free_slots(self, in_flight: int, slots: int) -> int:
        """Return how many more requests may be in flight."""
        return (slots if self.trusted else 1) - in_flight

    @property
    def suspected(self) -> Stop | None:
        """Return the end of a drain that has no other video to confirm a suspicion with."""
        return self.suspicion.stop if self.suspicion else None

    @property
    def untroubled(self) -> bool:
        """Return True if a clear yes changes nothing."""
        known = self.suspicion or self.stop or self.cool_until or self.cool_downs or self.equal[1]
        return self.trusted and not (self.blanks or known)

    @property
    def cooling(self) -> bool:
        """Return True while the API is in trouble."""
        return self.blanks >= CROWD or self.stop is not None


def observe(
    breaker: Breaker, claim: Claim, outcome: Outcome, began: float, now: float, dice: float
) -> tuple[Breaker, Outcome]:
    """Return the breaker after this outcome, and the outcome as it is to be settled. ``began``:
    the second at which the request began.
    """
    # 1. A clear yes, and nothing to forget. 2. No request was made. 3. A clear yes. 4. A clear no
    # about this video. 5. The account or the address was refused. 6. No clear answer.
    match outcome:
        case Accepted() if breaker.untroubled:
            return breaker, outcome
        case Released() | Invalid():
            return breaker, outcome
        case Accepted():
            return _accepted(breaker, began), outcome
        case Refused(message):
            return _refused(breaker, claim, message, now, dice), outcome
        case AccountRefused() | WrongAddress():
            return _suspect(breaker, claim.video_id, outcome, began, now, dice)
        case _:
            return _blank(breaker, outcome, now, dice)


def _accepted(breaker: Breaker, began: float) -> Breaker:
    """Trust again, unless this request began before the refusal that it would have to answer."""
    suspicion = breaker.suspicion
    if suspicion and began < suspicion.seen_at:
        return replace(breaker, blanks=0, equal=(frozenset(), ()))
    if suspicion and not breaker.stop:
        return Breaker(trusted=True, cleared=breaker.cleared | {suspicion.video_id})
    return Breaker(trusted=True, cleared=breaker.cleared)


def _refused(breaker: Breaker, claim: Claim, message: str, now: float, dice: float) -> Breaker:
    """Count a clear answer about one video, unless many videos in a row get the same one."""
    kinds = _kinds(message, claim)
    known, videos = breaker.equal
    shared = known & kinds
    equal = (shared, (*videos, claim.video_id)) if shared else (kinds, (claim.video_id,))
    stop = breaker.stop
    if stop and stop.reason is StopReason.EQUAL_REFUSALS:
        stop = None
    breaker = replace(breaker, equal=equal, blanks=0, stop=stop)
    if len(equal[1]) >= EQUAL_REFUSALS:
        stop = Stop(reason=StopReason.EQUAL_REFUSALS, message=message, videos=equal[1])
        return _cool_down(replace(breaker, stop=stop), now, dice)
    if breaker.suspicion or breaker.stop:
        return breaker
    return replace(breaker, trusted=True, cool_downs=0)


def _suspect(
    breaker: Breaker,
    video_id: int,
    outcome: AccountRefused | WrongAddress,
    began: float,
    now: float,
    dice: float,
) -> tuple[Breaker, Outcome]:
    """Suspect the account at a first refusal, and stop at the next one that confirms it."""
    if video_id in breaker.cleared and not (breaker.suspicion or breaker.stop):
        return breaker, Refused(outcome.message, outcome.status)
    reason = StopReason.ACCOUNT if isinstance(outcome, AccountRefused) else StopReason.ADDRESS
    stop = Stop(reason=reason, message=outcome.message)
    breaker = replace(breaker, trusted=False, blanks=breaker.blanks + 1)
    if _confirms(breaker, video_id, began):
        breaker = replace(breaker, stop=stop, cleared=frozenset())
    elif breaker.suspicion is None:
        suspicion = Suspicion(video_id=video_id, seen_at=now, stop=stop)
        breaker = replace(breaker, suspicion=suspicion)
    return _cool_down(breaker, now, dice) if breaker.cooling else breaker, outcome


def _confirms(breaker: Breaker, video_id: int, began: float) -> bool:
    """Return True if this refusal confirms the suspicion: it answers a request that began after
    the first was seen, of another video that is not known for it. A crowd confirms it as well.
    """
    if breaker.stop and breaker.stop.reason is not StopReason.EQUAL_REFUSALS:
        return True
    suspicion = breaker.suspicion
    if suspicion is None or began < suspicion.seen_at:
        return False
    another = video_id not in {suspicion.video_id, *breaker.cleared}
    return another or breaker.blanks >= CROWD


def _blank(breaker: Breaker, outcome: Outcome, now: float, dice: float) -> tuple[Breaker, Outcome]:
    breaker = replace(breaker, blanks=breaker.blanks + 1)
    if not breaker.cooling:
        return breaker, outcome
    if isinstance(outcome, TryLater):
        outcome = replace(outcome, spent=False)
    return _cool_down(breaker, now, dice), outcome


def _cool_down(breaker: Breaker, now: float, dice: float) -> Breaker:
    """Wait, longer each time. Outcomes that come while a cool-down lasts add nothing."""
    if now < breaker.cool_until:
        return replace(breaker, trusted=False)
    doubled = FIRST_COOL_DOWN_SECONDS * 2.0 ** min(breaker.cool_downs, 16)
    seconds = min(LONGEST_COOL_DOWN_SECONDS, doubled) * (1 + dice / 4)
    return replace(
        breaker, trusted=False, cool_downs=breaker.cool_downs + 1, cool_until=now + seconds
    )


def _kinds(message: str, claim: Claim) -> frozenset[str]:
    """Return the kind of a refusal. A value of the row may stand in the message by chance, so it
    counts both with and without them.
    """
    own = (claim.request_id, *(getattr(claim.video, column) for column in REQUEST_COLUMNS))
    return frozenset({kind(message), kind(message, own)})
