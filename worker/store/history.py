"""Record facts in the history, and read which doubts of it are open. Judges none."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, exists, insert, literal_column, or_, select, text

from worker.core.model import Fact
from worker.db.schema import history

CLOSING_FACTS = (Fact.LATE_ANSWER, Fact.FOUND, Fact.ABSENT)
"""Facts that settle the doubt about the attempt that they name. A person who finds the job settles
the doubts about all attempts up to then; one who gives up settles none."""

IS_DOUBT = history.c.fact == text("'in_doubt'")
"""Said as a literal, so that the partial index on doubts serves it."""

_closing = history.alias()
_found = and_(_closing.c.fact == text("'resolve'"), _closing.c.job_id.is_not(None))
_closed = exists().where(
    _closing.c.video_id == history.c.video_id,
    _closing.c.id > history.c.id,
    or_(
        and_(
            _closing.c.attempt == history.c.attempt,
            _closing.c.fact.in_([literal_column(f"'{fact}'") for fact in CLOSING_FACTS]),
        ),
        and_(_closing.c.attempt >= history.c.attempt, _found),
    ),
)
IS_OPEN_DOUBT = and_(IS_DOUBT, ~_closed)
"""A fact of the history that nothing has settled since (law 5)."""

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


def open_doubts(connection: Connection, video_ids: Sequence[int]) -> dict[int, set[int]]:
    """Return the attempts of these videos whose doubt no later fact has settled (law 5)."""
    if not video_ids:
        return {}
    theirs = history.c.video_id.in_(video_ids)
    rows = select(history.c.video_id, history.c.attempt).where(theirs, IS_OPEN_DOUBT)
    doubts: dict[int, set[int]] = {}
    for video_id, attempt in connection.execute(rows):
        doubts.setdefault(video_id, set()).add(attempt)
    return doubts
