"""What one transaction of the queue does: settle, cool down, expire, claim. No task, no note.

It joins the store's verbs and the core's decisions on one connection; when it runs, and what waits
for it, is the ledger's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection

from worker.clock import Clock
from worker.core import pace
from worker.core.decide import Policy, decide
from worker.core.model import Claim, Invalid, Throttled, Transition, TryLater
from worker.core.request import problem
from worker.store import account, queue, settle

INVALID_AT_ONCE = 500
"""Unsendable rows that one transaction closes before it lets others have the lock."""

UNTOLD_COOL_DOWN_SECONDS = 1.0
"""After a 429 that names no time."""

LONGEST_COOL_DOWN_SECONDS = 31_536_000.0
"""A year: what an absurd Retry-After is taken for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the settings say to a ledger; times in seconds."""

    worker: str
    rate: int
    period_seconds: float
    timeout_seconds: float
    url_margin_seconds: float
    policy: Policy
    repeat_doubts_after: float | None = None

    @property
    def lease(self) -> timedelta:
        """How long a claim may go unsettled (law 4)."""
        return timedelta(seconds=2 * self.timeout_seconds + 60)


class Why(StrEnum):
    """What there is to wait for."""

    PACE = "the pace"
    COOL_DOWN = "a cool-down"
    PAUSE = "a pause"
    LATER = "videos that are due later"
    OTHERS = "claims that are not settled yet"
    DOUBTS = "doubts that may be repeated later"
    NOTHING = "new videos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A claim and the monotonic seconds at which its request may begin and its lease ends."""

    claim: Claim
    at: float
    lease_ends: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one look or one transaction brought. ``starts`` are claimed; ``until`` (UTC) is the next
    moment at which there can be more, None where only somebody else can bring it.
    """

    why: Why
    until: datetime | None = None
    detail: str = ""
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
class Done:
    """What a transaction did, told to nobody before it is on disk: the endings in their order, the
    rows that were closed without a request, the leases that ran out, the claims.
    """

    settled: Sequence[Settled]
    closed: Sequence[Settled]
    expired: Sequence[queue.Expired]
    turn: Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """The work of one process on a connection that is inside a transaction."""

    terms: Terms
    clock: Clock
    dice: Callable[[], float]

    def write(self, connection: Connection, notes: Sequence[Note], room: int) -> Done:
        """Settle ``notes``, then claim as many starts as the pace allows, at most ``room``."""
        began, now = self.clock.monotonic(), self.clock.now()
        settled = self._settle(connection, [note.ending for note in notes], now)
        for note in notes:
            self._account_for(connection, note, now)
        expired = queue.expire(connection, now, self.terms.worker)
        closed: list[Settled] = []
        turn = Turn(why=Why.PACE, until=now)
        if room > 0:
            self._repeat_doubts(connection, now)
            turn = self._grant(connection, room, (began, now), closed)
        return Done(settled=settled, closed=closed, expired=expired, turn=turn)

    def _settle(
        self, connection: Connection, endings: Sequence[settle.Ending], now: datetime
    ) -> list[Settled]:
        if not endings:
            return []
        settlements = [
            settle.Settlement(
                ending=ending,
                standing=standing,
                transition=decide(
                    ending.claim,
                    ending.outcome,
                    standing.around,
                    now,
                    self.dice(),
                    self.terms.policy,
                ),
            )
            for ending, standing in zip(endings, settle.standings(connection, endings), strict=True)
        ]
        settle.settle(connection, settlements, now, self.terms.worker)
        return [
            Settled(
                ending=s.ending,
                transition=s.transition if s.standing.own or s.standing.late else None,
            )
            for s in settlements
        ]

    def _account_for(self, connection: Connection, note: Note, now: datetime) -> None:
        """What an ending means for everybody: a cool-down, a slower pace."""
        outcome, started_at = note.ending.outcome, note.ending.started_at
        if note.cool_down:
            until = now + timedelta(seconds=note.cool_down.seconds)
            account.cool_down(connection, until, note.cool_down.reason)
        if isinstance(outcome, TryLater) and outcome.retry_after is not None:
            account.cool_down(connection, self._after(now, outcome.retry_after), outcome.message)
        if isinstance(outcome, Throttled) and started_at is not None:
            told = outcome.retry_after
            hold = self._after(now, UNTOLD_COOL_DOWN_SECONDS if told is None else told)
            account.cool_down(connection, hold, outcome.message)
            known = account.read(connection).brake
            account.brake(connection, pace.cut(self.terms.rate, known, started_at, hold))

    def _after(self, now: datetime, seconds: float) -> datetime:
        """Never earlier than told, and a little later, so that a crowd does not come back as one.
        An absurd number of seconds is a year.
        """
        return now + timedelta(
            seconds=min(seconds, LONGEST_COOL_DOWN_SECONDS) * (1 + self.dice() / 10)
        )

    def _repeat_doubts(self, connection: Connection, now: datetime) -> None:
        after = self.terms.repeat_doubts_after
        if after is not None:
            recorded_before = now - timedelta(seconds=after)
            queue.repeat_doubts(
                connection,
                recorded_before,
                self.terms.policy.max_attempts,
                now,
                self.terms.worker,
            )

    def _grant(
        self,
        connection: Connection,
        room: int,
        moment: tuple[float, datetime],
        closed: list[Settled],
    ) -> Turn:
        """Reserve starts and claim exactly as many videos (law 12), all counted from a ``moment``
        before the claim, by the monotonic and by the wall clock (law 4).
        """
        began, now = moment
        known = account.read(connection)
        if known.paused_at is not None:
            return Turn(why=Why.PAUSE, detail=known.pause_reason or "")
        planned = self._plan(known, now)
        if isinstance(planned, pace.Wait):
            if planned.repair is not None:
                account.reserve(connection, planned.repair)
            return _held(known, planned, now)
        claims = self._take(connection, min(room, planned.room), now, closed)
        if claims:
            account.reserve(connection, planned.first + len(claims) * planned.spacing)
            brake = pace.resume(known.brake, known.next_start_at, now)
            if brake != known.brake:
                account.brake(connection, brake)
        return Turn(why=Why.PACE, until=now, starts=self._starts(claims, planned, began, now))

    def _plan(self, known: account.Account, now: datetime) -> pace.Grant | pace.Wait:
        brake = pace.resume(known.brake, known.next_start_at, now)
        rate = pace.rate_in_force(self.terms.rate, brake, now)
        gap = pace.spacing(rate, self.terms.period_seconds)
        return pace.plan(now, known.next_start_at, known.cool_down_until, gap)

    def _take(
        self, connection: Connection, count: int, now: datetime, closed: list[Settled]
    ) -> list[Claim]:
        """Claim ``count`` videos that can be sent; what cannot be is refused on the way."""
        ready: list[Claim] = []
        margin = timedelta(seconds=self.terms.url_margin_seconds)
        while len(ready) < count and len(closed) < INVALID_AT_ONCE:
            wanted = count - len(ready)
            claims = queue.claim(connection, wanted, now, self.terms.worker, now + self.terms.lease)
            faults = {c.video_id: problem(c.video, now, margin) for c in claims}
            refused = [
                settle.Ending(claim=c, outcome=Invalid(why), started_at=None)
                for c in claims
                if (why := faults[c.video_id]) is not None
            ]
            closed += self._settle(connection, refused, now)
            ready += [c for c in claims if faults[c.video_id] is None]
            if len(claims) < wanted:
                break
        return ready

    def _starts(
        self, claims: Sequence[Claim], planned: pace.Grant, began: float, now: datetime
    ) -> list[Start]:
        lead = (planned.first - now).total_seconds()
        gap = planned.spacing.total_seconds()
        lease = self.terms.lease.total_seconds()
        return [
            Start(claim=claim, at=began + lead + place * gap, lease_ends=began + lease)
            for place, claim in enumerate(claims)
        ]

    def look(self, connection: Connection) -> Turn | None:
        """Why nothing can be claimed now, None if a claim is worth the write lock."""
        now = self.clock.now()
        known = account.read(connection)
        ahead = queue.ahead(connection, now)
        if ahead.next_lease_end is not None and ahead.next_lease_end <= now:
            return None
        if known.paused_at is not None:
            return Turn(why=Why.PAUSE, detail=known.pause_reason or "")
        repeat_at = self._repeat_at(connection)
        if repeat_at is not None and repeat_at <= now:
            return None
        if not ahead.due:
            return _nothing_due(ahead, repeat_at)
        planned = self._plan(known, now)
        if isinstance(planned, pace.Wait) and planned.repair is None:
            return _held(known, planned, now)
        return None

    def _repeat_at(self, connection: Connection) -> datetime | None:
        """When the next doubt may be repeated, under ``on_doubt = retry``."""
        after = self.terms.repeat_doubts_after
        if after is None:
            return None
        oldest = queue.oldest_doubt(connection, self.terms.policy.max_attempts)
        return oldest and oldest + timedelta(seconds=after)


def _held(known: account.Account, planned: pace.Wait, now: datetime) -> Turn:
    cooling = known.cool_down_until is not None and known.cool_down_until > now
    if cooling:
        return Turn(why=Why.COOL_DOWN, until=planned.until, detail=known.cool_down_reason or "")
    return Turn(why=Why.PACE, until=planned.until)


def _nothing_due(ahead: queue.Ahead, repeat_at: datetime | None) -> Turn:
    """The nearest moment at which something can become due, and what it is."""
    moments = (
        (ahead.next_due_at, Why.LATER),
        (repeat_at, Why.DOUBTS),
        (ahead.next_lease_end, Why.OTHERS),
    )
    known = [(moment, why) for moment, why in moments if moment is not None]
    if not known:
        return Turn(why=Why.NOTHING)
    until, why = min(known)
    return Turn(why=why, until=until)
