"""Look at a queue: its numbers, its pace, its workers, and the verdict on them, in one read."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, RowMapping

from worker import wiring
from worker.core import pace
from worker.core.breaker import LONGEST_COOL_DOWN
from worker.core.host import HeldHost
from worker.core.model import Fact, State, value
from worker.core.reasons import ClaimResult, WaitReason
from worker.core.transfer import Transfer
from worker.core.verdict import Cause, Facts, LastAnswer, Verdict, VerdictState, judge
from worker.db.address import address_of
from worker.db.blockers import GONE, blocker, trouble_of
from worker.db.database import Database
from worker.runner.result_files import free_bytes
from worker.settings import Settings
from worker.store import (
    caps,
    doubts,
    hosts,
    job_numbers,
    jobs,
    leases,
    shared_state,
    statistics,
    transfers,
    workers,
)

Free = Callable[[Path], int]
"""Gives the free bytes of the disk of a folder."""

FRESH = timedelta(seconds=2)
"""The greatest age of a snapshot that is shared."""


@value
class Snapshot:
    """A queue at ``now``.

    Attributes:
        rate: Starts per period that a worker may make now.
        settings_rate: The same without the brake that the API's 429s have put on.
        rate_source: The worker and its source of the rate; None where no living worker names one.
        throttled: The last 429; None if the pace is not lowered.
        left: The time that the pending videos take at this pace, with backoffs and cool-down. A
            pause is not counted, since its end is not known. None if a cap has no room for all, a
            host is held, or the speed of the uploads is not known.
    """

    now: datetime
    overview: statistics.Overview
    jobs: job_numbers.JobNumbers
    shared: shared_state.SharedState
    rate: float
    settings_rate: int
    period_seconds: float
    rate_source: str | None
    throttled: RowMapping | None
    levels: Sequence[caps.Level]
    workers: Sequence[workers.WorkerStatus]
    left: timedelta | None
    transfer: Transfer
    facts: Facts
    verdict: Verdict


def take(
    connection: Connection, settings: Settings, now: datetime, free: Free = free_bytes
) -> Snapshot:
    """Return the queue at ``now``, at the rate of its fastest living worker."""
    everyone = workers.everyone(connection)
    living = (each.member for each in everyone if each.is_alive(now))
    first = max(filter(None, living), key=lambda each: each.per_second, default=None)
    if first is None or not (first.per_second and first.rate and first.period_seconds):
        return at_rate(connection, settings, now, None, free)
    settings = replace(settings, rate=int(first.rate), period_seconds=first.period_seconds)
    source = f"{first.rate_source} of {first.command} on {first.host}, pid {first.pid}"
    return at_rate(connection, settings, now, source, free)


def at_rate(
    connection: Connection,
    settings: Settings,
    now: datetime,
    rate_source: str | None,
    free: Free = free_bytes,
) -> Snapshot:
    """Return the queue at ``now``, at the rate of the settings."""
    known = shared_state.read(connection)
    by = pace.moved(now, known.written_at, timedelta(0))
    known = known.moved(by) if by else known
    # A worker counts no time without starts as calm, so neither does the rate.
    brake = pace.resume(known.brake, known.next_start_at, now)
    rate = pace.rate_in_force(settings.rate, brake, now)
    spacing = pace.spacing(rate, settings.period_seconds)
    overview = statistics.overview(connection, now)
    levels = [caps.level(connection, cap, now) for cap in wiring.caps(settings)]
    everyone = workers.everyone(connection)
    facts = _facts(connection, settings, now, overview, known, rate, everyone)
    roots = workers.roots(everyone, now)
    transfer = transfers.transfer(connection, roots, now, facts.patience)
    facts = _explained(connection, settings, _with_uploads(facts, transfer), everyone, free)
    return Snapshot(
        now=now,
        overview=overview,
        jobs=job_numbers.numbers(connection, now),
        shared=known,
        rate=rate,
        settings_rate=settings.rate,
        period_seconds=settings.period_seconds,
        rate_source=rate_source,
        throttled=statistics.last_throttled(connection) if rate < settings.rate else None,
        levels=levels,
        workers=everyone,
        left=_left(facts, overview, known, levels, spacing, transfer),
        transfer=transfer,
        facts=facts,
        verdict=judge(facts),
    )


def _with_uploads(facts: Facts, transfer: Transfer) -> Facts:
    return replace(
        facts,
        uploads=transfer.files - transfer.homeless,
        homeless=transfer.homeless,
        stuck=transfer.stuck,
        stuck_on=transfer.stuck_on,
        uploads_at=transfer.at,
    )


def _explained(
    connection: Connection,
    settings: Settings,
    facts: Facts,
    everyone: Sequence[workers.WorkerStatus],
    free: Free,
) -> Facts:
    """Return the facts with the cause of a silence or a standstill, looked for there alone."""
    silent = list(_silent(everyone, facts.now))
    if not silent and judge(facts).state is not VerdictState.STALLED:
        return facts
    blocked = blocker(connection, address_of(settings.database_url), free)
    silences = [_silence(member, seen_at, blocked) for member, seen_at in silent]
    return replace(facts, cause=blocked, silent=silences)


def _left(
    facts: Facts,
    overview: statistics.Overview,
    known: shared_state.SharedState,
    levels: Sequence[caps.Level],
    spacing: timedelta,
    transfer: Transfer,
) -> timedelta | None:
    pending, now = overview.states[State.PENDING], facts.now
    if not pending or known.held_hosts or any(level.room < pending for level in levels):
        return None
    uploads = transfer.left if transfer.files else timedelta(0)
    if uploads is None:
        return None
    last = now + uploads if transfer.files else overview.last_due_at or now
    begins = max(now, known.next_start_at, known.cool_down_until or now)
    with suppress(OverflowError):  # in no calendar
        return max(begins + pending * spacing, last) - now
    return None


def _held_by(
    connection: Connection, settings: Settings, now: datetime, known: shared_state.SharedState
) -> ClaimResult | None:
    """Return why nothing can be claimed now. A lease that has run out hides no pause."""
    found = wiring.transaction(settings, "", lambda: now).peek(connection)
    if found is None and known.paused_at is not None:
        return ClaimResult(reason=WaitReason.PAUSE, detail=known.pause_reason or "")
    return found


def _facts(
    connection: Connection,
    settings: Settings,
    now: datetime,
    overview: statistics.Overview,
    known: shared_state.SharedState,
    rate: float,
    everyone: Sequence[workers.WorkerStatus],
) -> Facts:
    states, heard = overview.states, overview.heard
    obstacle = _held_by(connection, settings, now, known)
    coming = 0 if obstacle and obstacle.no_end_known else states[State.PENDING]
    held = [each for each in hosts.held(connection) if each.videos] if known.held_hosts else []
    overdue, overdue_job = jobs.overdue(connection)
    moved_at = statistics.moved_at(connection, heard)
    lately = max(filter(None, (moved_at, overview.oldest_due_at)), default=now)
    unlisted = doubts.count_unlisted(connection, now) if settings.reconciles else 0
    return Facts(
        now=now,
        held=obstacle,
        due=overview.due,
        pending=states[State.PENDING],
        in_flight=states[State.SUBMITTING],
        failed=states[State.FAILED],
        for_person=doubts_for_person(connection, settings, coming, states[State.IN_DOUBT]),
        answer=_answer(statistics.refusal(connection) or heard),
        alive=sum(each.is_alive(now) for each in everyone),
        silent=(),
        ready_at=_ready_at(now, overview, known, everyone, held, unlisted),
        moved_at=moved_at,
        paused_at=known.paused_at,
        patience=_patience(settings, rate),
        next_drain_at=_next_drain_at(settings, lately),
        hosts=held,
        overdue=overdue,
        overdue_job=overdue_job,
        pace=_pace(settings, rate),
        unlisted=unlisted,
        unanswered_since=_unanswered_since(connection, known, heard),
    )


def _patience(settings: Settings, rate: float) -> timedelta:
    standstill = timedelta(seconds=2 * settings.timeout_seconds + 30)
    return max(3 * pace.spacing(rate, settings.period_seconds), standstill)


def _pace(settings: Settings, rate: float) -> str:
    lowered = f", lowered from {settings.rate} by the API" if rate < settings.rate else ""
    return f"{rate:g} per {settings.period_seconds:g} s{lowered}"


def _next_drain_at(settings: Settings, lately: datetime) -> datetime | None:
    every = settings.drain_every_seconds
    return None if every is None else lately + timedelta(seconds=every)


def _unanswered_since(
    connection: Connection, known: shared_state.SharedState, heard: RowMapping | None
) -> datetime | None:
    """Return since when no answer comes; None where one came, or asked for a longer wait than ours
    are.
    """
    if heard is None or (known.cool_down_until or heard["at"]) - heard["at"] > LONGEST_COOL_DOWN:
        return None
    return statistics.unanswered_since(connection)


def _ready_at(
    now: datetime,
    overview: statistics.Overview,
    known: shared_state.SharedState,
    everyone: Sequence[workers.WorkerStatus],
    held: Sequence[HeldHost],
    unlisted: int,
) -> datetime:
    """Return since when something could have moved: the last of what it had to wait for."""
    alive = (each.member for each in everyone if each.is_alive(now))
    begun = [overview.oldest_due_at, known.cool_down_until, *(each.probe_at for each in held)]
    if not 0 < unlisted == overview.due:  # whose questions for the list move the next start
        begun.append(known.next_start_at)
    begun += [each.leases_end for each in everyone]
    begun += [min((member.started_at for member in alive if member), default=None)]
    return max((each for each in begun if each is not None and each <= now), default=now)


def _answer(heard: RowMapping | None) -> LastAnswer | None:
    if heard is None:
        return None
    return LastAnswer(fact=Fact(heard["fact"]), at=heard["at"], message=heard["message"] or "")


def doubts_for_person(
    connection: Connection, settings: Settings, pending: int, in_doubt: int
) -> int:
    """Count the doubts that neither a list nor a repetition can settle."""
    if settings.reconciles:
        return doubts.count_for_person(connection, pending)
    if settings.on_doubt == "retry":
        return in_doubt - leases.count_repeatable(connection, settings.max_attempts)
    return in_doubt


def _silent(
    everyone: Sequence[workers.WorkerStatus], now: datetime
) -> Iterator[tuple[workers.WorkerRow, datetime]]:
    """Yield the workers that should be alive, with their last heartbeat: daemons that no other has
    followed, and workers with claims in flight that no living one will put in doubt, unless their
    process is known to be gone.
    """
    begun = [each.member.started_at for each in everyone if each.member and each.is_alive(now)]
    for each in everyone:
        member, seen_at = each.member, each.seen_at
        if member is None or seen_at is None or each.is_alive(now):
            continue
        is_followed = any(at > seen_at for at in begun) or abs(now - seen_at) > workers.FORGOTTEN
        hangs = each.in_flight and not begun and _trouble(member) is not GONE
        if hangs or (member.command == "run" and not is_followed):
            yield member, seen_at


def _trouble(member: workers.WorkerRow) -> Cause | None:
    """Return the trouble of a worker's process; None if not known, as on another machine."""
    return trouble_of(member.pid) if member.host == wiring.host() else None


