"""Count jobs and their results through indexes, and name what was paid for nothing lately (UTC)."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, literal, select

from worker.core.model import value
from worker.db.column_types import EPOCH, Bound
from worker.db.schema import is_open, jobs
from worker.store.results import counts, waits
from worker.store.search import WASTED
from worker.store.statistics import number_of

LATELY = timedelta(days=1)

STATUSES = ("queued", "on_hold", "preparing_analysis", "processing")
"""The documented statuses of a job in progress (worker/api/README.md, section 4)."""

UNASKED = "not asked yet"
"""Stands for the status of a job of which nothing is known."""


@value
class JobNumbers:
    """The jobs in numbers.

    Attributes:
        open: Jobs in progress, by their status.
        overdue: Those of them that should have ended long ago.
        ended: By how they ended. ``results``: by their state; ``results_wait``: for what.
        wasted: Jobs that ended in error within ``LATELY``, paid for nothing.
        wasted_at: When the last of those ends was written; a list may have shown it before.
        wasted_host: Of the first. ``wasted_details``: Of the first too.
    """

    open: Mapping[str, int]
    overdue: int
    ended: Mapping[str, int]
    results: Mapping[str, int]
    results_wait: str | None
    wasted: int
    wasted_at: datetime | None
    wasted_host: str | None
    wasted_details: str | None


def numbers(connection: Connection, now: datetime) -> JobNumbers:
    """Return the jobs in numbers at ``now``."""
    planned = jobs.c.next_poll_at > literal(EPOCH, Bound)
    by_status = select(func.coalesce(jobs.c.status, UNASKED), func.count())
    followed = by_status.where(is_open, planned).group_by(jobs.c.status)
    in_progress: dict[str, int] = dict(connection.execute(followed).all())
    unended = number_of(connection, jobs, is_open)
    in_progress[UNASKED] = in_progress.get(UNASKED, 0) + unended - sum(in_progress.values())
    # The finished ones are the rest: all rows are counted at once, a million of an end are not.
    ended = {end: number_of(connection, jobs, jobs.c.ended_as == end) for end in WASTED}
    finished = number_of(connection, jobs) - unended - sum(ended.values())
    was_planned = jobs.c.next_poll_at.is_not(None)  # others ended before an upgrade, perhaps
    lately = jobs.c.ended_at > literal(now - LATELY, Bound)
    wasted = (jobs.c.ended_as == "error", lately, was_planned)
    first = select(jobs.c.host, jobs.c.details).where(*wasted).order_by(jobs.c.ended_at).limit(1)
    wasted_of = select(func.count(), func.max(jobs.c.polled_at)).where(*wasted)
    number_wasted, wasted_at = connection.execute(wasted_of).one()
    host, details = connection.execute(first).first() or (None, None)
    return JobNumbers(
        open={status: number for status, number in in_progress.items() if number},
        overdue=number_of(connection, jobs, is_open, jobs.c.overdue_since.is_not(None)),
        ended={"finished": finished, **ended},
        results=counts(connection),
        results_wait=waits(connection, now),
        wasted=number_wasted,
        wasted_at=wasted_at,
        wasted_host=host,
        wasted_details=details,
    )
