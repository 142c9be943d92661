"""The rows that an audit compares, and the taking over of jobs by their word. Moments are UTC."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from worker.core.audit import AuditRow, Match
from worker.core.evidence import is_made
from worker.core.job_list import Listing
from worker.core.model import Fact, State
from worker.db.schema import history, videos
from worker.store.doubts import ADOPTED
from worker.store.queue import UNCLAIMED

BATCH = 500

_is_pending = videos.c.state == text("'pending'")
_sent_as = func.coalesce(
    func.nullif(videos.c.media_id, ""), videos.c.request_id, type_=videos.c.request_id.type
)


def rows(connection: Connection, listing: Listing) -> list[AuditRow]:
    """The videos that a list may speak of, and all that have a job, each once."""
    identifiers = sorted({i for entry in listing.entries for i in entry.identifiers})
    urls = sorted({url for entry in listing.entries for url in entry.urls})
    found = {row.video_id: row for row in _chosen(connection, videos.c.job_id.is_not(None))}
    for batch in _batches(identifiers):
        named = or_(videos.c.request_id.in_(batch), videos.c.media_id.in_(batch))
        found.update((row.video_id, row) for row in _chosen(connection, named))
    for batch in _batches(urls):
        addressed = videos.c.url.in_(batch) & _is_pending
        found.update((row.video_id, row) for row in _chosen(connection, addressed))
    return [found[video_id] for video_id in sorted(found)]


def _chosen(connection: Connection, wanted: ColumnElement[bool]) -> Iterator[AuditRow]:
    chosen = select(
        videos.c.id,
        videos.c.state,
        videos.c.claims,
        videos.c.url,
        videos.c.media_id,
        videos.c.request_id,
        _sent_as.label("sent_as"),
        videos.c.job_id,
        videos.c.submitted_at,
    ).where(wanted)
    for row in connection.execute(chosen):
        yield AuditRow(
            video_id=row.id,
            state=State(row.state),
            claims=row.claims,
            url=row.url,
            identifier=row.request_id if row.claims else row.sent_as,
            made=is_made(row.request_id, row.media_id),
            job_id=row.job_id,
            submitted_at=row.submitted_at,
        )


def _batches(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for place in range(0, len(values), BATCH):
        yield values[place : place + BATCH]


def adopt(connection: Connection, match: Match, now: datetime, who: str) -> bool:
    """A pending video takes over the job that a list shows for it. False where it has moved on, or
    another video has the job by now.
    """
    other = videos.alias()
    adopted = connection.execute(
        update(videos)
        .where(videos.c.id == match.row.video_id, videos.c.claims == match.row.claims)
        .where(_is_pending, ~exists().where(other.c.job_id == match.entry.job_id))
        .values(
            state=State.SUBMITTED,
            job_id=match.entry.job_id,
            submitted_at=now,
            http_status=None,
            error=None,
            updated_at=now,
            **UNCLAIMED,
        )
    )
    if adopted.rowcount == 0:
        return False
    _record(connection, match, Fact.FOUND, now, who, ADOPTED, job_id=match.entry.job_id)
    return True


def record_cancelled(connection: Connection, match: Match, now: datetime, who: str) -> None:
    """A second job of a video was cancelled with the API; the video keeps its own."""
    message = f"its second job {match.entry.job_id} was cancelled"
    _record(connection, match, Fact.CANCEL, now, who, message)


def _record(
    connection: Connection,
    match: Match,
    fact: Fact,
    now: datetime,
    who: str,
    message: str,
    job_id: str | None = None,
) -> None:
    connection.execute(
        insert(history).values(
            video_id=match.row.video_id,
            attempt=match.row.claims,
            at=now,
            who=who,
            fact=fact,
            message=message,
            job_id=job_id,
        )
    )
