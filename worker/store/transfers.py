"""Count what is left to upload, for those who watch."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, not_, select, true

from worker.core.advice import kind
from worker.core.transfer import Transfer
from worker.db.schema import uploads, videos
from worker.store.hosts import EVERY
from worker.store.search import Filter
from worker.store.uploads import IS_WANTED

NO_ROOT = "is in no upload_roots"

MEASURED = 20
"""Uploads that tell the speed: those begun last."""

_acknowledged = uploads.c.acknowledged * uploads.c.chunk_size
_sent = case((_acknowledged < uploads.c.size, _acknowledged), else_=uploads.c.size)
_measured = (
    select(uploads.c.state, _sent, uploads.c.begun_at, uploads.c.ready_at)
    .where(uploads.c.begun_at.is_not(None), uploads.c.state.in_(("uploading", "ready")))
    .order_by(uploads.c.begun_at.desc())
    .limit(MEASURED)
)


def transfer(
    connection: Connection, roots: Sequence[str] | None, now: datetime, patience: timedelta
) -> Transfer:
    """Return the uploads left; ``roots``: the folders of living workers, None if none lives. One
    that has had an error for longer than the patience is stuck.
    """
    homeless, why = false() if roots is None else _is_homeless(roots), uploads.c.error
    is_stuck = and_(why.is_not(None), uploads.c.next_try_at < now - patience, not_(homeless))
    counted = {
        "files": func.count(),
        "uploading": func.count().filter(uploads.c.state == "uploading"),
        "unseen": func.count().filter(uploads.c.size.is_(None)),
        "size": func.sum(uploads.c.size),
        "sent": func.sum(_sent),
        "homeless": func.count().filter(homeless),
        "stuck": func.count().filter(is_stuck),
    }
    named = [number.label(name) for name, number in counted.items()]
    at = func.max(func.coalesce(uploads.c.next_try_at, uploads.c.lease_until))
    of_all = select(*named, at, func.min(why).filter(is_stuck)).where(IS_WANTED)
    *found, until, stuck_on = connection.execute(of_all).one()
    numbers = {name: int(number or 0) for name, number in zip(counted, found, strict=True)}
    per_second = speed(connection, now) if numbers["files"] else None
    return Transfer(**numbers, per_second=per_second, at=until, stuck_on=stuck_on or "")


def waiting(
    connection: Connection, roots: Sequence[str] | None, among: Filter = EVERY
) -> list[tuple[int, str, int]]:
    """Return why uploads of videos ``among`` these are not begun, the most frequent reason first,
    with number and example.
    """
    homeless = false() if roots is None else _is_homeless(roots)
    why = case((homeless, NO_ROOT), else_=uploads.c.error)
    wanted = select(uploads.c.video_id, why).where(IS_WANTED, why.is_not(None))
    wanted = wanted.where(uploads.c.state == "wanted")
    if clauses := among.clauses():
        wanted = wanted.where(uploads.c.video_id.in_(select(videos.c.id).where(*clauses)))
    groups: dict[str, tuple[str, list[int]]] = {}
    for video, reason in connection.execute(wanted.order_by(uploads.c.video_id)):
        groups.setdefault(kind(reason), (reason, []))[1].append(video)
    found = [(len(ids), reason, ids[0]) for reason, ids in groups.values()]
    return sorted(found, key=lambda each: -each[0])


def _is_homeless(roots: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition of files that are below none of these folders."""
    whole = [f"{root}/" for root in roots]
    return and_(true(), *(func.substr(uploads.c.address, 1, len(each)) != each for each in whole))


def speed(connection: Connection, now: datetime) -> float | None:
    """Return the bytes per second of all uploads under way, else of each of those that ended."""
    spans: dict[str, list[tuple[int, float]]] = {"uploading": [], "ready": []}
    for state, sent, begun_at, ready_at in connection.execute(_measured):
        spans[state].append((int(sent), max(1.0, ((ready_at or now) - begun_at).total_seconds())))
    under_way = sum(sent / seconds for sent, seconds in spans["uploading"])
    sent, seconds = (sum(each) for each in zip((0, 0.0), *spans["ready"], strict=True))
    return under_way or (sent / seconds if sent else None)
