"""Hand local files over to those who upload them, and keep what became of each. Moments are UTC.

One row a video. An upload is taken under a lease, and whoever has lost that changes it no more.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Update, func
from sqlalchemy.sql import (
    and_,
    case,
    delete,
    exists,
    false,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from worker.core.file_address import address_of, is_file, plain, problem
from worker.core.model import Claim, State
from worker.core.redact import clean
from worker.core.upload import Identity, Setback, Upload, is_fresh
from worker.db import batch
from worker.db.column_types import DialectSQL
from worker.db.schema import history, is_pending, upload_is_left, uploads, videos
from worker.db.statements import Prepared
from worker.store import changes
from worker.store.history import IS_OPEN_DOUBT
from worker.store.queue import HELD_AT_MOST, ID, PASSED_OVER, TWIN, URL, Row, Unwritable
from worker.store.statistics import number_of

HELD = "file:"
"""In ``videos.held_host``: the video waits for its upload, as others wait for their host."""

_state = select(videos.c.state).where(videos.c.id == uploads.c.video_id).correlate(uploads)
IS_WANTED = and_(upload_is_left, _state.scalar_subquery() == State.PENDING)
"""One look-up for each upload that is left: far more videos are pending."""

LOOK_AHEAD = 1_000
"""Uploads that one look finds."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The reach of one worker: the files below its ``roots``, without those that are ``absent``."""

    worker: str = ""
    roots: tuple[bytes, ...] = ()
    absent: set[int] = field(default_factory=set)


def respell(connection: Connection, rows: Sequence[Row], aside: Unwritable) -> int:
    """Write the addresses of these videos' files in their plain spelling, by which a twin is found
    (law 17). Return how many were changed, to be looked at again.
    """
    files = ((row[ID], row[URL]) for row in rows if is_file(row[URL]) and not problem(row[URL]))
    changed = [(number, plain(url)) for number, url in files if plain(url) != url]
    if changed:
        aside.tried = [number for number, _ in changed]
        if _RESPELL.write(connection, plain=batch.encoded(changed)) < len(changed):
            raise ValueError(PASSED_OVER)
    return len(changed)


_plain = batch.rows("plain", videos.c.id, videos.c.url)
_RESPELL = Prepared(update(videos).where(videos.c.id == _plain.c.id).values(url=_plain.c.url))


def hand_over(
    connection: Connection, rows: Sequence[Row], now: datetime
) -> list[tuple[int, str, str]]:
    """Have the files of these videos uploaded, whose addresses are plain (``respell``). Return the
    videos that wait for it, each with a mark and the reason. What is ready does not wait, nor what
    will be refused: a wrong address, a twin.
    """
    meant = {
        row[ID]: row[URL]
        for row in rows
        if is_file(row[URL]) and row[TWIN] is None and problem(row[URL]) is None
    }
    if not meant:
        return []
    known = connection.execute(_found(meant)).mappings().all()
    fits = [row for row in known if row["address"] == meant[row["video_id"]]]
    ready = {row["video_id"] for row in fits if _may_be_sent(row, now)}
    going = {row["video_id"] for row in fits if row["state"] in {"wanted", "uploading"}}
    if anew := meant.keys() - ready - going:
        connection.execute(delete(uploads).where(uploads.c.video_id.in_(anew)))
        given = [{"video_id": number, "address": meant[number]} for number in sorted(anew)]
        connection.execute(insert(uploads).values(next_try_at=now), given)
    return [(number, HELD, "waits for its upload") for number in meant if number not in ready]


def _found(video_ids: Collection[int]) -> Select[Any]:
    its, job = history.c.video_id == uploads.c.video_id, history.c.job_id
    is_clear = or_(job.is_not(None), history.c.fact == text("'refused'"))
    is_later = history.c.attempt > uploads.c.claims
    return select(
        uploads,
        exists().where(its, IS_OPEN_DOUBT).label("doubted"),
        exists().where(its, is_later, is_clear).label("spent"),
    ).where(uploads.c.video_id.in_(video_ids))


def _may_be_sent(row: RowMapping, now: datetime) -> bool:
    """Return True for a whole upload that was neither bought nor refused (law 16). While a doubt is
    open, the same one is sent again, however old it is, and though it was refused.
    """
    if row["state"] != "ready":
        return False
    return row["doubted"] or (not row["spent"] and is_fresh(row["ready_at"], now))


