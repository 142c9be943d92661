"""The way in: rows that were admitted become videos, unless they are there already.

Check and insert are one transaction, so that two imports at once cannot both pass the check.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, func, insert, or_, select, update

from worker.core.model import Fact, State
from worker.db.schema import history, videos
from worker.store.bulk import Row, begun, insert_all, known
from worker.store.queue import UNCLAIMED
from worker.store.settle import open_doubts

SAME_URL = "same url as a video that is there already"
SAME_MEDIA_ID = "same media_id as a video that is there already"
UNKNOWN = (
    "media_id: {!r} is not there, and the row brings no url; import the list that has it first"
)
SECOND_JOB = (
    "job_id: video {} has job {!r} already, so it may be bought twice; look for both in the "
    "Valossa Portal"
)
SAME_JOB_ID = "same job_id as a video that is there already"


class Video(NamedTuple):
    """A video that is there already."""

    id: int
    state: str
    claims: int
    job_id: str | None


_OPEN = (State.PENDING, State.FAILED, State.CANCELLED)


@dataclass(slots=True)
class Intake:
    """What became of the rows; ``skipped`` and ``left`` count by reason, ``rejected`` says why for
    the place of a row in its chunk.
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


def add_all(connection: Connection, rows: Sequence[Row], now: datetime) -> Intake:
    """Insert every row, whatever is there; but a job belongs to one video only."""
    return _add(connection, rows, now, distinct=(("job_id", SAME_JOB_ID),))


def add_new(connection: Connection, rows: Sequence[Row], now: datetime) -> Intake:
    """Insert the rows whose url, media_id and job_id are new, to the table and among themselves."""
    distinct = (("url", SAME_URL), ("media_id", SAME_MEDIA_ID), ("job_id", SAME_JOB_ID))
    return _add(connection, rows, now, distinct)


def _add(
    connection: Connection,
    rows: Sequence[Row],
    now: datetime,
    distinct: Sequence[tuple[str, str]],
) -> Intake:
    intake, fresh = Intake(), []
    there = {column: known(connection, column, rows) for column, _ in distinct}
    for row in rows:
        for column, why in distinct:
            if row.get(column) in there[column]:
                intake.skipped[why] += 1
                break
        else:
            fresh.append(row)
            for column, values in there.items():
                if row.get(column) is not None:
                    values.add(row[column])
    insert_all(connection, fresh, now)
    intake.inserted = len(fresh)
    return intake


def add_or_update(connection: Connection, rows: Iterable[Row], now: datetime, who: str) -> Intake:
    """Rows whose media_id, or else request_id, is there already give it their columns anew, those
    that they name as empty included, as long as it is pending, failed (then pending again) or
    cancelled; others are inserted as by ``add_new``. A job_id settles a doubt as well, as a
    person's word.

    One row at a time in the file's order, so that of two rows with one media_id the later wins.
    """
    intake = Intake()
    for place, row in enumerate(rows):
        found = _meant(connection, row)
        if not found and row.get("url") is None:
            intake.rejected[place] = UNKNOWN.format(row.get("media_id") or row.get("request_id"))
        elif not found:
            intake.add(add_new(connection, [row], now))
        for video in found:
            if row.get("job_id") is not None and video.job_id not in {None, row["job_id"]}:
                intake.rejected[place] = SECOND_JOB.format(video.id, video.job_id)
                continue
            reason = _closed(connection, video, row)
            if reason is None:
                _update(connection, video, row, now, who)
                intake.updated += 1
            else:
                intake.left[reason] += 1
    return intake


def _closed(connection: Connection, video: Video, row: Row) -> str | None:
    """Why this video takes no new columns."""
    brings_job = row.get("job_id") is not None
    if video.state not in _OPEN and not (brings_job and video.state == State.IN_DOUBT):
        return f"media_id is there already, {video.state}"
    if not brings_job and open_doubts(connection, [video.id]):
        return "media_id is there already, given up in doubt"
    if row.get("job_id") in known(connection, "job_id", [row]):
        return SAME_JOB_ID
    return None


def _update(connection: Connection, video: Video, row: Row, now: datetime, who: str) -> None:
    """The columns anew, and the facts that this makes."""
    job_id = row.get("job_id")
    _refresh(connection, video, row, now)
    if job_id is not None:
        _tell(connection, video, now, who, Fact.RESOLVE, job_id)
    elif video.state == State.FAILED:
        _tell(connection, video, now, who, Fact.RETRY)


def newest_id(connection: Connection) -> int:
    """The id of the video inserted last."""
    newest: int = connection.execute(select(func.max(videos.c.id))).scalar_one()
    return newest


def _meant(connection: Connection, row: Row) -> list[Video]:
    """The videos of a row's media id, or, where they have none, of it as their request id: that is
    what the API was given for it. A row without one means by its request id a video without one,
    and no other's media id. In order of their ids: the first is the one that gets a job.
    """
    media_id = row.get("media_id")
    name = media_id or row.get("request_id")
    if name is None:
        return []
    nameless = func.coalesce(videos.c.media_id, "") == ""
    unnamed = and_(videos.c.request_id == name, nameless)
    columns = (videos.c.id, videos.c.state, videos.c.claims, videos.c.job_id)
    rows = connection.execute(
        select(*columns).where(or_(videos.c.media_id == name, unnamed) if media_id else unnamed)
    )
    return sorted((Video(*row) for row in rows), key=attrgetter("id"))


def _refresh(connection: Connection, video: Video, row: Row, now: datetime) -> None:
    """The columns anew; a failed video begins again, one with a job is submitted and claimed by
    nobody. What was sent of a doubt stays as it was sent.
    """
    failed = videos.c.state == State.FAILED
    moment = videos.c.due_at.type
    again = {
        "state": case((failed, State.PENDING), else_=videos.c.state),
        "attempts": case((failed, 0), else_=videos.c.attempts),
        "error": case((failed, None), else_=videos.c.error),
        "http_status": case((failed, None), else_=videos.c.http_status),
        "due_at": case((failed, bindparam("now", now, moment)), else_=videos.c.due_at),
    }
    kept = {"url", "priority", "due_at", "job_id"}  # an empty value of these says nothing
    brought = (name for name in row if name != "request_id")
    fresh = {name: row[name] for name in brought if name not in kept or row[name] is not None}
    if video.state == State.IN_DOUBT:
        fresh = {"job_id": row["job_id"]}
    handed_in = {**begun(row, now), "error": None, **UNCLAIMED}
    settled = handed_in if row.get("job_id") is not None else {}
    connection.execute(
        update(videos)
        .where(videos.c.id == video.id)
        .values(**{**again, **fresh, **settled, "updated_at": now})
    )


def _tell(
    connection: Connection,
    video: Video,
    now: datetime,
    who: str,
    fact: Fact,
    job_id: object = None,
) -> None:
    brought = "columns brought anew" if job_id is None else "job brought"
    connection.execute(
        insert(history).values(
            video_id=video.id,
            attempt=video.claims,
            at=now,
            who=who,
            fact=fact,
            message=f"{brought} by import --update",
            job_id=job_id,
        )
    )
