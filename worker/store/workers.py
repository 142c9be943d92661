"""Write and read the workers of a queue, one row for each run. Moments are UTC.

Videos in flight are counted by the tokens of claims: none is missed, even if its worker has no row.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, insert, select, update

from worker.db.column_types import EPOCH, LAST
from worker.db.schema import is_submitting, videos, workers
from worker.store.statistics import number_of

ALIVE = timedelta(seconds=60)
"""The greatest age of a heartbeat. One from the future is from before a clock was set back."""

FORGOTTEN = timedelta(days=1)
"""A silent worker with nothing in flight is forgotten after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One run of one process: ``id`` is the token of its claims, ``command`` drain or run;
    ``upload_roots``: the addresses of its folders, one a line.
    """

    id: str
    host: str
    pid: int
    command: str
    started_at: datetime
    rate: float | None = None
    period_seconds: float | None = None
    rate_source: str | None = None
    upload_roots: str | None = None

    @property
    def per_second(self) -> float:
        """Return its starts a second; 0 if it names none, or none that can be."""
        rate, period = self.rate or 0.0, self.period_seconds or 0.0
        return rate / period if 1 <= rate < inf and period > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker by its row, None if only claims name it, and by its claims.

    ``seen_at``: its last heartbeat; ``leases_end``: the end of its last lease (UTC, or None).
    """

    id: str
    member: WorkerRow | None = None
    seen_at: datetime | None = None
    in_flight: int = 0
    leases_end: datetime | None = None

    def is_alive(self, now: datetime) -> bool:
        """Return True if its last heartbeat is recent."""
        return self.seen_at is not None and abs(now - self.seen_at) <= ALIVE


def show(connection: Connection, member: WorkerRow, now: datetime) -> None:
    """Write a heartbeat, with the worker's row if it has none."""
    seen = update(workers).where(workers.c.id == member.id).values(seen_at=now)
    if not connection.execute(seen).rowcount:
        connection.execute(insert(workers).values(**asdict(member), seen_at=now))


def leave(connection: Connection, worker: str) -> None:
    """Delete the row of a worker that has ended."""
    connection.execute(delete(workers).where(workers.c.id == worker))


def forget(connection: Connection, now: datetime) -> None:
    """Delete the workers that have long been silent and have nothing in flight."""
    holds = exists().where(is_submitting, videos.c.claimed_by == workers.c.id)
    lately = workers.c.seen_at.between(now - FORGOTTEN, now + FORGOTTEN)
    connection.execute(delete(workers).where(~lately, ~holds))


def everyone(connection: Connection) -> list[WorkerStatus]:
    """Return the workers with a row, the oldest first, then those that only claims name."""
    claims: dict[str, dict[str, Any]] = {
        worker: {"in_flight": number, "leases_end": end}
        for worker, number, end in connection.execute(_CLAIMS)
    }
    rows = connection.execute(select(workers).order_by(workers.c.started_at, workers.c.id))
    known: dict[str, dict[str, Any]] = {
        row["id"]: {"member": WorkerRow(**{n: row[n] for n in _FIELDS}), "seen_at": row["seen_at"]}
        for row in rows.mappings()
    }
    ids = known | claims
    return [WorkerStatus(id=each, **known.get(each, {}), **claims.get(each, {})) for each in ids]


_FIELDS = tuple(WorkerRow.__dataclass_fields__)
_CLAIMS = (
    select(videos.c.claimed_by, func.count(), func.max(videos.c.lease_until))
    .where(is_submitting)
    .group_by(videos.c.claimed_by)
    .order_by(videos.c.claimed_by)
)


def roots(everyone: Sequence[WorkerStatus], now: datetime) -> list[str] | None:
    """Return the folders that living workers upload from, as addresses; None if none lives."""
    living = [each.member for each in everyone if each.member and each.is_alive(now)]
    named = [root for each in living for root in (each.upload_roots or "").splitlines()]
    return named if living else None


def last_seen(connection: Connection, host: str) -> datetime | None:
    """Return the last heartbeat of a daemon on this host (UTC), None if there is none."""
    seen: Select[datetime] = select(func.max(workers.c.seen_at))
    here = (workers.c.command == "run", workers.c.host == host)
    return connection.scalar(seen.where(*here, workers.c.seen_at.between(EPOCH, LAST)))


def alive(connection: Connection, now: datetime) -> int:
    """Count the workers with a recent heartbeat."""
    return number_of(connection, workers, workers.c.seen_at.between(now - ALIVE, now + ALIVE))
