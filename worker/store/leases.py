"""How videos come into doubt when their lease runs out, and out of it under ``on_doubt = retry``.

Knows no HTTP and no clock: moments (UTC) are arguments. Each verb is called inside a write
transaction, so what it reads holds until it has written.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    func,
    insert,
    select,
    text,
    update,
)

from worker.core.model import Fact, State
from worker.db.schema import history, videos
from worker.db.statements import Prepared
from worker.store.queue import UNCLAIMED

_is_submitting = videos.c.state == text("'submitting'")
_is_in_doubt = videos.c.state == text("'in_doubt'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A claim whose lease ran out."""

    video_id: int
    attempt: int
    claimed_by: str


def expire(connection: Connection, now: datetime, worker: str) -> list[Expired]:
    """Put every video whose lease ran out in doubt (law 4). The token stays, so that the attempt's
    own late answer can still settle it; a video that has a job id by now is submitted. The attempt
    counts as started when it was claimed: nobody knows it better.
    """
    why = "the lease ran out: its worker stopped or hung before the answer was settled"
    claimed: dict[int, datetime] = {video_id: at for video_id, at in _GONE(connection, now=now)}  # noqa: C416 - rows are no pairs
    if not claimed:
        return []
    rows = connection.execute(
        update(videos)
        .where(_is_submitting, videos.c.lease_until <= now)
        .values(
            state=case((videos.c.job_id.is_(None), State.IN_DOUBT), else_=State.SUBMITTED),
            attempts=videos.c.attempts + 1,
            http_status=None,
            error=why,
            updated_at=now,
        )
        .returning(videos.c.id, videos.c.claims, videos.c.claimed_by)
    )
    expired = [Expired(video_id=r.id, attempt=r.claims, claimed_by=r.claimed_by) for r in rows]
    facts = [
        {
            "video_id": e.video_id,
            "attempt": e.attempt,
            "at": now,
            "who": worker,
            "fact": Fact.IN_DOUBT,
            "started_at": claimed[e.video_id],
            "message": why,
        }
        for e in expired
    ]
    connection.execute(insert(history), facts)
    return expired


_GONE = Prepared(
    select(videos.c.id, videos.c.updated_at).where(
        _is_submitting, videos.c.lease_until <= bindparam("now", type_=videos.c.lease_until.type)
    )
)


def repeat_doubts(
    connection: Connection, recorded_before: datetime, max_attempts: int, now: datetime, worker: str
) -> list[int]:
    """``on_doubt = retry``: doubts recorded before that moment are due again, which may buy twice,
    unless their attempts are used up. The doubt itself stays in the history (law 5).
    """
    rows = connection.execute(
        update(videos)
        .where(videos.c.updated_at <= recorded_before, *_repeatable(max_attempts))
        .values(state=State.PENDING, due_at=now, updated_at=now, **UNCLAIMED)
        .returning(videos.c.id, videos.c.claims)
    )
    repeated = [
        {
            "video_id": row.id,
            "attempt": row.claims,
            "at": now,
            "who": worker,
            "fact": Fact.RETRY,
            "message": "on_doubt = retry: may buy twice",
        }
        for row in rows
    ]
    if repeated:
        connection.execute(insert(history), repeated)
    return [row["video_id"] for row in repeated]


def oldest_doubt(connection: Connection, max_attempts: int) -> datetime | None:
    """When the oldest doubt was recorded that ``repeat_doubts`` will take up."""
    recorded = func.min(videos.c.updated_at, type_=videos.c.updated_at.type)
    oldest: datetime | None = connection.scalar(select(recorded).where(*_repeatable(max_attempts)))
    return oldest


def count_repeatable(connection: Connection, max_attempts: int) -> int:
    """How many doubts ``repeat_doubts`` will take up, sooner or later."""
    doubts = select(func.count()).select_from(videos).where(*_repeatable(max_attempts))
    return connection.execute(doubts).scalar_one()


def _repeatable(max_attempts: int) -> tuple[ColumnElement[bool], ...]:
    return (_is_in_doubt, videos.c.attempts < max_attempts, videos.c.job_id.is_(None))
