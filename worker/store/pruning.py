"""Prune videos that are finished for long, with their history. Moments are UTC.

A video that has a job leaves its address and its job in the table ``pruned``, which imports and
claims look into: it is not bought again (law 17). The numbers that its history brought stay in
``account``.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, delete, func, insert, literal
from sqlalchemy.sql import and_, or_, select, text, update

from worker.core.model import State
from worker.core.pruning import horizon
from worker.db.column_types import Bound
from worker.db.schema import (
    account,
    history,
    is_in_doubt,
    is_open,
    jobs,
    pruned,
    results,
    uploads,
    videos,
)
from worker.store import caps, shared_state
from worker.store.doubts import IS_ACCEPTANCE
from worker.store.history import IS_DOUBT, IS_OPEN_DOUBT
from worker.store.queue import PASSED_OVER
from worker.store.statistics import number_of

PRUNED_STATES = (State.SUBMITTED, State.FAILED, State.CANCELLED)

LOOKED_AT = 1_000
"""Videos of one look, which takes some milliseconds and holds no writer up."""


def boundary(connection: Connection, now: datetime, asked: datetime) -> datetime:
    """Return the moment before which videos are pruned: at most ``asked``. The acceptances from the
    last one before a doubt on are kept, since a verdict on the doubt needs them.
    """
    doubted = select(videos.c.id).where(is_in_doubt)
    begun = func.min(func.coalesce(history.c.started_at, history.c.at))
    first = connection.scalar(select(begun).where(IS_DOUBT, history.c.video_id.in_(doubted)))
    before = horizon(now, asked)
    if first is None:
        return before
    accepted: Select[datetime] = select(func.max(history.c.at))
    earlier = connection.scalar(accepted.where(IS_ACCEPTANCE, history.c.at <= first))
    return min(before, earlier or first)


def look(
    connection: Connection, after: int, before: datetime, follow: str
) -> tuple[Sequence[int], int | None]:
    """Return the videos to prune among the next ones after the id ``after``, and the last id looked
    at, None at the end of the table.
    """
    page = select(videos.c.id, and_(*_prunable(before, follow))).where(videos.c.id > after)
    rows = connection.execute(page.order_by(videos.c.id).limit(LOOKED_AT)).all()
    return [number for number, is_old in rows if is_old], rows[-1][0] if rows else None


def count(connection: Connection, before: datetime, follow: str) -> int:
    """Count the videos to prune."""
    return number_of(connection, videos, *_prunable(before, follow))


def prune(
    connection: Connection, ids: Sequence[int], before: datetime, follow: str, now: datetime
) -> int:
    """Prune these videos and return how many: none that was changed meanwhile, and none of a queue
    that has moved.
    """
    if shared_state.read(connection).moved_to is not None:
        return 0
    still = select(videos.c.id).where(videos.c.id.in_(ids), *_prunable(before, follow))
    ids = connection.scalars(still).all()
    theirs, meant = history.c.video_id.in_(ids), videos.c.id.in_(ids)
    known = {
        "pruned_jobs": number_of(connection, history, theirs, history.c.job_id.is_not(None)),
        "pruned_attempts": caps.counted(connection, theirs),
    }
    named = [name for name in pruned.c.keys() if name in videos.c]  # noqa: SIM118 - a collection of columns
    bought = select(*(videos.c[name] for name in named), literal(now, pruned.c.pruned_at.type))
    rows = bought.where(meant, videos.c.job_id.is_not(None))
    connection.execute(insert(pruned).from_select([*named, "pruned_at"], rows))
    its = select(jobs.c.job_id).where(jobs.c.video_id.in_(ids))
    connection.execute(delete(results).where(results.c.job_id.in_(its)))
    connection.execute(delete(jobs).where(jobs.c.video_id.in_(ids)))
    connection.execute(delete(history).where(theirs))
    connection.execute(delete(uploads).where(uploads.c.video_id.in_(ids)))
    if connection.execute(delete(videos).where(meant)).rowcount < len(ids):
        raise ValueError(PASSED_OVER)
    connection.execute(
        update(account).values({n: account.c[n] + more for n, more in known.items()})
    )
    return len(ids)


def _prunable(before: datetime, follow: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions. A job must have ended, unless no job is followed to its end, and no
    result of it be wanted: a person may prune without the settings of the run that fetches it.
    """
    at, job = literal(before, Bound), history.c.job_id
    unfetched = (results.c.job_id == jobs.c.job_id, results.c.state == text("'wanted'"))
    return (
        videos.c.state.in_(PRUNED_STATES),
        videos.c.updated_at < at,
        or_(videos.c.submitted_at.is_(None), videos.c.submitted_at < at),
        _has_no(history.c.id, history.c.at >= at),
        _has_no(history.c.id, IS_OPEN_DOUBT),
        *((_has_no(jobs.c.job_id, is_open),) if follow != "off" else ()),
        _has_no(jobs.c.job_id, *unfetched),
        # A job that the row does not name would be forgotten with the history; so would one that a
        # last 500 may have made.
        _has_no(history.c.id, job.is_not(None), job.is_distinct_from(videos.c.job_id)),
        _has_no(jobs.c.job_id, jobs.c.job_id.is_distinct_from(videos.c.job_id)),
        or_(videos.c.job_id.is_not(None), videos.c.http_status.is_distinct_from(text("500"))),
    )


def _has_no(key: Column[Any], *wanted: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a video has no such row in the table of this key. It is no EXISTS,
    for which PostgreSQL would read the whole table at each look.
    """
    its = key.table.c.video_id == videos.c.id
    return select(func.min(key)).where(its, *wanted).correlate(videos).scalar_subquery().is_(None)
