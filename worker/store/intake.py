"""The way in: rows that were admitted become videos, unless they are there already.

Check and insert are one transaction, so that two imports at once cannot both pass the check.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, case, func, insert, select, update

from worker.core.intake import COLUMNS
from worker.core.model import Fact, State
from worker.store.settle import open_doubts
from worker.tables import history, videos

Row = Mapping[str, object]

SAME_URL = "same url as a video that is there already"
SAME_MEDIA_ID = "same media_id as a video that is there already"
UNKNOWN_MEDIA_ID = "media_id is not there, and the row brings no url"
SAME_JOB_ID = "same job_id as a video that is there already"


class Video(NamedTuple):
    """A video that is there already."""

    id: int
    state: str
    claims: int


_OPEN = (State.PENDING, State.FAILED, State.CANCELLED)


@dataclass(slots=True)
class Intake:
    """What became of the rows; ``skipped`` and ``left`` count by reason."""

    inserted: int = 0
    updated: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Intake") -> None:
        """Add another chunk's counts."""
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
    known = {column: _known(connection, column, rows) for column, _ in distinct}
    for row in rows:
        reason = next((why for column, why in distinct if row.get(column) in known[column]), None)
        if reason is not None:
            intake.skipped[reason] += 1
            continue
        fresh.append(_complete(row, now))
        for column, values in known.items():
            if row.get(column) is not None:
                values.add(row[column])
    if fresh:
        connection.execute(insert(videos), fresh)
    intake.inserted = len(fresh)
    return intake


def add_or_update(connection: Connection, rows: Iterable[Row], now: datetime, who: str) -> Intake:
    """Rows whose media_id is there already give it their columns anew, those that they name as
    empty included, as long as it is pending, failed (then pending again) or cancelled; others are
    inserted as by ``add_new``.

    One row at a time in the file's order, so that of two rows with one media_id the later wins.
    """
    intake = Intake()
    for row in rows:
        found = _by_media_id(connection, row.get("media_id"))
        if not found and row.get("url") is None:
            intake.left[UNKNOWN_MEDIA_ID] += 1
        elif not found:
            intake.add(add_new(connection, [row], now))
        for video in found:
            reason = _closed(connection, video, row)
            if reason is not None:
                intake.left[reason] += 1
                continue
            _refresh(connection, video.id, row, now)
            intake.updated += 1
            if video.state == State.FAILED:
                _tell_retry(connection, video, now, who)
    return intake


def _closed(connection: Connection, video: Video, row: Row) -> str | None:
    """Why this video takes no new columns."""
    if video.state not in _OPEN:
        return f"media_id is there already, {video.state}"
    if open_doubts(connection, [video.id]):
        return "media_id is there already, given up in doubt"
    if row.get("job_id") in _known(connection, "job_id", [row]):
        return SAME_JOB_ID
    return None


def newest_id(connection: Connection) -> int:
    """The id of the video inserted last."""
    newest: int = connection.execute(select(func.max(videos.c.id))).scalar_one()
    return newest


def _complete(row: Row, now: datetime) -> dict[str, object]:
    """All columns that an insert of many rows must name alike."""
    given = {name: value for name, value in row.items() if value is not None}
    return {**dict.fromkeys(COLUMNS), "priority": 0, "due_at": now, **_begin(row, now), **given}


def _begin(row: Row, now: datetime) -> dict[str, object]:
    """The state of a new row: one with a job was handed in by other means."""
    if row.get("job_id") is None:
        return {"state": State.PENDING, "submitted_at": None}
    return {"state": State.SUBMITTED, "submitted_at": now}


def _known(connection: Connection, column: str, rows: Iterable[Row]) -> set[object]:
    """Which of the rows' values of a column are in the table already."""
    values = {row[column] for row in rows if row.get(column) is not None}
    if not values:
        return set()
    return set(connection.scalars(select(videos.c[column]).where(videos.c[column].in_(values))))


def _by_media_id(connection: Connection, media_id: object) -> list[Video]:
    if media_id is None:
        return []
    rows = connection.execute(
        select(videos.c.id, videos.c.state, videos.c.claims).where(videos.c.media_id == media_id)
    )
    return [Video(row.id, row.state, row.claims) for row in rows]


def _refresh(connection: Connection, video_id: int, row: Row, now: datetime) -> None:
    """The columns anew; a failed video begins again, one with a job is submitted."""
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
    fresh = {name: row[name] for name in row if name not in kept or row[name] is not None}
    begun = _begin(row, now) if row.get("job_id") is not None else {}
    connection.execute(
        update(videos)
        .where(videos.c.id == video_id)
        .values(**{**again, **fresh, **begun, "updated_at": now})
    )


def _tell_retry(connection: Connection, video: Video, now: datetime, who: str) -> None:
    connection.execute(
        insert(history).values(
            video_id=video.id,
            attempt=video.claims,
            at=now,
            who=who,
            fact=Fact.RETRY,
            message="columns brought anew by import --update",
        )
    )
