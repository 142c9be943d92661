"""Claim due videos, and look at what lies ahead. Moments are UTC."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    update,
)

from worker.core.host import LONGEST_WAIT
from worker.core.model import REQUEST_COLUMNS, Claim, State, Twin, Video
from worker.core.redact import readable
from worker.db import batch
from worker.db.schema import (
    RANDOM,
    history,
    identifier,
    is_pending,
    is_submitting,
    jobs,
    pruned,
    videos,
)
from worker.db.statements import Prepared
from worker.store.history import IS_DOUBT, IS_OPEN_DOUBT

HIGHEST, LOWEST = 2**63 - 1, -(2**63)
"""Priorities that no other one passes."""

APART = 64
"""Priorities that a claim takes one by one: some milliseconds, on a server as many round trips."""

LEVELS = 10_000
"""Priorities that one look ahead goes through, some 0.1 s."""

PASSED_OVER = "a trigger passes it over"
"""The reason for a row that a statement leaves unwritten without an error."""

ID, URL, TWIN = 0, 5, -1
"""Places in a row that can be claimed."""

Row = Sequence[Any]
"""A video that can be claimed: what a claim needs of it."""

UNCLAIMED = {"claim_token": null(), "claimed_by": null(), "lease_until": null()}
UNCHECKED = case((videos.c.http_status == text("500"), text("500")), else_=null())
"""The status of a video that starts anew: after a 500 a list is read first all the same."""

UNSENT = {"attempts": 0, "error": None, "http_status": UNCHECKED, "held_host": None, **UNCLAIMED}


def submitted(job_id: object, now: datetime) -> dict[str, object]:
    """Return the columns of a video that gets its job in another way than by its attempt."""
    job = {"job_id": job_id, "submitted_at": now, "error": None, "held_host": None}
    return {"state": State.SUBMITTED, **job, **UNCLAIMED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """The work that is due at a moment, and when there will be more (UTC)."""

    due: bool
    next_due_at: datetime | None
    next_lease_end: datetime | None


@dataclass(slots=True)
class Unwritable:
    """The videos that a process leaves alone, since the database refuses to write them (law 14).
    ``tried``: those of a claim that is being written.
    """

    known: set[int] = field(default_factory=set)
    tried: list[int] = field(default_factory=list)


def claim(
    connection: Connection, rows: Sequence[Row], now: datetime, worker: str, lease_until: datetime
) -> list[Claim]:
    """Take these videos as an intent that the transaction's commit puts on disk (law 1)."""
    if not rows:
        return []
    twins = twins_of(connection, [row[0] for row in rows if row[-1] is not None])
    claims = [_claim(row, lease_until, twins) for row in rows]
    names = {row[0]: row[-3] for row in rows}
    given = {"now": now, "lease_until": lease_until, "worker": worker}
    kept = [(c.video_id, c.token) for c in claims if c.request_id == names[c.video_id]]
    renamed = [
        (c.video_id, c.token, c.request_id) for c in claims if c.request_id != names[c.video_id]
    ]
    done = 0
    for statement, taken in ((_CLAIM, kept), (_CLAIM_AND_NAME, renamed)):
        if taken:
            done += statement.write(connection, taken=batch.encoded(taken), **given)
    if done < len(claims):
        raise ValueError(PASSED_OVER)
    return claims


def _claim(row: Row, lease_until: datetime, twins: Mapping[int, Twin]) -> Claim:
    video_id, claims, attempts, token, request_id, *request, _, may_buy_twice, _ = row
    return Claim(
        video_id=video_id,
        video=Video(**dict(zip(REQUEST_COLUMNS, request, strict=True))),
        attempt=claims + 1,
        attempts=attempts,
        token=token,
        request_id=readable(request_id),
        lease_until=lease_until,
        may_buy_twice=bool(may_buy_twice),
        twin=twins.get(video_id),
    )


def twins_of(connection: Connection, video_ids: Sequence[int]) -> dict[int, Twin]:
    """Return the first twin of each of these videos that has one."""
    if not video_ids:
        return {}
    meant = batch.encoded((each,) for each in video_ids)
    rows = (*_TWINS(connection, meant=meant), *_PRUNED_TWINS(connection, meant=meant))
    latest_first = sorted(rows, key=lambda row: row[1], reverse=True)
    return {mine: Twin(other, State(state), job) for mine, other, state, job in latest_first}


