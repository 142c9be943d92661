"""Count the facts of each minute through indexes. Moments are UTC."""

from collections import Counter
from datetime import UTC, datetime

from sqlalchemy import Connection, func, literal, select

from worker.core.model import Fact
from worker.db.column_types import Bound, DialectSQL
from worker.db.schema import history

Minutes = dict[datetime, Counter[Fact]]

_minute = DialectSQL(
    sqlite="substr(history.at, 1, 16)",
    postgresql="to_char(history.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')",
)


def minutes(connection: Connection, since: datetime, until: datetime) -> Minutes:
    """Return the facts from ``since`` and before ``until`` by the minute in which they came."""
    lately = (history.c.at >= literal(since, Bound), history.c.at < literal(until, Bound))
    found: Minutes = {}
    for has_job in (history.c.job_id.is_not(None), history.c.job_id.is_(None)):
        counted = (
            select(_minute.label("minute"), history.c.fact, func.count().label("number"))
            .where(has_job, *lately)
            .group_by("minute", history.c.fact)
        )
        for minute, fact, number in connection.execute(counted):
            at = datetime.fromisoformat(minute).replace(tzinfo=UTC)
            if fact in set(Fact):
                found.setdefault(at, Counter())[Fact(fact)] += number
    return found
