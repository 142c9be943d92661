"""What a ledger's transactions take and give, as values. Nothing is done here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from worker.core.decide import Policy
from worker.core.model import Cap, Claim, Expired, Transition
from worker.store import settle

FAR_FUTURE = datetime.max.replace(tzinfo=UTC)
"""Later than any moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the settings say to a ledger; times in seconds. ``absent_after``: the age from which a
    doubt may be proven absent by the API's list, None if the list is not asked for.
    """

    worker: str
    rate: int
    period_seconds: float
    timeout_seconds: float
    url_margin_seconds: float
    policy: Policy
    repeat_doubts_after: float | None = None
    absent_after: float | None = None
    caps: tuple[Cap, ...] = ()

    @property
    def lease(self) -> timedelta:
        """How long a claim may go unsettled (law 4)."""
        return timedelta(seconds=2 * self.timeout_seconds + 60)


class WaitReason(StrEnum):
    """What there is to wait for."""

    PACE = "the pace"
    COOL_DOWN = "a cool-down"
    PAUSE = "a pause"
    CAP = "a cap"
    LATER = "videos that are due later"
    OTHERS = "claims that are not settled yet"
    HELD = "rows that another program holds"
    DOUBTS = "doubts that may be repeated later"
    LIST = "the API's list of jobs"
    NOTHING = "new videos"
    MOVED = "nothing here: the queue has moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A claim and the monotonic seconds at which its request may begin and its lease ends."""

    claim: Claim
    at: float
    lease_ends: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """What one look or one transaction brought. ``starts`` are claimed; ``until`` (UTC) is the next
    moment at which there can be more, None where only somebody else can bring it. ``submitting``:
    how many claims of anybody a cap holds room for.
    """

    why: WaitReason
    until: datetime | None = None
    detail: str = ""
    submitting: int = 0
    starts: Sequence[Start] = ()


@dataclass(frozen=True, slots=True)
class CoolDown:
    """Everybody's pause, asked for by an ending: seconds from now."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """An ending to write, with the pause that the breaker asks for."""

    ending: settle.Ending
    cool_down: CoolDown | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """An ending as it was written. ``transition`` is None where its claim was lost."""

    ending: settle.Ending
    transition: Transition | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a transaction did, told to nobody before it is on disk: the endings in their order, the
    rows that were closed without a request, the leases that ran out, the claims.
    """

    settled: Sequence[Settled]
    closed: Sequence[Settled]
    expired: Sequence[Expired]
    turn: ClaimResult
