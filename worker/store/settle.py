"""Settle claims: read each row's status, and write what was decided under the claim (law 6)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, insert, null, select, update

from worker.core.model import Accepted, ClaimStatus, Fact, InDoubt, Result, Settlement, State
from worker.core.redact import clean
from worker.db import batch
from worker.db.schema import history, videos
from worker.db.statements import Prepared
from worker.store.history import open_doubts
from worker.store.queue import PASSED_OVER, UNCLAIMED


def held(connection: Connection, results: Sequence[Result]) -> list[Result]:
    """Lock the rows of results, and return the results whose row another program has locked."""
    theirs = select(videos.c.id).where(videos.c.id.in_(r.claim.video_id for r in results))
    ours = theirs.with_for_update(skip_locked=True)
    locked = {*connection.scalars(theirs)} - {*connection.scalars(ours)}
    return [result for result in results if result.claim.video_id in locked]


def statuses(connection: Connection, results: Sequence[Result]) -> list[ClaimStatus]:
    """Return the status of each result's row."""
    asked = batch.encoded((result.claim.video_id, _new_job(result)) for result in results)
    known = {place: fields for place, *fields in _STATUSES(connection, results=asked)}
    doubts = open_doubts(connection, [r.claim.video_id for r in results if r.claim.attempt > 1])
    holders: dict[str, int] = {}
    return [
        _status(result, known[place], doubts.get(result.claim.video_id, set()), holders)
        for place, result in enumerate(results)
    ]


def _new_job(result: Result) -> str | None:
    return result.outcome.job_id if isinstance(result.outcome, Accepted) else None


_results = batch.rows("results", videos.c.id.label("video_id"), videos.c.job_id)
_holder = videos.alias("holder")
_STATUSES = Prepared(
    select(_results.c.place, videos.c.state, videos.c.claim_token, videos.c.job_id, _holder.c.id)
    .select_from(_results)
    .outerjoin(videos, videos.c.id == _results.c.video_id)
    .outerjoin(_holder, _holder.c.job_id == _results.c.job_id)
)


def _status(
    result: Result, fields: Sequence[Any], doubts: set[int], holders: dict[str, int]
) -> ClaimStatus:
    state, token, job_id, holder = fields
    video, new_job = result.claim.video_id, _new_job(result)
    if new_job is not None:
        holder = holders.setdefault(new_job, video if holder is None else holder)
    return ClaimStatus(
        state=None if state is None else State(state),
        holds=token == result.claim.token,
        in_doubt=bool(doubts - {result.claim.attempt}),
        holder=None if holder == video else holder,
        job_id=job_id,
    )


def settle(
    connection: Connection, settlements: Sequence[Settlement], now: datetime, worker: str
) -> None:
    """Write each transition under its claim, and a row of history for each. A lost claim changes no
    state; only a job id that it brings is still written (law 6).
    """
    own = [s for s in settlements if s.status.own]
    # One more answer in doubt adds nothing to a doubt.
    rest = [s for s in settlements if not (s.status.own or isinstance(s.result.outcome, InDoubt))]
    late, lost = [s for s in rest if s.status.late], [s for s in rest if not s.status.late]
    _write(connection, [*own, *late], now)
    for settlement in lost:
        _adopt(connection, settlement, now)
    facts = [_fact(s, s.result.outcome.fact) for s in own]
    facts += [_fact(s, Fact.LATE_ANSWER) for s in (*late, *lost)]
    if facts:
        _RECORD.write(connection, facts=batch.encoded(facts), now=now, who=worker)


def _write(connection: Connection, settlements: Sequence[Settlement], now: datetime) -> None:
    others = [s for s in settlements if s.transition.due_at is None]
    postponed = [s for s in settlements if s.transition.due_at is not None]
    for statement, part in ((_SETTLE, others), (_POSTPONE, postponed)):
        if part:
            rows = batch.encoded(map(_values, part))
            if statement.write(connection, settled=rows, now=now) < len(part):
                raise ValueError(PASSED_OVER)


_WRITTEN = ("id", "state", "http_status", "error")
_now = bindparam("now", type_=videos.c.updated_at.type)


def _settling(*more: str) -> Prepared:
    columns = (videos.c[name] for name in (*_WRITTEN, "job_id", "due_at"))
    settled = batch.rows("settled", videos.c.attempts.label("spent"), *columns)
    return Prepared(
        update(videos)
        .where(videos.c.id == settled.c.id)
        .values(
            attempts=videos.c.attempts + settled.c.spent,
            job_id=func.coalesce(videos.c.job_id, settled.c.job_id),
            submitted_at=case((settled.c.state == State.SUBMITTED, _now), else_=null()),
            updated_at=_now,
            **{name: settled.c[name] for name in (*_WRITTEN[1:], *more)},
            **UNCLAIMED,
        )
    )


_SETTLE, _POSTPONE = _settling(), _settling("due_at")
"""A moment that does not change is not written, since its CHECK is a third of the work."""


def _values(settlement: Settlement) -> tuple[object, ...]:
    """Return a row of ``settled``. Expiry has counted the attempt of a late one already."""
    transition = settlement.transition
    return (
        int(transition.spent) - int(settlement.status.late),
        settlement.result.claim.video_id,
        transition.state,
        settlement.result.outcome.status,
        transition.error and clean(transition.error),
        transition.job_id,
        transition.due_at,
    )


def _adopt(connection: Connection, settlement: Settlement, now: datetime) -> None:
    """Write a job id that came after its claim was gone, so that the video is not claimed again.
    If another attempt is on its way, that one settles the state.
    """
    job_id = _new_job(settlement.result)
    if job_id is None or settlement.status.holder is not None:
        return
    connection.execute(
        update(videos)
        .where(videos.c.id == settlement.result.claim.video_id, videos.c.job_id.is_(None))
        .values(
            job_id=job_id,
            submitted_at=now,
            updated_at=now,
            state=case((videos.c.state == State.SUBMITTING, videos.c.state), else_=State.SUBMITTED),
        )
    )


_RECORDED = ("video_id", "attempt", "fact", "started_at", "http_status", "message", "job_id")
_facts = batch.rows("facts", *(history.c[name] for name in _RECORDED))
_common = (bindparam("now", type_=history.c.at.type), bindparam("who", type_=history.c.who.type))
_RECORD = Prepared(
    insert(history).from_select(
        [*_RECORDED, "at", "who"], select(*(_facts.c[name] for name in _RECORDED), *_common)
    )
)


def _fact(settlement: Settlement, fact: Fact) -> tuple[object, ...]:
    result, holder = settlement.result, settlement.status.holder
    claim, outcome, job_id = result.claim, result.outcome, _new_job(result)
    message = outcome.message
    if fact is not outcome.fact:
        message = f"{outcome.fact}: {message}" if message else str(outcome.fact)
    if holder is not None:  # another video's job says nothing about this one
        fact, message = Fact.IN_DOUBT, f"answered with job {job_id}, which video {holder} holds"
        job_id = None
    said = message and clean(message)
    return claim.video_id, claim.attempt, fact, result.started_at, outcome.status, said, job_id
