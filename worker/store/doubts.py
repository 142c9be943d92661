"""Read the doubts with their evidence, and write the verdicts on them. Moments are UTC.

Judges none. A verdict is written only while the attempt that it judged is the last one (law 6).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    func,
    or_,
    select,
    text,
    update,
)

from worker.core.evidence import LATER_VIDEO, PERSON, Doubt, NeighbourAcceptance
from worker.core.model import Fact, State
from worker.core.redact import TEXT_LIMIT, clean
from worker.db import batch
from worker.db.column_types import EPOCH, LAST, Unreadable
from worker.db.schema import history, is_in_doubt, is_pending, jobs, videos
from worker.db.statements import Prepared
from worker.store import shared_state
from worker.store.history import IS_OPEN_DOUBT, open_doubts, record
from worker.store.holders import ever_known
from worker.store.queue import UNCLAIMED, submitted
from worker.store.search import chosen, identified
from worker.store.statistics import number_of
from worker.store.uploads import sent_as

EVIDENCE_SEPARATOR = "; evidence: "
"""Stands between the reason of a doubt and the evidence of the last job list."""

ADOPTED = "adopted from the API's list"

_over = jobs.c.ended_as.is_not(None)
"""Only a job that has ended makes way for another one."""
_asked = batch.rows("asked", jobs.c.job_id)
_ENDS = Prepared(
    select(jobs.c.job_id, jobs.c.ended_as).join(_asked, _asked.c.job_id == jobs.c.job_id)
)

_waits_for_list = is_pending & (videos.c.http_status == text("500"))
_accepts = history.c.fact.in_((Fact.ACCEPTED, Fact.LATE_ANSWER, Fact.FOUND))
IS_ACCEPTANCE = (
    history.c.job_id.is_not(None) & _accepts & history.c.message.is_distinct_from(ADOPTED)
)
"""An adoption by an audit is left out: when its job was made, and as what, is unknown."""


def youngest_doubt(connection: Connection) -> datetime | None:
    """Return when the last doubt was recorded, None if there is none."""
    recorded: Select[datetime] = select(func.max(videos.c.updated_at)).where(is_in_doubt)
    return connection.scalar(recorded)


def next_recheck(connection: Connection, checked_until: datetime | None) -> datetime | None:
    """Return when the first video becomes due that must be rechecked before it is sent again."""
    due: Select[datetime] = select(func.min(videos.c.due_at))
    since = videos.c.updated_at > (checked_until or EPOCH)
    return connection.scalar(due.where(_waits_for_list, since))


def count_unlisted(connection: Connection, now: datetime, *among: ColumnElement[bool]) -> int:
    """Count the videos that are due and, where lists are asked for, not sent before one is read:
    their last answer was a documented 500, which may have made a job.
    """
    since = videos.c.updated_at > (shared_state.read(connection).checked_until(now) or EPOCH)
    return number_of(connection, videos, _waits_for_list, since, videos.c.due_at <= now, *among)


def still_in_doubt(connection: Connection) -> set[int]:
    """Return the ids of all videos in doubt."""
    return set(connection.scalars(select(videos.c.id).where(is_in_doubt)))


def count_for_person(connection: Connection, pending: int) -> int:
    """Count the doubts that only a person can settle, as the last list has shown. One that waits
    for a later video is among them if no video is ``pending``.
    """
    reasons = (PERSON,) if pending else (PERSON, LATER_VIDEO)
    settled_by_hand = or_(*(videos.c.error.contains(reason) for reason in reasons))
    return number_of(connection, videos, is_in_doubt, settled_by_hand)


def doubts(connection: Connection, recorded_before: datetime) -> list[Doubt]:
    """Return the doubts recorded by then, each with the acceptances around it."""
    rows = chosen(connection, is_in_doubt, videos.c.job_id.is_(None), videos.c.updated_at >= EPOCH)
    return [
        _surrounded(connection, doubt, facts)
        for doubt, facts in (_doubted(connection, row) for row in rows)
        if doubt.recorded_at <= recorded_before
    ]


def rechecks(connection: Connection, answered_before: datetime) -> list[Doubt]:
    """Return the pending videos whose last answer, a 500 by then, may have made a job."""
    answered = videos.c.updated_at <= answered_before
    rows = chosen(connection, _waits_for_list, videos.c.job_id.is_(None), answered)
    return [_doubt(connection, row, None, row["updated_at"]) for row in rows]


def _doubted(connection: Connection, row: RowMapping) -> tuple[Doubt, Sequence[RowMapping]]:
    doubted = select(history).where(history.c.video_id == row["id"], IS_OPEN_DOUBT)
    facts = connection.execute(doubted).mappings().all()
    starts = [s for fact in facts if (s := fact["started_at"]) and not isinstance(s, Unreadable)]
    stepped_back = any(fact["at"] < (fact["started_at"] or fact["at"]) for fact in facts)
    known = bool(starts) and len(starts) == len(facts) and not stepped_back
    # The starts too: a clock that stepped back must not end an attempt before its start.
    ends = [*starts, *(fact["at"] for fact in facts)]
    if not ends or any(isinstance(end, Unreadable) for end in ends):
        ends.append(row["updated_at"])
    recorded = min(LAST, max(ends))
    return _doubt(connection, row, min(starts) if known else None, recorded), facts


def _doubt(
    connection: Connection, row: RowMapping, began_at: datetime | None, recorded_at: datetime
) -> Doubt:
    return Doubt(
        video_id=row["id"],
        attempt=row["claims"],
        url=sent_as(connection, row["id"], row["url"]),
        **{name: row[name] for name in ("attempts", "media_id", "request_id")},
        unique=not _is_shared(connection, row["id"], row["request_id"]),
        began_at=began_at,
        recorded_at=recorded_at,
        earlier=tuple(
            connection.scalars(select(jobs.c.job_id).where(_over, jobs.c.video_id == row["id"]))
        ),
    )


def _is_shared(connection: Connection, video_id: int, request_id: str) -> bool:
    """Return True if another video was, or would be, sent with this one's identifier."""
    named = identified(lambda its: its == request_id)
    others = connection.scalars(select(videos.c.id).where(named, videos.c.id != video_id))
    return others.first() is not None


