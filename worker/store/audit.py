"""Read the rows that an audit compares, and write the jobs that it gives to videos (UTC)."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, func, select, update

from worker.core.audit import AuditRow, Match
from worker.core.evidence import is_made
from worker.core.file_address import SCHEME, is_file
from worker.core.job_list import Listing
from worker.core.model import Fact, State
from worker.core.signed_link import unsigned
from worker.db.schema import identifier, is_pending, is_renamed, uploads, videos
from worker.store.bulk import BATCH, batches
from worker.store.doubts import ADOPTED
from worker.store.history import record
from worker.store.queue import submitted

_COMPARED = ("id", "state", "claims", "url", "media_id", "request_id", "job_id", "submitted_at")


def rows(connection: Connection, listing: Listing) -> list[AuditRow]:
    """Return every video that has a job or may be named by the list, each once."""
    identifiers = sorted({i for entry in listing.entries for i in entry.identifiers})
    shown = {url for entry in listing.entries for url in entry.urls}
    urls = sorted(shown.union(filter(None, map(unsigned, shown))))
    alike = (videos.c.url, videos.c.unsigned_url)
    wanted = [
        videos.c.job_id.is_not(None),
        # As two conditions: of one with OR, SQLite reads the whole table once ANALYZE has run.
        *(identifier.in_(some) for some in batches(identifiers, BATCH)),
        *(videos.c.request_id.in_(some) & is_renamed for some in batches(identifiers, BATCH)),
        *(c.in_(some) & is_pending for c in alike for some in batches(urls, BATCH)),
    ]
    found = {row.video_id: row for each in wanted for row in _chosen(connection, each)}
    return [found[video_id] for video_id in sorted(found)]


def are_files_waiting(connection: Connection) -> bool:
    """Return True if a local file is pending."""
    of_file = func.lower(func.substr(videos.c.url, 1, len(SCHEME))) == SCHEME
    some = select(videos.c.id).where(is_pending, of_file).limit(1)
    return connection.execute(some).first() is not None


def _chosen(connection: Connection, wanted: ColumnElement[bool]) -> Iterator[AuditRow]:
    columns = (*(videos.c[name] for name in _COMPARED), uploads.c.url.label("uploaded"))
    both = videos.outerjoin(uploads, uploads.c.video_id == videos.c.id)
    for row in connection.execute(select(*columns).select_from(both).where(wanted)):
        yield AuditRow(
            video_id=row.id,
            state=State(row.state),
            claims=row.claims,
            url=(row.uploaded if is_file(row.url) else None) or row.url,
            identifier=row.request_id if row.claims else row.media_id or row.request_id,
            made=is_made(row.request_id, row.media_id),
            job_id=row.job_id,
            submitted_at=row.submitted_at,
        )


def adopt(connection: Connection, match: Match, now: datetime, who: str) -> bool:
    """Give a pending video its listed job; False if it was claimed, or another has the job."""
    other = videos.alias()
    adopted = connection.execute(
        update(videos)
        .where(videos.c.id == match.row.video_id, videos.c.claims == match.row.claims)
        .where(is_pending, ~exists().where(other.c.job_id == match.entry.job_id))
        .values(http_status=None, updated_at=now, **submitted(match.entry.job_id, now))
    )
    if adopted.rowcount == 0:
        return False
    last, job_id = (match.row.video_id, match.row.claims), match.entry.job_id
    record(connection, [last], Fact.FOUND, now, who, message=ADOPTED, job_id=job_id)
    return True


def record_cancelled(connection: Connection, match: Match, now: datetime, who: str) -> None:
    """Record that a second job of a video was cancelled; the video keeps its own job."""
    last = (match.row.video_id, match.row.claims)
    message = f"its second job {match.entry.job_id} was cancelled"
    record(connection, [last], Fact.CANCEL, now, who, message=message)
