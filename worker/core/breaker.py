"""Whether the run may go on: outcomes so far as one value, the next outcome in, a new value out.

It holds law 8 (a refused account stops the run, one stray refusal does not), law 13 (a crowd of
doubts is the API's trouble) and the stop on twenty equal refusals. It begins without trust: until
the first clear answer, and after every trouble, one request at a time is in flight. Knows no clock
and no dice: times are seconds of one monotonic clock, a roll is from 0 to 1.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from worker.core.model import (
    Accepted,
    AccountRefused,
    Invalid,
    Outcome,
    Refused,
    Released,
    TryLater,
    WrongAddress,
)

CROWD = 8
"""Endings in a row without a clear answer that make everybody wait (law 13)."""

EQUAL_REFUSALS = 20
"""Refusals in a row with the same message that stop a run (design.md, section 4)."""

FIRST_COOL_DOWN_SECONDS = 5.0
LONGEST_COOL_DOWN_SECONDS = 300.0


class Trouble(StrEnum):
    """Why a run was stopped, or a daemon only probes."""

    ACCOUNT = "account refused"
    ADDRESS = "wrong address"
    EQUAL_REFUSALS = "the same refusal again and again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A confirmed trouble. ``videos``: the rows that failed by it, none if nothing is charged."""

    trouble: Trouble
    message: str
    videos: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A first account refusal that another video has not yet confirmed."""

    video_id: int
    seen_at: float
    stop: Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An attempt's end as the breaker sees it. ``own``: the row's values that messages quote."""

    video_id: int
    started_at: float
    outcome: Outcome
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Everything that outcomes so far have taught."""

    trusted: bool = False
    blanks: int = 0
    cool_downs: int = 0
    cool_until: float = 0.0
    suspicion: Suspicion | None = None
    cleared: frozenset[int] = frozenset()
    equal: tuple[frozenset[str], tuple[int, ...]] = (frozenset(), ())
    stop: Stop | None = None

    def room(self, in_flight: int, slots: int) -> int:
        """How many more requests may be in flight now."""
        return (slots if self.trusted else 1) - in_flight

    @property
    def cooling(self) -> bool:
        """Whether the API's trouble made everybody wait."""
        return self.blanks >= CROWD or self.stop is not None


def observe(breaker: Breaker, ending: Ending, now: float, dice: float) -> tuple[Breaker, Outcome]:
    """The breaker after this ending, and the outcome as it is to be settled."""
    match ending.outcome:
        case Released() | Invalid():
            return breaker, ending.outcome
        case Accepted():
            return _accepted(breaker, ending), ending.outcome
        case Refused(message):
            return _refused(breaker, ending, message, now, dice), ending.outcome
        case AccountRefused() | WrongAddress():
            return _suspect(breaker, ending, ending.outcome, now, dice)
        case _:
            return _blank(breaker, ending.outcome, now, dice)


def _accepted(breaker: Breaker, ending: Ending) -> Breaker:
    """Trust again, unless this request began before the refusal that it would have to answer."""
    suspicion = breaker.suspicion
    if suspicion and ending.started_at < suspicion.seen_at:
        return replace(breaker, blanks=0, equal=(frozenset(), ()))
    if suspicion and not breaker.stop:
        return Breaker(trusted=True, cleared=breaker.cleared | {suspicion.video_id})
    return Breaker(trusted=True, cleared=breaker.cleared)


def _refused(breaker: Breaker, ending: Ending, message: str, now: float, dice: float) -> Breaker:
    """A clear answer about one video, unless it is the same for one after the other."""
    shapes = _shapes(message, ending.own)
    known, videos = breaker.equal
    shared = known & shapes
    equal = (shared, (*videos, ending.video_id)) if shared else (shapes, (ending.video_id,))
    stop = breaker.stop
    if stop and stop.trouble is Trouble.EQUAL_REFUSALS:
        stop = None
    breaker = replace(breaker, equal=equal, blanks=0, stop=stop)
    if len(equal[1]) >= EQUAL_REFUSALS:
        stop = Stop(trouble=Trouble.EQUAL_REFUSALS, message=message, videos=equal[1])
        return _cool_down(replace(breaker, stop=stop), now, dice)
    if breaker.suspicion or breaker.stop:
        return breaker
    return replace(breaker, trusted=True, cool_downs=0)


def _suspect(
    breaker: Breaker,
    ending: Ending,
    outcome: AccountRefused | WrongAddress,
    now: float,
    dice: float,
) -> tuple[Breaker, Outcome]:
    """First refusal: ask with another video. Confirmed: stop. Of a cleared video: its own."""
    if ending.video_id in breaker.cleared and not (breaker.suspicion or breaker.stop):
        return breaker, Refused(outcome.message, outcome.status)
    trouble = Trouble.ACCOUNT if isinstance(outcome, AccountRefused) else Trouble.ADDRESS
    stop = Stop(trouble=trouble, message=outcome.message)
    breaker = replace(breaker, trusted=False, blanks=breaker.blanks + 1)
    if _confirms(breaker, ending):
        breaker = replace(breaker, stop=stop, cleared=frozenset())
    elif breaker.suspicion is None:
        suspicion = Suspicion(video_id=ending.video_id, seen_at=now, stop=stop)
        breaker = replace(breaker, suspicion=suspicion)
    return _cool_down(breaker, now, dice) if breaker.cooling else breaker, outcome


def _confirms(breaker: Breaker, ending: Ending) -> bool:
    """Whether a refusal is more than a stray one: it answers a request that began after the first
    was seen, of another video that is not known for it. Where no other comes, a crowd will do.
    """
    if breaker.stop and breaker.stop.trouble is not Trouble.EQUAL_REFUSALS:
        return True
    suspicion = breaker.suspicion
    if suspicion is None or ending.started_at < suspicion.seen_at:
        return False
    another = ending.video_id not in {suspicion.video_id, *breaker.cleared}
    return another or breaker.blanks >= CROWD


def _blank(breaker: Breaker, outcome: Outcome, now: float, dice: float) -> tuple[Breaker, Outcome]:
    """One more ending without a clear answer."""
    breaker = replace(breaker, blanks=breaker.blanks + 1)
    if not breaker.cooling:
        return breaker, outcome
    if isinstance(outcome, TryLater):
        outcome = replace(outcome, spent=False)
    return _cool_down(breaker, now, dice), outcome


def _cool_down(breaker: Breaker, now: float, dice: float) -> Breaker:
    """Wait, longer each time. Endings of the same flight come while it lasts and add nothing."""
    if now < breaker.cool_until:
        return replace(breaker, trusted=False)
    doubled = FIRST_COOL_DOWN_SECONDS * 2.0 ** min(breaker.cool_downs, 16)
    seconds = min(LONGEST_COOL_DOWN_SECONDS, doubled) * (1 + dice / 4)
    return replace(
        breaker, trusted=False, cool_downs=breaker.cool_downs + 1, cool_until=now + seconds
    )


def _shapes(message: str, own: tuple[str, ...]) -> frozenset[str]:
    """A refusal without what differs from row to row: digits, and the row's own values. A value may
    stand in the message by chance, so it counts both with and without them.
    """
    without = message
    for value in sorted(filter(None, own), key=len, reverse=True):
        without = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", without)
    return frozenset(re.sub(r"\d+", "0", text) for text in (message, without))
