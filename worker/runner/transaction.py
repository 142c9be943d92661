"""What one transaction of the queue does: settle, expire, claim. No task, no note.

It joins the store's verbs and the core's decisions on one connection; when it runs, and what waits
for it, is the ledger's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker.clock import Clock, Steps
from worker.core import pace
from worker.core.decide import decide
from worker.core.model import Claim, Invalid
from worker.core.request import problem
from worker.runner.pacer import Pacer
from worker.runner.terms import (
    FAR_FUTURE,
    ClaimResult,
    Committed,
    Note,
    Settled,
    Start,
    Terms,
    WaitReason,
)
from worker.runner.verdicts import Verdicts, next_list_at, next_recheck_at
from worker.store import caps, leases, queue, settle, shared_state

HELD = timedelta(seconds=1)
"""Between claims while another program holds the rows that are due, as PostgreSQL lets it."""

INVALID_AT_ONCE = 500
"""Unsendable rows that one transaction closes before it lets others have the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTransaction:
    """The work of one process on a connection that is inside a transaction."""

    terms: Terms
    clock: Clock
    dice: Callable[[], float]
    steps: Steps = field(default_factory=Steps)

    @property
    def verdicts(self) -> Verdicts | None:
        """How doubts are judged, None if they are left alone."""
        if self.terms.absent_after is None:
            return None
        return Verdicts(
            who=self.terms.worker,
            settle=timedelta(seconds=self.terms.absent_after),
            policy=self.terms.policy,
            dice=self.dice,
        )

    @property
    def pacer(self) -> Pacer:
        """Everybody's pace, as this process takes part in it."""
        return Pacer(
            rate=self.terms.rate,
            period_seconds=self.terms.period_seconds,
            clock=self.clock,
            dice=self.dice,
            steps=self.steps,
        )

    def write(self, connection: Connection, notes: Sequence[Note], room: int) -> Committed:
        """Settle ``notes``, then claim as many starts as the pace allows, at most ``room``."""
        pacer, began, now = self.pacer, self.clock.monotonic(), self.clock.now()
        pacer.follow(connection, began, now)
        settled = self._settle(connection, [note.ending for note in notes], now)
        for note in notes:
            pacer.account_for(connection, note, now)
        expired = leases.expire(connection, now, self.terms.worker)
        closed: list[Settled] = []
        turn = ClaimResult(why=WaitReason.PACE, until=now)
        if room > 0:
            turn = self._grant(connection, room, (began, now), closed)
        return Committed(settled=settled, closed=closed, expired=expired, turn=turn)

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

    def _repeat_doubts(self, connection: Connection, now: datetime) -> None:
        after = self.terms.repeat_doubts_after
        if after is not None:
            recorded_before = now - timedelta(seconds=after)
            leases.repeat_doubts(
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
    ) -> ClaimResult:
        """Reserve starts and claim exactly as many videos (law 12), all counted from a ``moment``
        before the claim, by the monotonic and by the wall clock (law 4).
        """
        began, now = moment
        known = shared_state.read(connection)
        if known.moved_to is not None:
            return ClaimResult(why=WaitReason.MOVED, detail=known.moved_to)
        self._repeat_doubts(connection, now)
        if known.paused_at is not None:
            return ClaimResult(why=WaitReason.PAUSE, detail=known.pause_reason or "")
        planned = self.pacer.plan(known, now)
        if isinstance(planned, pace.Wait):
            if planned.repair is not None:
                shared_state.reserve(connection, planned.repair, now)
            return _held(known, planned, now)
        level = self._tightest(connection, now)
        if level is not None and not level.room:
            ahead = queue.ahead(connection, now, self._checked_until(known, now))
            return _full(level, ahead) if ahead.due else ClaimResult(why=WaitReason.PACE, until=now)
        room = min(room, planned.room, room if level is None else level.room)
        claims = self._take(connection, room, now, known, closed)
        if claims:
            shared_state.reserve(connection, planned.first + len(claims) * planned.spacing, now)
            brake = pace.resume(known.brake, known.next_start_at, now)
            if brake != known.brake:
                shared_state.brake(connection, brake)
        elif not closed and queue.ahead(connection, now, self._checked_until(known, now)).due:
            return ClaimResult(why=WaitReason.HELD, until=now + HELD)
        return ClaimResult(
            why=WaitReason.PACE, until=now, starts=self._starts(claims, planned, began, now)
        )

    def _tightest(self, connection: Connection, now: datetime) -> caps.Level | None:
        """The cap that leaves the least room, for the longest time; None where none is set."""
        levels = [caps.level(connection, cap, now) for cap in self.terms.caps]
        return min(
            levels,
            key=lambda each: (each.room, FAR_FUTURE - (each.opens_at or FAR_FUTURE)),
            default=None,
        )

    def _take(
        self,
        connection: Connection,
        count: int,
        now: datetime,
        known: shared_state.SharedState,
        closed: list[Settled],
    ) -> list[Claim]:
        """Claim ``count`` videos that can be sent; what cannot be is refused on the way."""
        ready: list[Claim] = []
        margin = timedelta(seconds=self.terms.url_margin_seconds)
        while len(ready) < count and len(closed) < INVALID_AT_ONCE:
            wanted = count - len(ready)
            claims = queue.claim(
                connection,
                wanted,
                now,
                self.terms.worker,
                now + self.terms.lease,
                self._checked_until(known, now),
            )
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

    def _checked_until(self, known: shared_state.SharedState, now: datetime) -> datetime | None:
        """Up to when a documented 500 needs no look at the API's list before the next send."""
        return FAR_FUTURE if self.terms.absent_after is None else known.checked_until(now)

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

    def look(self, connection: Connection) -> ClaimResult | None:
        """Why nothing can be claimed now, None if a claim is worth the write lock."""
        began, now = self.clock.monotonic(), self.clock.now()
        known = shared_state.read(connection)
        if self.pacer.is_behind(known, began, now):
            return None
        ahead = queue.ahead(connection, now, self._checked_until(known, now))
        if ahead.next_lease_end is not None and ahead.next_lease_end <= now:
            return None
        if known.moved_to is not None:
            return ClaimResult(why=WaitReason.MOVED, detail=known.moved_to)
        if known.paused_at is not None:
            return ClaimResult(why=WaitReason.PAUSE, detail=known.pause_reason or "")
        repeat_at = self._repeat_at(connection)
        if repeat_at is not None and repeat_at <= now:
            return None
        if not ahead.due:
            return self._nothing_due(connection, now, ahead, repeat_at)
        planned = self.pacer.plan(known, now)
        if isinstance(planned, pace.Wait) and planned.repair is None:
            return _held(known, planned, now)
        level = self._tightest(connection, now)
        return _full(level, ahead) if level is not None and not level.room else None

    def _nothing_due(
        self,
        connection: Connection,
        now: datetime,
        ahead: queue.Ahead,
        repeat_at: datetime | None,
    ) -> ClaimResult:
        """The nearest moment at which something can become due, and what it is. A list that is
        worth asking for later is no reason beside others: it may bring this run nothing.
        """
        moments = [
            (ahead.next_due_at, WaitReason.LATER),
            (repeat_at, WaitReason.DOUBTS),
            (ahead.next_lease_end, WaitReason.OTHERS),
        ]
        if self.terms.absent_after is not None:
            moments += [
                (next_recheck_at(connection, now), WaitReason.LATER),
                (next_list_at(connection, now), WaitReason.LIST),
            ]
        known = [(moment, why) for moment, why in moments if moment is not None]
        if not known:
            return ClaimResult(why=WaitReason.NOTHING)
        until, why = min(known)
        others = [each for each in known if WaitReason.LIST not in each]
        if why is WaitReason.LIST and until > now and others:
            _, why = min(others)
        return ClaimResult(why=why, until=until)

    def _repeat_at(self, connection: Connection) -> datetime | None:
        """When the next doubt may be repeated, under ``on_doubt = retry``."""
        after = self.terms.repeat_doubts_after
        if after is None:
            return None
        oldest = leases.oldest_doubt(connection, self.terms.policy.max_attempts)
        return oldest and oldest + timedelta(seconds=after)


def _held(known: shared_state.SharedState, planned: pace.Wait, now: datetime) -> ClaimResult:
    cooling = known.cool_down_until is not None and known.cool_down_until > now
    if cooling:
        return ClaimResult(
            why=WaitReason.COOL_DOWN, until=planned.until, detail=known.cool_down_reason or ""
        )
    return ClaimResult(why=WaitReason.PACE, until=planned.until)


def _full(level: caps.Level, ahead: queue.Ahead) -> ClaimResult:
    """What a cap without room says; a lease that ends can make a doubt of what is reserved, and
    tells who waits for it that it is so.
    """
    moments = [each for each in (level.opens_at, ahead.next_lease_end) if each is not None]
    return ClaimResult(
        why=WaitReason.CAP,
        until=min(moments, default=None),
        detail=level.told,
        submitting=level.submitting,
    )
