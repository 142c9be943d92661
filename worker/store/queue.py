"""The queue as verbs: claim, and what lies ahead.

Knows no HTTP and no clock: moments (UTC) are arguments. Each verb is called inside a write
transaction, so what it reads holds until it has written.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from worker.core.model import (
    REQUEST_COLUMNS,
    Claim,
    Fact,
    State,
    Video,
)
from worker.prepared import Prepared
from worker.store import batch
from worker.tables import RANDOM, history, videos

HIGHEST, LOWEST = 2**63 - 1, -(2**63)
"""Priorities that no other one passes."""

UNCLAIMED = {"claim_token": None, "claimed_by": None, "lease_until": None}
_is_pending = videos.c.state == text("'pending'")
_is_submitting = videos.c.state == text("'submitting'")
_is_in_doubt = videos.c.state == text("'in_doubt'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What there is to do at a moment, and when there will be more (UTC)."""

    due: bool
    next_due_at: datetime | None
    next_lease_end: datetime | None


def claim(
    connection: Connection,
    limit: int,
    now: datetime,
    worker: str,
    lease_until: datetime,
    looked_up_to: datetime | None,
) -> list[Claim]:
    """Take up to ``limit`` due videos, highest priority and longest due first, as an intent that
    the transaction's commit puts on disk (law 1). What a 500 has turned away after
    ``looked_up_to`` waits until it is looked up in the API's list.
    """
    ids = _due(connection, limit, now, looked_up_to)
    if not ids:
        return []
    wanted = batch.encoded(ids)
    _NAME(connection, ids=wanted)
    _CLAIM(connection, ids=wanted, now=now, lease_until=lease_until, worker=worker)
    ((taken,),) = _CLAIMED(connection, ids=wanted)
    return [_claim(fields, lease_until) for _, *fields in sorted(batch.decoded(taken))]


_was_sent = exists().where(
    history.c.video_id == videos.c.id,
    or_(history.c.started_at.is_not(None), history.c.fact == Fact.IN_DOUBT),
)
"""Whether the API may know the identifier. Where it cannot, a mended media id takes its place."""

_ids = batch.values("ids", videos.c.id.type)
_taken = videos.c.id.in_(select(_ids.c.value))
_name = func.nullif(videos.c.media_id, "")
_NAME = Prepared(
    update(videos)
    .where(_taken, or_(_name.is_not(None), videos.c.claims > 0))
    .values(
        request_id=case(
            (videos.c.claims == 0, _name),
            (_was_sent, videos.c.request_id),
            else_=func.coalesce(_name, RANDOM),
        )
    )
)
"""Only where it may change: to write an identifier anew costs its place in an index, which is a
page somewhere in the file.
"""
_CLAIM = Prepared(
    update(videos)
    .where(_taken)
    .values(
        state=State.SUBMITTING,
        claims=videos.c.claims + 1,
        claim_token=RANDOM,
        claimed_by=bindparam("worker", type_=videos.c.claimed_by.type),
        lease_until=bindparam("lease_until", type_=videos.c.lease_until.type),
        updated_at=bindparam("now", type_=videos.c.updated_at.type),
    )
)
_CLAIMED = Prepared(
    select(
        batch.gathered(
            (
                _ids.c.place,
                videos.c.id,
                videos.c.claims,
                videos.c.attempts,
                videos.c.claim_token,
                videos.c.request_id,
                *(videos.c[name] for name in REQUEST_COLUMNS),
            )
        )
    ).select_from(_ids.join(videos, videos.c.id == _ids.c.value))
)


def _claim(fields: list[Any], lease_until: datetime) -> Claim:
    video_id, claims, attempts, token, request_id, *request = fields
    return Claim(
        video_id=video_id,
        video=Video(**dict(zip(REQUEST_COLUMNS, request, strict=True))),
        attempt=claims,
        attempts=attempts,
        token=token,
        request_id=request_id,
        lease_until=lease_until,
    )


def _due(
    connection: Connection, limit: int, now: datetime, looked_up_to: datetime | None
) -> list[int]:
    """The next ids, walking the distinct priorities: in plain order of priority, a million rows
    that are due later at a higher one would all be passed over at each claim.
    """
    ids: list[int] = []
    below = HIGHEST
    while len(ids) < limit:
        wanted = {"level": below, "now": now, "looked_up_to": looked_up_to}
        ((level, found),) = _DUE(connection, **wanted, limit=limit - len(ids))
        if level is None:
            break
        ids += batch.decoded(found)
        if level == LOWEST:
            break
        below = level - 1
    return ids


_looked_up = or_(
    videos.c.http_status.is_distinct_from(text("500")),
    videos.c.updated_at <= bindparam("looked_up_to", type_=videos.c.updated_at.type),
)
"""Whether a video may be sent as far as its last answer goes: a 500 may have made a job after all
(valossa-api.md, section 15, line 8).
"""

_level = (
    select(func.max(videos.c.priority))
    .where(_is_pending, videos.c.priority <= bindparam("level"))
    .scalar_subquery()
)
_next_due = (
    select(videos.c.id)
    .where(
        _is_pending,
        videos.c.priority == _level,
        videos.c.due_at <= bindparam("now", type_=videos.c.due_at.type),
        _looked_up,
    )
    .order_by(videos.c.due_at, videos.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .subquery("next_due")
)
"""PostgreSQL locks what it finds, and passes over what another program is changing just now."""
_DUE = Prepared(select(_level, batch.gathered_values(_next_due.c.id)))


def _next_priority(connection: Connection, below: int | None) -> int | None:
    highest = select(func.max(videos.c.priority)).where(_is_pending)
    if below is not None:
        highest = highest.where(videos.c.priority < below)
    found: int | None = connection.scalar(highest)
    return found


def ahead(connection: Connection, now: datetime, looked_up_to: datetime | None) -> Ahead:
    """Whether anything may be claimed, and the next moments at which that can change."""
    level, due, next_due_at = _next_priority(connection, None), False, None
    while level is not None:
        wanted = {"level": level, "looked_up_to": looked_up_to}
        first = connection.scalar(_FIRST, wanted)
        if first is not None and first <= now:
            due = True
            break
        next_due_at = min(filter(None, (next_due_at, first)), default=None)
        level = _next_priority(connection, level)
    return Ahead(
        due=due,
        next_due_at=next_due_at,
        next_lease_end=connection.scalar(_NEXT_LEASE_END),
    )


_FIRST = (
    select(videos.c.due_at)
    .where(_is_pending, videos.c.priority == bindparam("level"), _looked_up)
    .order_by(videos.c.due_at, videos.c.id)
    .limit(1)
)
_NEXT_LEASE_END = select(func.min(videos.c.lease_until, type_=videos.c.lease_until.type)).where(
    _is_submitting
)