def _surrounded(connection: Connection, doubt: Doubt, facts: Sequence[RowMapping]) -> Doubt:
    """Add the acceptances from the last one before a doubt to the first one begun after it."""
    if doubt.began_at is None:  # so it is without facts
        return doubt
    first = connection.scalar(
        select(history.c.id)
        .where(IS_ACCEPTANCE, history.c.at.between(EPOCH, doubt.began_at))
        .where(history.c.id < min(fact["id"] for fact in facts))
        .order_by(history.c.at.desc(), history.c.id.desc())
        .limit(1)
    )
    last = connection.scalar(
        select(history.c.id)
        .where(IS_ACCEPTANCE, history.c.at.between(doubt.recorded_at, LAST))
        .where(history.c.id > max(fact["id"] for fact in facts))
        .where(history.c.started_at.between(doubt.recorded_at, history.c.at))
        .order_by(history.c.at, history.c.id)
        .limit(1)
    )
    near = () if first is None or last is None else _accepted(connection, first, last)
    return replace(doubt, before=first is not None, after=last is not None, neighbours=near)


def _accepted(connection: Connection, first: int, last: int) -> list[NeighbourAcceptance]:
    renamed = videos.c.id.is_not(None) & videos.c.job_id.is_distinct_from(history.c.job_id)
    rows = connection.execute(
        select(history.c.job_id, videos.c.request_id, history.c.at, renamed.label("renamed"))
        .select_from(history.outerjoin(videos, videos.c.id == history.c.video_id))
        .where(history.c.id.between(first, last), IS_ACCEPTANCE)
        .order_by(history.c.id)
    )
    return [NeighbourAcceptance(**row) for row in rows.mappings()]


def held(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """Return those of these jobs that videos have, or had until they were pruned, or until they
    were bought anew.
    """
    ends = _ENDS(connection, asked=batch.encoded([job_id] for job_id in job_ids))
    over = {str(job_id) for job_id, end in ends if end is not None}
    return over | {str(job_id) for job_id, _ in ever_known(connection, "job_id", job_ids)}


def find(connection: Connection, doubt: Doubt, job_id: str, now: datetime, who: str) -> bool:
    """Make a video submitted with this job. Return False if another attempt is its last one."""
    return _change(connection, doubt, Fact.FOUND, now, who, **submitted(job_id, now))


def free(connection: Connection, doubt: Doubt, due_at: datetime, now: datetime, who: str) -> bool:
    """Make a video of which the API has no job pending again, and settle its doubts."""
    again = {"due_at": due_at, "error": None, **UNCLAIMED}
    return _change(connection, doubt, Fact.ABSENT, now, who, state=State.PENDING, **again)


def keep(connection: Connection, doubt: Doubt, why: str, now: datetime, who: str) -> bool:
    """Settle the doubts of a video whose attempts are used up. It stays in doubt for a person."""
    kept = {"state": State.IN_DOUBT, "error": clean(why)}
    return _change(connection, doubt, Fact.ABSENT, now, who, **kept)


def park(connection: Connection, doubt: Doubt, why: str, now: datetime, who: str) -> bool:
    """Put a pending video in doubt, since it may have a job after all."""
    parked = {"state": State.IN_DOUBT, "error": clean(why)}
    return _change(connection, doubt, Fact.IN_DOUBT, now, who, **parked)


def _change(
    connection: Connection, doubt: Doubt, fact: Fact, now: datetime, who: str, **values: object
) -> bool:
    """Write a verdict if its attempt is still the last; absence is recorded of each in doubt."""
    changed = connection.execute(
        update(videos)
        .where(videos.c.id == doubt.video_id, videos.c.claims == doubt.attempt)
        .where(or_(is_in_doubt, _waits_for_list), videos.c.job_id.is_(None))
        .values(http_status=None, updated_at=now, **values)
    )
    if changed.rowcount == 0:
        return False
    attempts = {doubt.attempt}
    if fact is Fact.ABSENT:
        attempts = open_doubts(connection, [doubt.video_id]).get(doubt.video_id, set())
    facts = [(doubt.video_id, attempt) for attempt in sorted(attempts)]
    message = str(values["error"]) if fact is Fact.IN_DOUBT else None
    record(connection, facts, fact, now, who, message=message, job_id=values.get("job_id"))
    return True


def explain(connection: Connection, doubt: Doubt, why: str) -> None:
    """Write on a video why it is still in doubt, without changing ``updated_at``."""
    known = connection.scalar(select(videos.c.error).where(videos.c.id == doubt.video_id)) or ""
    evidence = clean(EVIDENCE_SEPARATOR + why)
    error = clean(known.partition(EVIDENCE_SEPARATOR)[0][: TEXT_LIMIT - len(evidence)]) + evidence
    if error != known:
        connection.execute(
            update(videos)
            .where(videos.c.id == doubt.video_id, videos.c.claims == doubt.attempt, is_in_doubt)
            .values(error=error)
        )
