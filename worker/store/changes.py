"""What people change in the queue by a verdict: cancel, resolve. Moments are UTC.

Each change names the states that it accepts in its own UPDATE (design.md, section 2), so what has
moved on meanwhile is left.
"""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from worker.core.advice import GIVEN_UP
from worker.core.model import Fact, State
from worker.db.schema import history, videos
from worker.store.queue import UNCLAIMED
from worker.store.search import Filter

CANCELLED_STATES = (State.PENDING, State.FAILED)
"""The states that ``cancel`` accepts."""


def cancel(connection: Connection, wanted: Filter, now: datetime, who: str) -> int:
    """Take pending and failed videos out of the queue; ``retry`` brings them back. Returns how
    many.
    """
    rows = connection.execute(
        update(videos)
        .where(*wanted.clauses(), videos.c.state.in_(CANCELLED_STATES), videos.c.job_id.is_(None))
        .values(state=State.CANCELLED, updated_at=now)
        .returning(videos.c.id, videos.c.claims)
    )
    facts = [
        {"video_id": row.id, "attempt": row.claims, "at": now, "who": who, "fact": Fact.CANCEL}
        for row in rows
    ]
    if facts:
        connection.execute(insert(history), facts)
    return len(facts)


def holder_of(connection: Connection, job_id: str) -> int | None:
    """The video that has this job."""
    holder: int | None = connection.scalar(select(videos.c.id).where(videos.c.job_id == job_id))
    return holder


def resolve(
    connection: Connection, video_id: int, job_id: str | None, now: datetime, who: str
) -> bool:
    """Settle a doubt by a person's word: it is ``job_id``, or it is given up (None). False where
    the video is in doubt no more. All doubts of the video end with it.
    """
    found = job_id is not None
    attempt = connection.scalar(
        update(videos)
        .where(videos.c.id == video_id, videos.c.state == State.IN_DOUBT)
        .values(
            state=State.SUBMITTED if found else State.FAILED,
            job_id=job_id,
            submitted_at=now if found else None,
            error=None if found else GIVEN_UP,
            updated_at=now,
            **UNCLAIMED,
        )
        .returning(videos.c.claims)
    )
    if attempt is None:
        return False
    connection.execute(
        insert(history).values(
            video_id=video_id,
            attempt=attempt,
            at=now,
            who=who,
            fact=Fact.RESOLVE,
            message="found by a person" if found else "given up by a person",
            job_id=job_id,
        )
    )
    return True
