"""The way in: rows that were admitted become videos, unless they are there already.

Check and insert are one transaction, so that two imports at once cannot both pass the check.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, func, insert, select, update

from worker.core.model import Fact, State
from worker.tables import history, videos

Row = Mapping[str, object]

SAME_URL = "same url as a video that is there already"
SAME_MEDIA_ID = "same media_id as a video that is there already"

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


def add_all(connection: Connection, rows: Iterable[Row], now: datetime) -> Intake:
    """Insert every row, whatever is there."""
    fresh = [_complete(row, now) for row in rows]
    if fresh:
        connection.execute(insert(videos), fresh)
    return Intake(inserted=len(fresh))


def add_new(connection: Connection, rows: Sequence[Row], now: datetime) -> Intake:
    """Insert the rows whose url and media_id are new, to the table and among themselves."""
    intake, fresh = Intake(), []
    urls, media_ids = _known(connection, rows)
    for row in rows:
        if row["url"] in urls:
            intake.skipped[SAME_URL] += 1
        elif row.get("media_id") in media_ids:
            intake.skipped[SAME_MEDIA_ID] += 1
        else:
            fresh.append(row)
            urls.add(row["url"])
            media_ids |= {row["media_id"]} if "media_id" in row else set()
    intake.add(add_all(connection, fresh, now))
    return intake


def add_or_update(
    connection: Connection, rows: Sequence[Row], named: Sequence[str], now: datetime, who: str
) -> Intake:
    """Rows whose media_id is there already give it their ``named`` columns anew, as long as it is
    pending, failed (then pending again) or cancelled; others are inserted as by ``add_new``.

    One row at a time in the file's order, so that of two rows with one media_id the later wins.
    """
    intake = Intake()
    for row in rows:
        media_id = row.get("media_id")
        found = _by_media_id(connection, media_id) if media_id is not None else []
        if not found:
            intake.add(add_new(connection, [row], now))
        for video_id, state, claims in found:
            if state not in _OPEN:
                intake.left[f"media_id is there already, {state}"] += 1
                continue
            values = {name: row.get(name) for name in named if name != "media_id"}
            _refresh(connection, video_id, values, now)
            intake.updated += 1
            if state == State.FAILED:
                _tell_retry(connection, video_id, claims, now, who)
    return intake


def newest_id(connection: Connection) -> int:
    """The id of the video inserted last."""
    newest: int = connection.execute(select(func.max(videos.c.id))).scalar_one()
    return newest


def _complete(row: Row, now: datetime) -> dict[str, object]:
    """All columns that an insert of many rows must name alike."""
    blank = dict.fromkeys(_FILLED)
    return {**blank, "priority": 0, "due_at": now, **row}


_FILLED = tuple(
    column.name
    for column in videos.c
    if column.nullable and column.name not in {"claim_token", "claimed_by", "lease_until"}
)


def _known(connection: Connection, rows: Iterable[Row]) -> tuple[set[object], set[object]]:
    urls = {row["url"] for row in rows}
    media_ids = {row["media_id"] for row in rows if "media_id" in row}
    return (
        set(connection.scalars(select(videos.c.url).where(videos.c.url.in_(urls)))),
        set(connection.scalars(select(videos.c.media_id).where(videos.c.media_id.in_(media_ids)))),
    )


def _by_media_id(connection: Connection, media_id: object) -> list[tuple[int, str, int]]:
    rows = connection.execute(
        select(videos.c.id, videos.c.state, videos.c.claims).where(videos.c.media_id == media_id)
    )
    return [(row.id, row.state, row.claims) for row in rows]


def _refresh(
    connection: Connection, video_id: int, values: Mapping[str, object], now: datetime
) -> None:
    """The columns anew; a failed video begins again."""
    failed = videos.c.state == State.FAILED
    fresh = {name: value for name, value in values.items() if name not in {"priority", "due_at"}}
    asked = {name: values[name] for name in ("priority", "due_at") if values.get(name) is not None}
    again = {
        "state": case((failed, State.PENDING), else_=videos.c.state),
        "attempts": case((failed, 0), else_=videos.c.attempts),
        "error": case((failed, None), else_=videos.c.error),
        "http_status": case((failed, None), else_=videos.c.http_status),
        "due_at": case(
            (failed, bindparam("now", now, videos.c.due_at.type)), else_=videos.c.due_at
        ),
    }
    connection.execute(
        update(videos)
        .where(videos.c.id == video_id)
        .values(**{**again, **fresh, **asked, "updated_at": now})
    )


def _tell_retry(
    connection: Connection, video_id: int, claims: int, now: datetime, who: str
) -> None:
    connection.execute(
        insert(history).values(
            video_id=video_id,
            attempt=claims,
            at=now,
            who=who,
            fact=Fact.RETRY,
            message="columns brought anew by import --update",
        )
    )
