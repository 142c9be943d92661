"""Record facts in the history, one for each attempt. Does not judge them."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, insert

from worker.core.model import Fact
from worker.db.schema import history

Attempt = tuple[int, int] | tuple[int, int, datetime]
"""A video's id, the number of its attempt, and its start where one is known (UTC)."""

_ATTEMPT = ("video_id", "attempt", "started_at")


def record(
    connection: Connection,
    attempts: Iterable[Attempt],
    fact: Fact,
    now: datetime,
    who: str,
    *,
    message: str | None = None,
    job_id: object = None,
) -> int:
    """Record the same fact of each attempt and return how many there were."""
    same = {"at": now, "who": who, "fact": fact, "message": message, "job_id": job_id}
    rows = [{**dict(zip(_ATTEMPT, attempt, strict=False)), **same} for attempt in attempts]
    if rows:
        connection.execute(insert(history), rows)
    return len(rows)
