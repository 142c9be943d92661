"""Write and read the workers of a queue, one row for each run. Moments (UTC) are arguments.

The videos in flight are counted by the token of their claims, so that none is missed, even if its
worker has no row.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from worker.core.model import State
from worker.db.schema import videos, workers
from worker.store.statistics import IN_STATE

ALIVE = timedelta(seconds=60)
"""The greatest age of a heartbeat. One from the future is from before a clock was set back."""

FORGOTTEN = timedelta(days=1)
"""A silent worker with nothing in flight is forgotten after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One run of one process.

    Attributes:
        id: The token of its claims.
        command: drain or run.
        started_at: UTC.
    """

    id: str
    host: str
    pid: int
    command: str
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker by its row and its claims.

    Attributes:
        member: Its row; None if only claims name it.
        seen_at: Its last heartbeat (UTC); None if only claims name it.
        leases_end: When the last lease of its claims ends (UTC); None without claims.
    """

    id: str
    member: WorkerRow | None
    seen_at: datetime | None
    in_flight: int
    leases_end: datetime | None

    def is_alive(self, now: datetime) -> bool:
        """Return True if its last heartbeat is recent."""
        return self.seen_at is not None and abs(now - self.seen_at) <= ALIVE


def show(connection: Connection, member: WorkerRow, now: datetime) -> None:
    """Write a heartbeat, with the worker's row if it has none."""
    seen = update(workers).where(workers.c.id == member.id).values(seen_at=now)
    if not connection.execute(seen).rowcount:
        values = {name: getattr(member, name) for name in _FIELDS}
        connection.execute(insert(workers).values(**values, seen_at=now))


_FIELDS = tuple(WorkerRow.__dataclass_fields__)


def leave(connection: Connection, worker: str) -> None:
    """Delete the row of a worker that has ended."""
    connection.execute(delete(workers).where(workers.c.id == worker))


def forget(connection: Connection, now: datetime) -> None:
    """Delete the workers that have long been silent and have nothing in flight."""
    holds = exists().where(_in_flight, videos.c.claimed_by == workers.c.id)
    connection.execute(delete(workers).where(workers.c.seen_at < now - FORGOTTEN, ~holds))


_in_flight = IN_STATE[State.SUBMITTING]


def everyone(connection: Connection) -> list[WorkerStatus]:
    """Return the workers with a row, the oldest first, then those that only claims name."""
    claims = {worker: (number, end) for worker, number, end in connection.execute(_CLAIMS)}
    order = (workers.c.started_at, workers.c.id)
    known = {
        row["id"]: (WorkerRow(**{name: row[name] for name in _FIELDS}), row["seen_at"])
        for row in connection.execute(select(workers).order_by(*order)).mappings()
    }
    found = []
    for worker in [*known, *(worker for worker in claims if worker not in known)]:
        member, seen_at = known.get(worker, (None, None))
        number, end = claims.get(worker, (0, None))
        status = WorkerStatus(
            id=worker, member=member, seen_at=seen_at, in_flight=number, leases_end=end
        )
        found.append(status)
    return found


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


def last_seen(connection: Connection, host: str) -> datetime | None:
    """Return the last heartbeat of a daemon on this host (UTC), None if there is none."""
    seen = func.max(workers.c.seen_at, type_=workers.c.seen_at.type)
    daemons = select(seen).where(workers.c.command == "run", workers.c.host == host)
    found: datetime | None = connection.scalar(daemons)
    return found


def alive(connection: Connection, now: datetime) -> int:
    """Count the workers with a recent heartbeat."""
    seen = workers.c.seen_at.between(now - ALIVE, now + ALIVE)
    return connection.execute(select(func.count()).select_from(workers).where(seen)).scalar_one()
