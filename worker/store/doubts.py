"""Doubts as the table knows them, and the writing of what was proven about them.

Judges nothing and knows no HTTP; moments are UTC. A verdict is written only where the attempt that
it judged is still the last (law 6).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection, RowMapping, exists, func, insert, or_, select, text, update

from worker.core.evidence import Doubt, NeighbourAcceptance
from worker.core.model import Fact, State
from worker.core.redact import clean
from worker.db.schema import history, videos
from worker.store.queue import UNCLAIMED
from worker.store.settle import IS_OPEN_DOUBT, open_doubts

EVIDENCE_SEPARATOR = "; evidence: "
"""Between the reason of a doubt and what the last list said of it."""

ADOPTED = "adopted from the API's list"

BATCH = 500

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Earlier than any moment of the table; said where an index by moments is to serve."""

_is_in_doubt = videos.c.state == text("'in_doubt'")
_waits_for_list = (videos.c.state == text("'pending'")) & (videos.c.http_status == text("500"))
_accepts = history.c.fact.in_((Fact.ACCEPTED, Fact.LATE_ANSWER, Fact.FOUND))
_is_acceptance = (
    history.c.job_id.is_not(None) & _accepts & history.c.message.is_distinct_from(ADOPTED)
)
"""What an audit adopted says neither when its job was made nor by which identifier."""


def youngest_doubt(connection: Connection) -> datetime | None:
    """When the last doubt was recorded, None if there is none."""
    recorded = func.max(videos.c.updated_at, type_=videos.c.updated_at.type)
    found: datetime | None = connection.scalar(select(recorded).where(_is_in_doubt))
    return found


def next_recheck(connection: Connection, checked_until: datetime | None) -> datetime | None:
    """When the first video becomes due that is to be looked up before it is sent again."""
    due = func.min(videos.c.due_at, type_=videos.c.due_at.type)
    since = videos.c.updated_at > (checked_until or EPOCH)
    found: datetime | None = connection.scalar(select(due).where(_waits_for_list, since))
    return found


def still_in_doubt(connection: Connection) -> set[int]:
    """Every video that is in doubt."""
    return set(connection.scalars(select(videos.c.id).where(_is_in_doubt)))


def doubts(connection: Connection, recorded_before: datetime) -> list[Doubt]:
    """Every video in doubt whose last attempt was over then, with what was accepted around it."""
    rows = connection.execute(
        select(videos).where(_is_in_doubt, videos.c.job_id.is_(None), videos.c.updated_at >= EPOCH)
    ).mappings()
    return [
        _surrounded(connection, doubt, facts)
        for doubt, facts in (_doubted(connection, row) for row in sorted(rows, key=_number))
        if doubt.recorded_at <= recorded_before
    ]


def rechecks(connection: Connection, answered_before: datetime) -> list[Doubt]:
    """Every pending video whose last answer, a 500 from before then, may have made a job."""
    rows = connection.execute(
        select(videos).where(
            _waits_for_list, videos.c.job_id.is_(None), videos.c.updated_at <= answered_before
        )
    ).mappings()
    return [_doubt(connection, row, None, row["updated_at"]) for row in sorted(rows, key=_number)]


def _number(row: RowMapping) -> int:
    """By this they are put in order here: SQLite would walk the whole table for it."""
    number: int = row["id"]
    return number


def _doubted(connection: Connection, row: RowMapping) -> tuple[Doubt, Sequence[RowMapping]]:
    """A video in doubt, and the facts of its history that say so."""
    facts = (
        connection.execute(select(history).where(history.c.video_id == row["id"], IS_OPEN_DOUBT))
        .mappings()
        .all()
    )
    starts = [fact["started_at"] for fact in facts if fact["started_at"] is not None]
    stepped_back = any(fact["at"] < (fact["started_at"] or fact["at"]) for fact in facts)
    known = bool(starts) and len(starts) == len(facts) and not stepped_back
    # The starts too: a clock that stepped back may not end an attempt before it began.
    recorded = max([*(fact["at"] for fact in facts), *starts], default=row["updated_at"])
    return _doubt(connection, row, min(starts) if known else None, recorded), facts


def _doubt(
    connection: Connection, row: RowMapping, began_at: datetime | None, recorded_at: datetime
) -> Doubt:
    return Doubt(
        video_id=row["id"],
        attempt=row["claims"],
        attempts=row["attempts"],
        url=row["url"],
        media_id=row["media_id"],
        request_id=row["request_id"],
        unique=not _is_shared(connection, row["id"]),
        began_at=began_at,
        recorded_at=recorded_at,
    )


def _is_shared(connection: Connection, video_id: int) -> bool:
    """Whether another video was, or would be, sent with this one's identifier."""
    other, its = videos.alias(), videos.c.request_id
    named = or_(other.c.request_id == its, other.c.media_id == its)
    shared = exists().where(videos.c.id == video_id, other.c.id != videos.c.id, named)
    return bool(connection.execute(select(shared)).scalar_one())


