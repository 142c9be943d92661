"""Read what the first screen shows: the snapshot, the last day by minutes, reasons of failures.

Knows no HTTP. Made only when somebody asks, and at most every two seconds.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from worker import wiring
from worker.core.model import Fact, State, value
from worker.db.address import DatabaseProblem
from worker.db.column_types import LAST
from worker.db.database import Database
from worker.snapshot import FRESH, Snapshot, Snapshots
from worker.store import reasons, search, statistics, timeline

REASONED = 200
"""Failures, and doubts, that are grouped by their reason: the newest."""

SHARE = 100
"""A board is kept for so many times as long as it took to read."""

LONGEST_KEPT_SECONDS = 10.0

OLDEST_SECONDS = 15.0
"""An older board is not shown: its reader waits for the next one."""

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

LATE = timedelta(seconds=10)
"""For a fact on its way to the database."""

COUNTING_SECONDS = 0.03
"""For minutes not counted yet; what is left is counted for the next board."""

BATCHES = 10
"""Batches that are shown: the newest."""

KINDS = {
    "accepted": (Fact.ACCEPTED,),
    "failed": (Fact.REFUSED, Fact.INVALID),
    "in_doubt": (Fact.IN_DOUBT,),
    "turned_away": (Fact.TRY_LATER, Fact.NOT_SENT, Fact.ACCOUNT_REFUSED, Fact.WRONG_ADDRESS),
    "throttled": (Fact.THROTTLED,),
}


@value
class Board:
    """One reading of a queue for the first screen. ``hour``, ``day``: numbers by ``KINDS``, each
    from ``at`` on; ``held`` while a pause or cool-down holds all. ``since``: from when on they are
    counted yet.
    """

    snapshot: Snapshot
    hour: Sequence[dict[str, Any]]
    day: Sequence[dict[str, Any]]
    reasons: Sequence[reasons.Reason]
    batches: Mapping[str, Mapping[str, int]]
    since: datetime


def slots(
    minutes: timeline.Minutes, span: timedelta, number: int, until: datetime, held: datetime | None
) -> list[dict[str, Any]]:
    """Return the numbers of ``number`` spans, the last one up to ``until``; ``held``: since when
    all is held.
    """
    moments = [until - (number - place) * span for place in range(number)]
    sums = [Counter[Fact]() for _ in moments]
    for at, facts in minutes.items():
        if moments[0] <= at < until:
            sums[(at - moments[0]) // span].update(facts)
    return [
        {"at": at, "held": held is not None and held < at + span}
        | {kind: sum(facts[each] for each in KINDS[kind]) for kind in KINDS}
        for at, facts in zip(moments, sums, strict=True)
    ]


def board(
    connection: Connection, snapshot: Snapshot, minutes: timeline.Minutes, since: datetime
) -> Board:
    """Return the board of these facts by minute, which are those from ``since`` on (UTC)."""
    now, shared, heard = snapshot.now, snapshot.shared, snapshot.overview.heard
    # A cool-down begins with the last answer: none comes in it.
    held = shared.paused_at or (shared.cooling(now) and heard and heard["at"]) or None
    states = (State.FAILED, State.IN_DOUBT)
    newest = [row for each in states for row in search.newest(connection, each, REASONED)]
    return Board(
        snapshot=snapshot,
        hour=slots(minutes, MINUTE, 60, end_of(now), held),
        day=slots(minutes, HOUR / 2, 48, end_of(now), held),
        reasons=reasons.grouped(connection, newest),
        batches=dict(islice(statistics.by_batch(connection).items(), BATCHES)),
        since=since,
    )


def end_of(now: datetime) -> datetime:
    """Return the end of the minute."""
    return now.replace(second=0, microsecond=0) + MINUTE


@dataclass(slots=True)
class Minutes:
    """The facts by minute from ``since`` on (UTC). Each count goes further back, up to a day, and
    counts no fact a second time but those that came ``LATE``.
    """

    facts: timeline.Minutes = field(default_factory=dict)
    since: datetime = LAST
    _until: datetime = LAST
    _settled: timeline.Minutes = field(default_factory=dict)
    _step: timedelta = MINUTE

    def count(self, connection: Connection, now: datetime, monotonic: Callable[[], float]) -> None:
        """Count up to ``now``, and then backwards as long as there is time."""
        first, until, stop_at = end_of(now) - DAY, now - LATE, monotonic() + COUNTING_SECONDS
        if not until - HOUR < self._until <= until:  # long ago, or by a clock that was set
            self._settled, self.since, self._until = {}, until, until
        self._settled = _sum(self._settled, timeline.minutes(connection, self._until, until))
        self._until = until
        while self.since > first and (began := monotonic()) < stop_at:
            earlier = max(first, self.since - self._step)
            more = timeline.minutes(connection, earlier, self.since)
            self.since, self._settled = earlier, _sum(self._settled, more)
            quick = monotonic() - began < COUNTING_SECONDS / 4
            self._step = min(HOUR, self._step * 2) if quick else MINUTE
        self._settled = {at: facts for at, facts in self._settled.items() if at >= first}
        self.facts = _sum(self._settled, timeline.minutes(connection, until, end_of(now)))


def _sum(minutes: timeline.Minutes, more: timeline.Minutes) -> timeline.Minutes:
    return minutes | {at: minutes.get(at, Counter()) + facts for at, facts in more.items()}


@dataclass(slots=True)
class Boards:
    """The latest board, shared by all who ask."""

    database: Database
    snapshots: Snapshots
    last: Board | None = None
    _read_at: float = float("-inf")
    _kept_seconds: float = 0.0
    _reading: asyncio.Task[Board] | None = None
    _minutes: Minutes = field(default_factory=Minutes)

    async def get(self) -> Board:
        """Return a board that is some seconds old at most. Raises DatabaseProblem."""
        age = wiring.CLOCK.monotonic() - self._read_at
        if self._reading is None and age >= self._kept_seconds:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._reading is not None and (self.last is None or age >= OLDEST_SECONDS):
            return await self._reading
        assert self.last is not None  # noqa: S101 - for the type checker: it is kept
        return self.last

    def outdate(self) -> None:
        """Have who asks next wait for a board of what is there by then."""
        self._read_at = float("-inf")
        self.snapshots.outdate()

    async def warm(self) -> None:
        """Read once, so that who looks first does not wait for what only a first time costs."""
        with suppress(DatabaseProblem):
            await self.database.read(lambda c: self._board(c, self.snapshots.take(c)))

    async def _read(self) -> Board:
        began = wiring.CLOCK.monotonic()
        try:
            snapshot = await self.snapshots.get()
            board = await self.database.read(lambda c: self._board(c, snapshot))
        finally:
            self._reading = None
        self.last, self._read_at = board, wiring.CLOCK.monotonic()
        took = SHARE * (self._read_at - began)
        self._kept_seconds = min(LONGEST_KEPT_SECONDS, max(FRESH.total_seconds(), took))
        return board

    def _board(self, connection: Connection, snapshot: Snapshot) -> Board:
        self._minutes.count(connection, snapshot.now, wiring.CLOCK.monotonic)
        return board(connection, snapshot, self._minutes.facts, self._minutes.since)