def _claiming(*named: str) -> Prepared:
    columns = ("claim_token", *named)
    taken = batch.rows("taken", videos.c.id, *(videos.c[name] for name in columns))
    return Prepared(
        update(videos)
        .where(videos.c.id == taken.c.id)
        .values(
            state=State.SUBMITTING,
            claims=videos.c.claims + 1,
            claimed_by=bindparam("worker"),
            lease_until=bindparam("lease_until"),
            updated_at=bindparam("now"),
            held_host=null(),
            **{name: taken.c[name] for name in columns},
        )
    )


_CLAIM, _CLAIM_AND_NAME = _claiming(), _claiming("request_id")
"""An identifier is written only where it changes: anew, it costs its place in an index, which is a
page somewhere in the file. One that is no text is made one (law 14).
"""


def due(
    connection: Connection,
    limit: int,
    now: datetime,
    checked_until: datetime | None,
    aside: Collection[int] = (),
) -> list[Row]:
    """Return the next videos without those ``aside``, highest priority and longest due first. A
    video that a 500 turned away after ``checked_until`` waits until it is checked against the API's
    list.
    """
    rows: list[Row] = []
    level, most = HIGHEST, limit + len(aside)
    given = {"now": now, "checked_until": checked_until}
    # In plain order of priority, a million rows that are due later at a higher one would all be
    # passed over at each claim; priority by priority, a million that have a priority each.
    for _ in range(APART):
        found = _DUE(connection, level=level, limit=most - len(rows), **given)
        highest = found[0][0]
        rows += [row[1:] for row in found if row[1] is not None]
        if highest is None or highest == LOWEST or len(rows) == most:
            break
        level = highest - 1
    else:
        rows += _REST(connection, level=level, limit=most - len(rows), **given)
    return [row for row in rows if row[ID] not in aside][:limit]


HELD_AT_MOST = LONGEST_WAIT + timedelta(hours=1)
"""A hold postpones by a day, and clocks differ: a ``due_at`` beyond this is a person's."""


def first_held(
    connection: Connection, host: str, aside: Collection[int], latest: datetime
) -> list[Row]:
    """Return the oldest video that is held for this host and due by ``latest``, without those
    ``aside``.
    """
    held = (is_pending, videos.c.held_host == host, videos.c.due_at <= latest)
    its_own = select(func.min(videos.c.id)).where(*held, videos.c.id.not_in(aside))
    first = its_own.scalar_subquery()
    its = select(*_COLUMNS).where(is_pending, videos.c.id == first)
    return list(connection.execute(its.with_for_update(of=videos, skip_locked=True)))


_first_fact = select(func.min(history.c.id))
_may_be_known = or_(history.c.started_at.is_not(None), IS_DOUBT)
_sent = _first_fact.where(history.c.video_id == videos.c.id, _may_be_known).scalar_subquery()
"""A fact that the API may know the identifier by. The constant is no parameter, since SQLite would
compile the statement anew each time: a partial index asks for that column. It is no EXISTS, since
PostgreSQL would read all of the history at once where it expects many rows.
"""
_request_id = case(
    (videos.c.claims == 0, identifier),
    (_sent.is_not(None), videos.c.request_id),
    else_=func.coalesce(func.nullif(videos.c.media_id, ""), RANDOM),
)
"""Where the API cannot know the identifier, a mended media id takes its place."""
_is_checked = or_(
    videos.c.http_status.is_distinct_from(text("500")),
    videos.c.updated_at <= bindparam("checked_until"),
)
"""True for a video whose last answer allows to send it: a 500 may have made a job after all
(worker/api/README.md, section 15, line 8).
"""

_twin = videos.alias("twin")
_open_doubt = _first_fact.where(history.c.video_id == _twin.c.id, IS_OPEN_DOUBT).scalar_subquery()
_had_a_job = select(jobs.c.video_id).where(jobs.c.video_id == _twin.c.id).limit(1).scalar_subquery()
_may_have_bought = or_(
    _twin.c.job_id.is_not(None),
    _twin.c.state == text("'submitting'"),
    _twin.c.state == text("'in_doubt'"),
    (_twin.c.state == text("'pending'")) & (_twin.c.http_status == text("500")),
    _open_doubt.is_not(None),
    _had_a_job.is_not(None),
)
"""The last one: it is bought again, and was cancelled perhaps, or has failed."""
_is_twin = (_twin.c.url == videos.c.url, _twin.c.id != videos.c.id, _may_have_bought)
_first_twin = (
    select(_twin.c.id)
    .where(videos.c.may_buy_twice == text("0"), *_is_twin)
    .limit(1)
    .scalar_subquery()
)
"""Any twin of a row that may not be bought twice. For an order, PostgreSQL would walk the table."""
_pruned_twin = (
    select(pruned.c.id)
    .where(videos.c.may_buy_twice == text("0"), pruned.c.url == videos.c.url)
    .limit(1)
    .scalar_subquery()
)
TWIN_ID = func.coalesce(_first_twin, _pruned_twin)
"""A video that has bought this one's address, or may have; NULL without one (law 17)."""