def _surrounded(connection: Connection, doubt: Doubt, facts: Sequence[RowMapping]) -> Doubt:
    """The doubt with the last acceptance before it, the first of a video begun after it, and all
    that were written down between.
    """
    if doubt.began_at is None or not facts:
        return doubt
    first = connection.scalar(
        select(history.c.id)
        .where(_is_acceptance, history.c.at <= doubt.began_at)
        .where(history.c.id < min(fact["id"] for fact in facts))
        .order_by(history.c.at.desc(), history.c.id.desc())
        .limit(1)
    )
    last = connection.scalar(
        select(history.c.id)
        .where(_is_acceptance, history.c.at >= doubt.recorded_at)
        .where(history.c.id > max(fact["id"] for fact in facts))
        .where(history.c.started_at.between(doubt.recorded_at, history.c.at))
        .order_by(history.c.at, history.c.id)
        .limit(1)
    )
    doubt = replace(doubt, before=first is not None, after=last is not None)
    if first is None or last is None:
        return doubt
    return replace(doubt, neighbours=_accepted(connection, first, last))


def _accepted(connection: Connection, first: int, last: int) -> list[NeighbourAcceptance]:
    rows = connection.execute(
        select(history.c.job_id, videos.c.request_id, history.c.at)
        .select_from(history.outerjoin(videos, videos.c.id == history.c.video_id))
        .where(history.c.id.between(first, last), _is_acceptance)
        .order_by(history.c.id)
    )
    return [NeighbourAcceptance(job_id=r.job_id, request_id=r.request_id, at=r.at) for r in rows]


def held(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """Those of these jobs that a video has."""
    found: set[str] = set()
    for place in range(0, len(job_ids), BATCH):
        batch = job_ids[place : place + BATCH]
        rows = connection.execute(select(videos.c.job_id).where(videos.c.job_id.in_(batch)))
        found.update(row.job_id for row in rows)
    return found


def find(connection: Connection, doubt: Doubt, job_id: str, now: datetime, who: str) -> bool:
    """The video has this job: it is submitted. False where its last attempt is another by now."""
    if not _change(
        connection,
        doubt,
        now,
        state=State.SUBMITTED,
        job_id=job_id,
        submitted_at=now,
        error=None,
        **UNCLAIMED,
    ):
        return False
    _record(connection, [doubt.attempt], doubt, Fact.FOUND, at=now, who=who, job_id=job_id)
    return True


def free(connection: Connection, doubt: Doubt, due_at: datetime, now: datetime, who: str) -> bool:
    """The API has no job of this video: it is pending again, its doubts are settled."""
    changed = _change(
        connection, doubt, now, state=State.PENDING, due_at=due_at, error=None, **UNCLAIMED
    )
    return changed and _absent(connection, doubt, now, who)


def keep(connection: Connection, doubt: Doubt, why: str, now: datetime, who: str) -> bool:
    """The API has no job of this video, but its attempts are used up: a person has to want it."""
    changed = _change(connection, doubt, now, state=State.IN_DOUBT, error=clean(why))
    return changed and _absent(connection, doubt, now, who)


def park(connection: Connection, doubt: Doubt, why: str, now: datetime, who: str) -> bool:
    """A pending video that may have a job after all: it is in doubt from now on."""
    if not _change(connection, doubt, now, state=State.IN_DOUBT, error=clean(why)):
        return False
    _record(connection, [doubt.attempt], doubt, Fact.IN_DOUBT, at=now, who=who, message=clean(why))
    return True


def explain(connection: Connection, doubt: Doubt, why: str) -> None:
    """Write on the video why it is in doubt still; that is no change of it."""
    known = connection.scalar(select(videos.c.error).where(videos.c.id == doubt.video_id)) or ""
    said = clean(known.split(EVIDENCE_SEPARATOR, 1)[0] + EVIDENCE_SEPARATOR + why)
    if said != known:
        connection.execute(
            update(videos)
            .where(videos.c.id == doubt.video_id, videos.c.claims == doubt.attempt, _is_in_doubt)
            .values(error=said)
        )


def _change(connection: Connection, doubt: Doubt, now: datetime, **values: object) -> bool:
    """Write, if what was judged is still so."""
    changed = connection.execute(
        update(videos)
        .where(videos.c.id == doubt.video_id, videos.c.claims == doubt.attempt)
        .where(or_(_is_in_doubt, _waits_for_list), videos.c.job_id.is_(None))
        .values(http_status=None, updated_at=now, **values)
    )
    return changed.rowcount == 1


def _absent(connection: Connection, doubt: Doubt, now: datetime, who: str) -> bool:
    attempts = open_doubts(connection, [doubt.video_id]).get(doubt.video_id, set())
    _record(connection, sorted(attempts), doubt, Fact.ABSENT, at=now, who=who)
    return True


def _record(
    connection: Connection, attempts: Iterable[int], doubt: Doubt, fact: Fact, **values: object
) -> None:
    """A fact of the history for each of these attempts."""
    facts = [
        {"video_id": doubt.video_id, "attempt": attempt, "fact": fact, **values}
        for attempt in attempts
    ]
    if facts:
        connection.execute(insert(history), facts)
