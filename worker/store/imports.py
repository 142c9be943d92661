"""Insert admitted rows as videos, unless the table has them already, or update those.

Check and insert are one transaction, so that two imports at once cannot both pass the check.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from sqlalchemy import Connection, Row, Select, and_, case, func, literal, or_, select, update

from worker.core.model import Fact, State
from worker.db.schema import videos
from worker.store.bulk import NewVideo, begun, insert_all, known
from worker.store.history import open_doubts, record
from worker.store.queue import UNCLAIMED

SAME_URL = "same url as a video that is there already"
SAME_MEDIA_ID = "same media_id as a video that is there already"
UNKNOWN = (
    "media_id: {!r} is not there, and the row brings no url; import the list that has it first"
)
EXPORTED = (
    "media_id: {!r} is not there, but the row is from an export, so it may be bought already: "
    "write the media_id as it was, or empty state and request_id if the video is new"
)
SECOND_JOB = (
    "job_id: video {} has job {!r} already, so it may be bought twice; look for both in the "
    "Valossa Portal"
)
SAME_JOB_ID = "same job_id as a video that is there already"


_OPEN = (State.PENDING, State.FAILED, State.CANCELLED)


Existing = Row[int, str, int, str | None]
"""A video that the table has already: ``id``, ``state``, ``claims`` and ``job_id``."""


@dataclass(slots=True)
class Intake:
    """The result of an import. ``skipped`` and ``left`` count rows by reason.

    ``rejected``: the reason by the place of a row in its chunk, from 0.
    """

    inserted: int = 0
    updated: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    rejected: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Intake") -> None:
        """Add another chunk's counts; its rejects stay its own."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.skipped += other.skipped
        self.left += other.left


def add_all(connection: Connection, rows: Sequence[NewVideo], now: datetime) -> Intake:
    """Insert every row, but none whose job another video has."""
    return _add(connection, rows, now, distinct=(("job_id", SAME_JOB_ID),))


def add_new(connection: Connection, rows: Sequence[NewVideo], now: datetime) -> Intake:
    """Insert the rows whose url, media_id and job_id are new to the table and among the rows."""
    distinct = (("url", SAME_URL), ("media_id", SAME_MEDIA_ID), ("job_id", SAME_JOB_ID))
    return _add(connection, rows, now, distinct)


def _add(
    connection: Connection,
    rows: Sequence[NewVideo],
    now: datetime,
    distinct: Sequence[tuple[str, str]],
) -> Intake:
    intake, fresh = Intake(), []
    there = {column: known(connection, column, rows) for column, _ in distinct}
    for place, row in enumerate(rows):
        same = next((why for column, why in distinct if row.get(column) in there[column]), None)
        if same is not None:
            intake.skipped[same] += 1
            continue
        exported = row.get("request_id") and row.get("media_id") and not row.get("job_id")
        if exported and "media_id" in there:
            intake.rejected[place] = EXPORTED.format(row["media_id"])
            continue
        fresh.append(row)
        for column, values in there.items():
            values.update({row.get(column)} - {None})
    insert_all(connection, fresh, now)
    intake.inserted = len(fresh)
    return intake


def add_or_update(
    connection: Connection, rows: Iterable[NewVideo], now: datetime, who: str
) -> Intake:
    """Update the videos of each row's media_id, or else request_id; insert the others. A row
    changes every column that it names, empty ones included, and a job_id settles a doubt. Rows are
    taken in the file's order: of two with one media_id, the later wins.
    """
    intake = Intake()
    for place, row in enumerate(rows):
        found = _videos_of(connection, row)
        if not found and row.get("url") is None:
            intake.rejected[place] = UNKNOWN.format(row.get("media_id") or row.get("request_id"))
        elif not found:
            added = add_new(connection, [row], now)
            intake.add(added)
            intake.rejected |= dict.fromkeys(added.rejected and [place], *added.rejected.values())
        for video in found:
            if row.get("job_id") is not None and video.job_id not in {None, row["job_id"]}:
                intake.rejected[place] = SECOND_JOB.format(video.id, video.job_id)
                continue
            reason = _reason_to_leave(connection, video, row)
            if reason is None:
                _update(connection, video, row, now, who)
                intake.updated += 1
            else:
                intake.left[reason] += 1
    return intake


def _reason_to_leave(connection: Connection, video: Existing, row: NewVideo) -> str | None:
    # A video is left as it is in three cases.
    # 1. It is in flight or submitted, or in doubt and the row brings no job.
    # 2. It was given up in doubt, and the row brings no job. 3. Another video has the job.
    brings_job = row.get("job_id") is not None
    if video.state not in _OPEN and not (brings_job and video.state == State.IN_DOUBT):
        return f"media_id is there already, {video.state}"
    if not brings_job and open_doubts(connection, [video.id]):
        return "media_id is there already, given up in doubt"
    if row.get("job_id") in known(connection, "job_id", [row]):
        return SAME_JOB_ID
    return None


def _update(
    connection: Connection, video: Existing, row: NewVideo, now: datetime, who: str
) -> None:
    _refresh(connection, video, row, now)
    last, job_id = [(video.id, video.claims)], row.get("job_id")
    if job_id is not None:
        why = "job brought by import --update"
        record(connection, last, Fact.RESOLVE, now, who, message=why, job_id=job_id)
    elif video.state == State.FAILED:
        why = "columns brought anew by import --update"
        record(connection, last, Fact.RETRY, now, who, message=why)


def newest_id(connection: Connection) -> int:
    """Return the id of the video inserted last."""
    newest: Select[int] = select(func.max(videos.c.id))
    return connection.execute(newest).scalar_one()


def _videos_of(connection: Connection, row: NewVideo) -> list[Existing]:
    """Return the videos of a row in the order of ids; the first one gets its job. A row's media_id
    is a video's media_id, or the request_id of a video without one. A row without media_id finds
    only such a video, by its request_id.
    """
    media_id = row.get("media_id")
    name = media_id or row.get("request_id")
    if name is None:
        return []
    unnamed = and_(videos.c.request_id == name, func.coalesce(videos.c.media_id, "") == "")
    rows = connection.execute(
        select(videos.c.id, videos.c.state, videos.c.claims, videos.c.job_id).where(
            or_(videos.c.media_id == name, unnamed) if media_id else unnamed
        )
    )
    return sorted(rows, key=attrgetter("id"))


def _refresh(connection: Connection, video: Existing, row: NewVideo, now: datetime) -> None:
    """Write the row's columns. A failed video starts again; one that gets a job is submitted."""
    due_now = literal(now, videos.c.due_at.type)
    start = {"state": State.PENDING, "attempts": 0, "error": None, "http_status": None}
    again = {
        name: case((videos.c.state == State.FAILED, value), else_=videos.c[name])
        for name, value in {**start, "due_at": due_now}.items()
    }
    kept = {"url", "priority", "due_at", "job_id"}  # an empty value leaves these as they are
    named = (name for name in row if name != "request_id")
    fresh = {name: row[name] for name in named if name not in kept or row[name] is not None}
    if video.state == State.IN_DOUBT:  # the other columns stay as they were sent
        fresh = {"job_id": row["job_id"]}
    settled = (
        {**begun(row, now), "error": None, **UNCLAIMED} if row.get("job_id") is not None else {}
    )
    values = {**again, **fresh, **settled, "updated_at": now}
    connection.execute(update(videos).where(videos.c.id == video.id).values(values))
