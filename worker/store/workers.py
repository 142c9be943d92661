"""Who works on the queue: a row for each run. Knows no clock: moments (UTC) are arguments.

What a worker has in flight is counted in the videos, under the token of its claims, so that nothing
in flight goes uncounted, whatever its worker has said of itself or has not.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, delete, exists, func, insert, select, update

from worker.core.model import State
from worker.db.schema import videos, workers
from worker.store.counts import IN_STATE

ALIVE = timedelta(seconds=60)
"""How old a sign of life may be. One from the future is from before a clock was set back."""

FORGOTTEN = timedelta(days=1)
"""For how long a worker that is silent, and has nothing in flight, is kept in mind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One run of one process. ``id`` is the token that its claims bear, ``command`` is drain or
    run, ``started_at`` is UTC.
    """

    id: str
    host: str
    pid: int
    command: str
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker as the table knows it. ``member`` and ``seen_at`` are None where only its claims
    tell of it; ``leases_end`` is when the last of these runs out, None where it has none.
    """

    id: str
    member: WorkerRow | None
    seen_at: datetime | None
    in_flight: int
    leases_end: datetime | None

    def is_alive(self, now: datetime) -> bool:
        """Whether it has been seen just now."""
        return self.seen_at is not None and abs(now - self.seen_at) <= ALIVE


def show(connection: Connection, member: WorkerRow, now: datetime) -> None:
    """Write down that it lives; its row is made where it has none, or has it no more."""
    seen = update(workers).where(workers.c.id == member.id).values(seen_at=now)
    if not connection.execute(seen).rowcount:
        values = {name: getattr(member, name) for name in _OF_MEMBER}
        connection.execute(insert(workers).values(**values, seen_at=now))


_OF_MEMBER = ("id", "host", "pid", "command", "started_at")


def leave(connection: Connection, worker: str) -> None:
    """It has ended in order."""
    connection.execute(delete(workers).where(workers.c.id == worker))


def forget(connection: Connection, now: datetime) -> None:
    """Take out who has long been silent and has nothing in flight."""
    holds = exists().where(_in_flight, videos.c.claimed_by == workers.c.id)
    connection.execute(delete(workers).where(workers.c.seen_at < now - FORGOTTEN, ~holds))


_in_flight = IN_STATE[State.SUBMITTING]


def everyone(connection: Connection) -> list[WorkerStatus]:
    """All that have a row, the oldest first, then those that only their claims tell of."""
    claims = {worker: (number, end) for worker, number, end in connection.execute(_CLAIMS)}
    order = (workers.c.started_at, workers.c.id)
    rows = connection.execute(select(workers).order_by(*order)).mappings()
    known = {row["id"]: row for row in rows}
    return [
        _fellow(worker, known.get(worker), *claims.get(worker, (0, None)))
        for worker in [*known, *(worker for worker in claims if worker not in known)]
    ]


_CLAIMS = (
    select(
        videos.c.claimed_by,
        func.count(),
        func.max(videos.c.lease_until, type_=videos.c.lease_until.type),
    )
    .where(_in_flight)
    .group_by(videos.c.claimed_by)
    .order_by(videos.c.claimed_by)
)


def _fellow(
    worker: str, row: RowMapping | None, in_flight: int, leases_end: datetime | None
) -> WorkerStatus:
    return WorkerStatus(
        id=worker,
        member=WorkerRow(**{name: row[name] for name in _OF_MEMBER}) if row is not None else None,
        seen_at=row["seen_at"] if row is not None else None,
        in_flight=in_flight,
        leases_end=leases_end,
    )


def last_seen(connection: Connection, host: str) -> datetime | None:
    """The last sign of life of a daemon on this machine."""
    seen = func.max(workers.c.seen_at, type_=workers.c.seen_at.type)
    daemons = select(seen).where(workers.c.command == "run", workers.c.host == host)
    found: datetime | None = connection.scalar(daemons)
    return found


def alive(connection: Connection, now: datetime) -> int:
    """How many workers have been seen just now."""
    seen = workers.c.seen_at.between(now - ALIVE, now + ALIVE)
    return connection.execute(select(func.count()).select_from(workers).where(seen)).scalar_one()