def addressed(connection: Connection, claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims, those of files with the address of their upload."""
    ids = [claim.video_id for claim in claims if is_file(claim.video.url)]
    if not ids:
        return list(claims)
    urls = {row.video_id: row.url for row in connection.execute(_found(ids))}
    sent = [replace(each.video, url=urls.get(each.video_id, each.video.url)) for each in claims]
    return [replace(claim, video=video) for claim, video in zip(claims, sent, strict=True)]


def sent_as(connection: Connection, video_id: int, url: str) -> str:
    """Return the address under which the API knows a video, which is that of its upload."""
    its = select(uploads.c.url).where(uploads.c.video_id == video_id)
    return (connection.scalar(its) if is_file(url) else None) or url


def look(connection: Connection, reach: Reach, now: datetime) -> list[tuple[int, str]]:
    """Return the next uploads that this worker can take, in the order of the queue."""
    order = (videos.c.priority.desc(), videos.c.due_at, videos.c.id)
    most = LOOK_AHEAD + len(reach.absent)
    both = _left(reach, _can_go(now)).outerjoin(videos, videos.c.id == uploads.c.video_id)
    rows = connection.execute(both.order_by(*order).limit(most))
    return [(number, address) for number, address in rows if number not in reach.absent]


def next_at(connection: Connection, reach: Reach, now: datetime) -> datetime | None:
    """Return when this worker can go on with an upload, None where none is left for it. That is
    ``now`` while it is at one.
    """
    if not reach.roots:
        return None
    can_go = or_(uploads.c.worker == reach.worker, _can_go(now))
    some = connection.execute(_left(reach, can_go).limit(len(reach.absent) + 1))
    if any(number not in reach.absent for number, _ in some):
        return now
    later = _left(reach, ~_can_go(now)).with_only_columns(func.min(_goes_at))
    at: datetime | None = connection.scalar(later)
    return at


def any_waits(connection: Connection) -> bool:
    """Return True if a video waits for its upload."""
    waits = select(videos.c.id).where(is_pending, videos.c.held_host == HELD).limit(1)
    return connection.scalar(waits) is not None


def waiting(connection: Connection, now: datetime) -> int:
    """Return how many videos that are not due wait for their upload."""
    held = (videos.c.held_host == HELD, videos.c.due_at > now)
    return number_of(connection, videos, is_pending, *held)


def _left(reach: Reach, *wanted: ColumnElement[bool]) -> Select[Any]:
    beginnings = [address_of(root) + "/" for root in reach.roots]
    below = (func.substr(uploads.c.address, 1, len(each)) == each for each in beginnings)
    columns = select(uploads.c.video_id, uploads.c.address)
    return columns.where(IS_WANTED, or_(false(), *below), *wanted)


_goes_at = func.coalesce(uploads.c.lease_until, uploads.c.next_try_at)
_moment = "coalesce(uploads.lease_until, uploads.next_try_at)"
_is_no_moment = DialectSQL(
    sqlite=f"strftime('%Y', {_moment}) IS NOT substr({_moment}, 1, 4)",
    postgresql=f"{_moment} = 'infinity'",
)
"""True for what plain SQL wrote and that never comes."""


def _can_go(now: datetime) -> ColumnElement[bool]:
    return or_(_goes_at.is_(None), _goes_at <= now, _is_no_moment)


def take(
    connection: Connection, video_id: int, reach: Reach, now: datetime, lease_until: datetime
) -> Upload | None:
    """Take an upload under a lease; None if it is not to be taken any more. A video whose address
    was changed meanwhile is due again.
    """
    since = case((uploads.c.error.is_not(None), uploads.c.next_try_at))
    row = connection.execute(
        update(uploads)
        .where(uploads.c.video_id == video_id, upload_is_left, _can_go(now))
        .values(state="uploading", worker=reach.worker, lease_until=lease_until, next_try_at=since)
        .returning(*uploads.c)
    ).first()
    if row is None or not _is_still_wanted(connection, video_id, row.address, now):
        return None
    marks = {name: getattr(row, name) for name in _MARKS}
    kept = {name: getattr(row, name) for name in _KEPT}
    identity = None if row.size is None else Identity(**marks)
    return Upload(video_id=video_id, address=row.address, identity=identity, **kept)


_MARKS = tuple(Identity.__dataclass_fields__)
_KEPT = tuple(
    name for name in Upload.__dataclass_fields__ if name not in {"video_id", "address", "identity"}
)


def _columns(upload: Upload) -> dict[str, object]:
    marks = dict.fromkeys(_MARKS) if upload.identity is None else asdict(upload.identity)
    return {**marks, **{name: getattr(upload, name) for name in _KEPT}}


def _is_still_wanted(connection: Connection, video_id: int, address: str, now: datetime) -> bool:
    """Return True if the video is pending under this address; else its upload is forgotten."""
    url = connection.scalar(select(videos.c.url).where(is_pending, videos.c.id == video_id))
    if url is not None and is_file(url) and problem(url) is None and plain(url) == address:
        return True
    connection.execute(delete(uploads).where(uploads.c.video_id == video_id))
    connection.execute(_due(video_id, now))
    return False


def _due(video_id: int, now: datetime) -> Update:
    """Return the statement that lets a video be due now, unless a person has put it off."""
    its = update(videos).where(is_pending, videos.c.id == video_id, videos.c.held_host == HELD)
    put_off = (videos.c.due_at > now + HELD_AT_MOST, videos.c.due_at)
    due_at = case(put_off, else_=literal(now, videos.c.due_at.type))
    return its.values(held_host=None, due_at=due_at, error=None)


def keep(
    connection: Connection, upload: Upload, worker: str, now: datetime, lease_until: datetime
) -> bool:
    """Write how far an upload has come, and prolong its lease. Return False if the lease is lost,
    or the video is not wanted any more.
    """
    begun = {"next_try_at": None} if upload.upload_id else {}
    values = {"lease_until": lease_until, **begun, **_columns(upload)}
    done = _change(connection, upload.video_id, worker, values)
    return done and _is_still_wanted(connection, upload.video_id, upload.address, now)


def finish(connection: Connection, upload: Upload, worker: str, url: str, now: datetime) -> bool:
    """Write the address of a finished upload, and let its video be sent, unless the lease was lost:
    another one is under way. Return False, and write nothing, if another upload has the address.
    """
    number, its = upload.video_id, videos.c.id == upload.video_id
    others = select(uploads.c.video_id).where(uploads.c.url == url, uploads.c.video_id != number)
    if connection.scalar(others.limit(1)) is not None:
        return False
    claims = func.coalesce(select(videos.c.claims).where(its).scalar_subquery(), 0)
    ready = {"state": "ready", "url": url, "ready_at": now, "claims": claims, "error": None}
    done = _change(connection, number, worker, {**ready, **_RELEASED})
    if done and _is_still_wanted(connection, number, upload.address, now):
        connection.execute(_due(number, now))
    return True


_RELEASED = {"worker": None, "lease_until": None}


def set_back(
    connection: Connection, video_id: int, setback: Setback, worker: str, now: datetime
) -> int:
    """Give an interrupted upload back, or fail its video, which costs no attempt. Return how many
    videos failed.
    """
    why = clean(setback.why)
    rest = {
        "state": "failed" if setback.is_refused else "wanted",
        "error": why or None,
        "next_try_at": now + setback.wait if setback.wait else _since(now),
        **_RELEASED,
        **(_columns(setback.upload) if setback.upload else {}),
    }
    if not _change(connection, video_id, worker, rest) or not setback.is_refused:
        return 0
    return changes.refuse(connection, video_id, f"url: {why}", now, worker)


def miss(connection: Connection, absent: Mapping[int, str], now: datetime) -> None:
    """Write why this worker cannot read these videos' files, unless another one is at them."""
    its = update(uploads).where(uploads.c.state == text("'wanted'"))
    for video_id, why in absent.items():
        new = (uploads.c.video_id == video_id, uploads.c.error.is_distinct_from(clean(why)))
        connection.execute(its.where(*new).values(error=clean(why), next_try_at=_since(now)))


def _since(now: datetime) -> ColumnElement[datetime]:
    """Return since when an upload has an error."""
    return case(
        (uploads.c.error.is_not(None), func.coalesce(uploads.c.next_try_at, now)), else_=now
    )


def _change(
    connection: Connection, video_id: int, worker: str, values: Mapping[str, object]
) -> bool:
    mine = (uploads.c.state == "uploading", uploads.c.worker == worker)
    its = update(uploads).where(uploads.c.video_id == video_id, *mine)
    return bool(connection.execute(its.values(dict(values))).rowcount)