def _silence(member: workers.WorkerRow, seen_at: datetime, blocked: Cause | None) -> Cause:
    """Return why a worker is silent: its process, the database, or a hang."""
    hangs = "see its log, end it if it hangs, then start it anew"
    unknown = Cause(words="it hangs, or is out of reach of the database", remedy=hangs)
    known = _trouble(member) or blocked or unknown
    name = f"{member.command} on {member.host}, pid {member.pid}"
    words = f"{name}, is silent since {seen_at:%Y-%m-%d %H:%M:%S} UTC: {known.words}"
    return Cause(words=words, remedy=known.remedy)


@dataclass(slots=True)
class Snapshots:
    """The latest snapshot of a queue, shared by all who ask."""

    database: Database
    settings: Settings
    _last: Snapshot | None = None
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self) -> Snapshot:
        """Return a snapshot that is at most ``FRESH`` old. Raises DatabaseProblem."""
        async with self._reading:
            now = self.database.now()
            if self._last is None or abs(now - self._last.now) >= FRESH:
                self._last = await self.database.read(self.take)
            return self._last

    def outdate(self) -> None:
        """Have who asks next get a new one."""
        self._last = None

    def take(self, connection: Connection) -> Snapshot:
        """Return a snapshot of now."""
        return take(connection, self.settings, self.database.now())