_meant = batch.rows("meant", videos.c.id)
_of_meant = _meant.join(videos, videos.c.id == _meant.c.id)
_TWINS = Prepared(
    select(videos.c.id, _twin.c.id, _twin.c.state, _twin.c.job_id)
    .select_from(_of_meant.join(_twin, true()))
    .where(*_is_twin)
)
_PRUNED_TWINS = Prepared(
    select(videos.c.id, pruned.c.id, literal_column("'submitted'"), pruned.c.job_id).select_from(
        _of_meant.join(pruned, pruned.c.url == videos.c.url)
    )
)

_level = (
    select(func.max(videos.c.priority))
    .where(is_pending, videos.c.priority <= bindparam("level"))
    .scalar_subquery()
)
_COLUMNS = (
    videos.c.id,
    videos.c.claims,
    videos.c.attempts,
    RANDOM.label("token"),
    _request_id.label("request_id"),
    *(videos.c[name] for name in REQUEST_COLUMNS),
    videos.c.request_id.label("known_as"),
    videos.c.may_buy_twice,
    TWIN_ID.label("twin"),
)
_ORDER = (videos.c.priority.desc(), videos.c.due_at, videos.c.id)
_due = (
    select(*_COLUMNS)
    .where(is_pending, videos.c.due_at <= bindparam("now"), _is_checked)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
"""PostgreSQL locks what it finds, and passes over what another program is changing just now."""
_of_level = _due.where(videos.c.priority == _level).order_by(*_ORDER[1:])
_next_due = _of_level.subquery("next_due")
_highest = select(_level.label("level")).subquery("highest")
_DUE = Prepared(select(_highest, _next_due).select_from(_highest.outerjoin(_next_due, true())))
"""One row at least: the level, and nothing beside it where no video of it is due."""
_REST = Prepared(_due.where(videos.c.priority <= bindparam("level")).order_by(*_ORDER))


def ahead(
    connection: Connection,
    now: datetime,
    checked_until: datetime | None,
    aside: Collection[int] = (),
    held_hosts: int = 0,
) -> Ahead:
    """Return if anything may be claimed, and when that can change. Those ``aside`` do not count,
    nor, with ``held_hosts``, those that are held for their host or their upload until later.
    """
    others = (videos.c.id.not_in(aside),) if aside else ()
    unheld = (or_(videos.c.held_host.is_(None), videos.c.due_at <= now),) if held_hosts else ()
    soonest = _soonest(*others, *unheld) if others or unheld else _SOONEST
    given = {"now": now, "checked_until": checked_until}
    first, lowest, number = connection.execute(soonest, given).one()
    due = first is not None and first <= now
    if not due and number == LEVELS:
        rest = select(func.min(videos.c.due_at)).where(is_pending, _is_checked, *others, *unheld)
        below = connection.scalar(rest.where(videos.c.priority < lowest), given)
        first = min(first, below or first)
        due = first <= now
    lease_end = connection.scalar(_NEXT_LEASE_END.where(*others))
    return Ahead(due=due, next_due_at=None if due else first, next_lease_end=lease_end)


def _soonest(*wanted: ColumnElement[bool]) -> Select[datetime, int, int]:
    """Return the query for the first moment at which a pending video is due, by the first video of
    each priority, from the highest down to one that is due. With it: the lowest of ``LEVELS``
    priorities, and how many there were.
    """
    rows = select(videos).where(is_pending, _is_checked, *wanted).order_by(*_ORDER).limit(1)
    columns = (videos.c.priority, videos.c.due_at)

    def firsts(below: ColumnElement[bool]) -> Select[int, datetime]:
        its = (rows.where(below).with_only_columns(each) for each in columns)
        priority, due_at = (each.scalar_subquery() for each in its)
        return select(priority.label("priority"), due_at.label("due_at"))

    levels = firsts(videos.c.priority <= text(str(HIGHEST))).cte("levels", recursive=True)
    lower = firsts(videos.c.priority < levels.c.priority)
    levels = levels.union_all(lower.where(levels.c.due_at > bindparam("now")))
    counted = select(levels).limit(LEVELS).subquery("counted")
    return select(func.min(counted.c.due_at), func.min(counted.c.priority), func.count())


_SOONEST = _soonest()
_NEXT_LEASE_END = select(func.min(videos.c.lease_until)).where(is_submitting)
