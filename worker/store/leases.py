"""Put videos in doubt when their lease runs out, and repeat them under ``on_doubt = retry``."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, func, select, update

from worker.core.model import Expired, Fact, State
from worker.db import batch
from worker.db.schema import is_in_doubt, is_submitting, videos
from worker.db.statements import Prepared
from worker.store.history import record
from worker.store.queue import PASSED_OVER, TWIN_ID, UNCLAIMED
from worker.store.statistics import number_of


def expire(
    connection: Connection, now: datetime, worker: str, aside: Collection[int] = ()
) -> list[Expired]:
    """Put every video whose lease ran out in doubt (law 4); one that has a job id is submitted. The
    claim token stays, so that a late answer can still settle its attempt. The attempt counts as
    started when it was claimed, since no later time is known to be right.
    """
    why = "the lease ran out: its worker stopped or hung before the answer was settled"
    claimed_at = {n: at for n, at in _ENDING(connection, now=now) if n not in aside}
    if not claimed_at:
        return []
    meant = batch.encoded((each,) for each in claimed_at)
    rows = connection.execute(
        update(videos)
        .where(videos.c.id == _meant.c.id)
        .values(
            state=case((videos.c.job_id.is_(None), State.IN_DOUBT), else_=State.SUBMITTED),
            attempts=videos.c.attempts + 1,
            http_status=None,
            error=why,
            updated_at=now,
        )
        .returning(videos.c.id, videos.c.claims, videos.c.claimed_by),
        {"meant": meant},
    )
    expired = [Expired(video_id=r.id, attempt=r.claims, claimed_by=r.claimed_by) for r in rows]
    if len(expired) < len(claimed_at):
        raise ValueError(PASSED_OVER)
    attempts = [(each.video_id, each.attempt, claimed_at[each.video_id]) for each in expired]
    record(connection, attempts, Fact.IN_DOUBT, now, worker, message=why)
    return expired


def lapsed(connection: Connection, now: datetime) -> list[int]:
    """Return the videos whose lease has run out."""
    return [row[0] for row in _GONE(connection, now=now)]


_has_run_out = (is_submitting, videos.c.lease_until <= bindparam("now"))
_gone = select(videos.c.id, videos.c.updated_at).where(*_has_run_out)
_GONE, _ENDING = Prepared(_gone), Prepared(_gone.with_for_update(skip_locked=True))
"""Those that run out, and those that can be written: what another program holds on PostgreSQL is
passed over, and ends later.
"""
_meant = batch.rows("meant", videos.c.id)


def repeat_doubts(
    connection: Connection, recorded_before: datetime, max_attempts: int, now: datetime, worker: str
) -> list[int]:
    """Make doubts recorded up to ``recorded_before`` due again, and return their videos' ids. It
    may buy them twice. Videos whose attempts are used up stay in doubt, and the history keeps the
    doubt of each (law 5).
    """
    repeated = connection.execute(
        update(videos)
        .where(videos.c.updated_at <= recorded_before, *_repeatable(max_attempts))
        .values(state=State.PENDING, due_at=now, updated_at=now, **UNCLAIMED)
        .returning(videos.c.id, videos.c.claims)
    ).all()
    record(connection, repeated, Fact.RETRY, now, worker, message="on_doubt = retry: may buy twice")
    return [row.id for row in repeated]


def oldest_doubt(connection: Connection, max_attempts: int) -> datetime | None:
    """Return when the oldest doubt was recorded that ``repeat_doubts`` can repeat (UTC)."""
    recorded: Select[datetime] = select(func.min(videos.c.updated_at))
    return connection.scalar(recorded.where(*_repeatable(max_attempts)))


def count_repeatable(connection: Connection, max_attempts: int) -> int:
    """Count the doubts that ``repeat_doubts`` can repeat, now or later."""
    return number_of(connection, videos, *_repeatable(max_attempts))


def _repeatable(max_attempts: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions. One whose address another video has bought would be refused, and be in
    doubt again (law 17).
    """
    left = videos.c.attempts < max_attempts
    return (is_in_doubt, left, videos.c.job_id.is_(None), TWIN_ID.is_(None))
