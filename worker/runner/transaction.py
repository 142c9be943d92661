"""Do the work of one transaction of the queue: settle, expire, claim.

It joins the store's verbs and the core's decisions on one connection. Knows no task and no log.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from worker.clock import Clock
from worker.core import pace
from worker.core.decide import decide
from worker.core.file_address import is_file
from worker.core.model import Cap, Claim, Invalid, Result, Settlement, Start, State, Twin
from worker.core.reasons import ClaimResult, WaitReason
from worker.core.request import bought_already, problem
from worker.runner.model import Committed
from worker.runner.pacer import Pacer
from worker.runner.verdicts import Verdicts, next_list_at, next_recheck_at
from worker.settings import Settings
from worker.store import caps as caps_store
from worker.store import changes, hosts, leases, queue, settle, shared_state, uploads
from worker.store.caps import Level
from worker.store.queue import Unwritable
from worker.store.shared_state import SharedState
from worker.store.uploads import Reach

FAR_FUTURE = datetime.max.replace(tzinfo=UTC)

HELD = timedelta(seconds=1)
"""Between claims while another program holds the rows that are due, as PostgreSQL allows."""

INVALID_AT_ONCE = 500
"""Unsendable rows that one transaction closes before it lets others have the lock."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """The connection and the shared state, with both clocks as read before a claim (law 4)."""

    connection: Connection
    began: float
    now: datetime
    shared: SharedState


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTransaction:
    """The work of one process on a connection that is inside a transaction."""

    worker: str
    settings: Settings
    clock: Clock
    dice: Callable[[], float]
    pacer: Pacer
    caps: tuple[Cap, ...] = ()
    reach: Reach = field(default_factory=Reach)
    unwritable: Unwritable = field(default_factory=Unwritable)
    closes_at_once: int = INVALID_AT_ONCE

    @property
    def verdicts(self) -> Verdicts:
        """Return the judge of doubts."""
        return Verdicts(worker=self.worker, settings=self.settings, dice=self.dice)

    def write(
        self,
        connection: Connection,
        results: Sequence[Result],
        free_slots: int,
        *,
        passing: bool = False,
    ) -> Committed:
        """Settle the results, then claim what the pace allows, at most ``free_slots``. ``passing``:
        pass over results whose row another program holds.
        """
        if held := settle.held(connection, results) if passing else []:
            results = [result for result in results if result not in held]
        pacer, began, now = self.pacer, self.clock.monotonic(), self.clock.now()
        pacer.follow(connection, began, now)
        settled = self._settle(connection, results, now)
        for result in results:
            pacer.account_for(connection, result, now)
        expired = leases.expire(connection, now, self.worker, self.unwritable.known)
        closed: list[Settlement] = []
        claimed = ClaimResult(reason=WaitReason.PACE, until=now)
        if free_slots > 0:
            at = _Moment(connection, began, now, pacer.read(connection, now))
            claimed = self._claim(at, free_slots, closed)
        return Committed(
            settled=settled, closed=closed, expired=expired, claimed=claimed, held=held
        )

    def lapsed(self, connection: Connection) -> list[int]:
        """Return the videos whose lease has run out."""
        return leases.lapsed(connection, self.clock.now())

    def refuse(self, connection: Connection, video_id: int, why: str) -> int:
        """Fail a video that cannot be claimed, and return how many were."""
        return changes.refuse(connection, video_id, why, self.clock.now(), self.worker)

    def holds_uploads(self, connection: Connection) -> bool:
        """Return True while nothing may be sent: what is uploaded now would grow old."""
        at = _Moment(connection, 0.0, self.clock.now(), shared_state.read(connection))
        level, shared = self._tightest(at), at.shared
        is_full = level is not None and not level.room
        held = (shared.moved_to, shared.paused_at, shared.cooling(at.now))
        return is_full or any(each is not None for each in held)

    def _settle(
        self, connection: Connection, results: Sequence[Result], now: datetime
    ) -> list[Settlement]:
        if not results:
            return []
        policy = self.settings.policy
        settlements = [
            Settlement(
                result=result,
                status=status,
                transition=decide(result.claim, result.outcome, status, now, self.dice(), policy),
            )
            for result, status in zip(results, settle.statuses(connection, results), strict=True)
        ]
        settle.settle(connection, settlements, now, self.worker)
        return settlements

    def _claim(self, at: _Moment, free_slots: int, closed: list[Settlement]) -> ClaimResult:
        """Reserve starts and claim exactly as many videos (law 12)."""
        if at.shared.moved_to is not None:
            return ClaimResult(reason=WaitReason.MOVED, detail=at.shared.moved_to)
        self._repeat_doubts(at)
        planned = None if at.shared.paused_at is not None else self.pacer.plan(at.shared, at.now)
        postponed = 0
        if isinstance(planned, pace.Wait) and planned.repair is not None:
            shared_state.reserve(at.connection, planned.repair, at.now)
            return _too_early(at, planned)
        if isinstance(planned, pace.Grant):
            level = self._tightest(at)
            count = min(free_slots, planned.room, free_slots if level is None else level.room)
            claims, postponed = self._take(at, count, closed)
            if claims:
                self._reserve(at, planned, len(claims))
                starts = self._starts(at, planned, claims)
                return ClaimResult(reason=WaitReason.PACE, until=at.now, starts=starts)
        if (obstacle := self._obstacle(at)) is not None:
            return obstacle
        if closed or postponed:
            return ClaimResult(reason=WaitReason.PACE, until=at.now)
        return ClaimResult(reason=WaitReason.HELD, until=at.now + HELD)

    def _repeat_doubts(self, at: _Moment) -> None:
        if self.settings.on_doubt == "retry":
            recorded_before = at.now - self.settings.settle_after
            most = self.settings.max_attempts
            leases.repeat_doubts(at.connection, recorded_before, most, at.now, self.worker)

    def _reserve(self, at: _Moment, planned: pace.Grant, count: int) -> None:
        shared_state.reserve(at.connection, planned.first + count * planned.spacing, at.now)
        self.pacer.probes.clear()
        if at.shared.cooling(at.now):
            self.pacer.probes.add(at.now)
        brake = pace.resume(at.shared.brake, at.shared.next_start_at, at.now)
        if brake != at.shared.brake:
            shared_state.brake(at.connection, brake)

    def _tightest(self, at: _Moment) -> Level | None:
        """Return the cap with the least room, for the longest time; None where none is set."""
        return min(
            (caps_store.level(at.connection, cap, at.now) for cap in self.caps),
            key=lambda each: (each.room, FAR_FUTURE - (each.opens_at or FAR_FUTURE)),
            default=None,
        )

    def _take(self, at: _Moment, count: int, closed: list[Settlement]) -> tuple[list[Claim], int]:
        """Claim ``count`` videos that can be sent; refuse on the way what cannot be, and postpone
        what is of a held host. Return the claims, and how many were postponed.
        """
        ready: list[Claim] = []
        postponed, connection, now = 0, at.connection, at.now
        margin = timedelta(seconds=self.settings.url_margin_seconds)
        lease_until = now + self.settings.lease
        while len(ready) < count and len(closed) + postponed < self.closes_at_once:
            wanted = count - len(ready)
            most = self.closes_at_once - len(closed) - postponed
            rows, probes, passed = self._find(at, wanted, most)
            self.unwritable.tried = [row[queue.ID] for row in rows]
            claims = queue.claim(connection, rows, now, self.worker, lease_until)
            faults = _faults(claims, now, margin)
            refused = [
                Result(claim=c, outcome=Invalid(why)) for c, why in faults if why is not None
            ]
            closed += self._settle(connection, refused, now)
            self.unwritable.tried = []
            sent = [c for c, why in faults if why is None]
            hosts.probed(connection, [c for c in sent if c.video_id in probes], now)
            ready += uploads.addressed(connection, sent)
            postponed += passed
            if len(claims) < wanted and not probes:  # for one that is refused, another goes
                break
        return ready, postponed

    def _find(self, at: _Moment, wanted: int, most: int) -> hosts.Passing:
        """Return the next videos to claim, without those of held hosts, and those whose file is not
        uploaded.
        """
        aside, checked = self.unwritable, self._checked_until(at)
        if at.shared.held_hosts:
            return hosts.passing(at.connection, wanted, at.now, checked, aside, most)
        rows = queue.due(at.connection, wanted, at.now, checked, aside.known)
        if any(is_file(row[queue.URL]) for row in rows):
            return hosts.passing(at.connection, wanted, at.now, checked, aside, most)
        return rows, (), 0

    def _checked_until(self, at: _Moment) -> datetime | None:
        """Return up to when a list has checked answers; a video with a later 500 waits."""
        return at.shared.checked_until(at.now) if self.settings.reconciles else FAR_FUTURE

    def _starts(self, at: _Moment, planned: pace.Grant, claims: Sequence[Claim]) -> list[Start]:
        lead = (planned.first - at.now).total_seconds()
        gap = planned.spacing.total_seconds()
        lease = self.settings.lease.total_seconds()
        return [
            Start(claim=claim, at=at.began + lead + place * gap, lease_ends=at.began + lease)
            for place, claim in enumerate(claims)
        ]

    def peek(self, connection: Connection) -> ClaimResult | None:
        """Return why nothing can be claimed now; None if a claim is worth the write lock."""
        began, now = self.clock.monotonic(), self.clock.now()
        shared = shared_state.read(connection)
        if self.pacer.is_behind(shared, began, now):
            return None
        return self._obstacle(_Moment(connection, began, now, shared))

    def _obstacle(self, at: _Moment) -> ClaimResult | None:
        """Return why nothing can be claimed; None where something can be, or is to be written."""
        # The first of these cases holds.
        # 1. A lease has run out: to be written. 2. The queue has moved away. 3. A person has
        # paused it. 4. A doubt is to be repeated: to be written. 5. Nothing is due, no probe and no
        # upload. 6. The pace or a cool-down allows no start yet. 7. A cap is full. 8. Only uploads.
        shared, now = at.shared, at.now
        aside, checked = self.unwritable.known, self._checked_until(at)
        ahead = queue.ahead(at.connection, now, checked, aside, shared.held_hosts)
        if ahead.next_lease_end is not None and ahead.next_lease_end <= now:
            return None
        if shared.moved_to is not None:
            return ClaimResult(reason=WaitReason.MOVED, detail=shared.moved_to)
        if shared.paused_at is not None:
            return ClaimResult(reason=WaitReason.PAUSE, detail=shared.pause_reason or "")
        repeat_at = self._repeat_at(at.connection)
        if repeat_at is not None and repeat_at <= now:
            return None
        probe_at = None
        if shared.held_hosts and not ahead.due:
            probe_at = hosts.next_probe_at(at.connection, now)
        upload_at = None if ahead.due else uploads.next_at(at.connection, self.reach, now)
        is_due = ahead.due or (probe_at is not None and probe_at <= now)
        if not is_due and (upload_at is None or upload_at > now):
            if ahead.next_due_at is not None and uploads.any_waits(at.connection):
                ahead = queue.ahead(at.connection, now, checked, aside, 1)
            moments = [(probe_at, WaitReason.HOSTS), (upload_at, WaitReason.LATER)]
            return self._nothing_due(at, ahead, repeat_at, moments)
        planned = self.pacer.plan(shared, now)
        if isinstance(planned, pace.Wait) and planned.repair is None:
            return _too_early(at, planned)
        level = self._tightest(at)
        if level is not None and not level.room:
            return _full(level, ahead)
        return None if is_due else ClaimResult(reason=WaitReason.UPLOADS, until=now)

    def _nothing_due(
        self,
        at: _Moment,
        ahead: queue.Ahead,
        repeat_at: datetime | None,
        moments: Sequence[tuple[datetime | None, WaitReason]],
    ) -> ClaimResult:
        """Return the nearest moment at which something can become due, and its reason. Two are no
        reason beside others: a list that is worth asking for later, and a probe.
        """
        moments = [
            *moments,
            (ahead.next_due_at, WaitReason.LATER),
            (repeat_at, WaitReason.DOUBTS),
            (ahead.next_lease_end, WaitReason.OTHERS),
        ]
        if self.settings.reconciles:
            moments += [
                (next_recheck_at(at.connection, at.now), WaitReason.LATER),
                (next_list_at(at.connection, at.now), WaitReason.LIST),
            ]
        known = [(moment, reason) for moment, reason in moments if moment is not None]
        if not known:
            return ClaimResult(reason=WaitReason.NOTHING)
        until, reason = min(known)
        for weak in (WaitReason.HOSTS, WaitReason.LIST):
            others = [each for each in known if weak not in each]
            if reason is weak and until > at.now and others:
                _, reason = min(others)
            known = others or known
        return ClaimResult(reason=reason, until=until)

    def _repeat_at(self, connection: Connection) -> datetime | None:
        """Return when the next doubt may be repeated, under ``on_doubt = retry``."""
        if self.settings.on_doubt != "retry":
            return None
        oldest = leases.oldest_doubt(connection, self.settings.max_attempts)
        return oldest and oldest + self.settings.settle_after


def _faults(
    claims: Sequence[Claim], now: datetime, margin: timedelta
) -> list[tuple[Claim, str | None]]:
    """Return why each claim cannot be sent, None if it can. Of two with one address, the first
    goes (law 17).
    """
    going: dict[str, Twin] = {}
    faults: list[tuple[Claim, str | None]] = []
    for claim in claims:
        url = claim.video.url
        twin = claim.twin if claim.may_buy_twice else claim.twin or going.get(url)
        fault = problem(claim.video, now, margin)
        if fault is None and twin is not None:
            fault = bought_already(claim.video_id, twin)
        if fault is None:
            going.setdefault(url, Twin(claim.video_id, State.SUBMITTING))
        faults.append((claim, fault))
    return faults


def _too_early(at: _Moment, planned: pace.Wait) -> ClaimResult:
    if (cooling := at.shared.cooling(at.now)) is None:
        return ClaimResult(reason=WaitReason.PACE, until=planned.until)
    return ClaimResult(reason=WaitReason.COOL_DOWN, until=planned.until, detail=cooling)


def _full(level: Level, ahead: queue.Ahead) -> ClaimResult:
    """Return the wait for a full cap, or for a lease whose end may turn its room into a doubt."""
    moments = [each for each in (level.opens_at, ahead.next_lease_end) if each is not None]
    return ClaimResult(
        reason=WaitReason.JOBS if level.jobs_end else WaitReason.CAP,
        until=min(moments, default=None),
        detail=level.told,
        submitting=level.submitting,
    )
