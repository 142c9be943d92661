"""Hold the hosts from which the API could not download, and let them go. Moments are UTC."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from worker.core.host import (
    FIRST_WAIT,
    LONGEST_WAIT,
    WINDOW,
    HeldHost,
    host_of,
    is_dead,
    wait,
)
from worker.core.model import Claim
from worker.core.redact import clean
from worker.db import batch
from worker.db.schema import account, hosts, is_pending, jobs, videos
from worker.db.statements import Prepared
from worker.store import queue, uploads
from worker.store.queue import PASSED_OVER, Unwritable

LOOK_AHEAD = 100
"""Videos beyond those wanted that are looked at once one was found whose host is held."""

_is_held = hosts.c.held_since.is_not(None)
_failed = func.coalesce(jobs.c.transfer_status, "") == "error"
_ended_well = ~_failed & or_(jobs.c.ended_as == "finished", jobs.c.transfer_status == "finished")
_tells = jobs.c.ended_as != "gone"
"""A job that is gone says nothing about its download."""


def judge(connection: Connection, host: str, now: datetime) -> None:
    """Hold the host, or let it go, by its ended jobs; to be called after each end is written, in
    its transaction. ``host``: that of ``core.host.host_of``; an empty one is no host.
    """
    if not host:
        return
    known = select(hosts.c.held_since, hosts.c.judged_from).where(hosts.c.host == host)
    held_since, judged_from = connection.execute(known).first() or (None, None)
    if held_since is None:
        _hold_if_dead(connection, host, judged_from, now)
    elif _a_probe_ended_well(connection, host, held_since):
        release(connection, host, now)


def _hold_if_dead(
    connection: Connection, host: str, judged_from: datetime | None, now: datetime
) -> None:
    lately = () if judged_from is None else (jobs.c.ended_at > judged_from,)
    rows = connection.execute(
        select(_failed, jobs.c.details)
        .where(jobs.c.host == host, _tells, *lately)
        .order_by(jobs.c.ended_at.desc(), jobs.c.job_id)
        .limit(WINDOW)
    ).all()
    failed = [details for is_failed, details in rows if is_failed]
    if not is_dead([bool(is_failed) for is_failed, _ in rows]):
        return
    said = next(filter(None, failed), None)
    why = f"{len(failed)} of the last {len(rows)} jobs of {host} could not be downloaded"
    values = {
        "held_since": now,
        "probe_at": now + FIRST_WAIT,
        "probes": 0,
        "probe_video": None,
        "why": clean(why + (f" ({said})" if said else "")),
    }
    if not connection.execute(update(hosts).where(hosts.c.host == host).values(values)).rowcount:
        connection.execute(insert(hosts).values(host=host, **values))
    _count(connection)


def _a_probe_ended_well(connection: Connection, host: str, held_since: datetime) -> bool:
    """Return True if a job that was accepted when only probes were sent has ended well."""
    probes = jobs.c.accepted_at >= held_since + FIRST_WAIT
    found = select(jobs.c.job_id).where(jobs.c.host == host, jobs.c.ended_at > held_since, probes)
    return connection.scalar(found.where(_ended_well).limit(1)) is not None


def release(connection: Connection, host: str, now: datetime) -> int | None:
    """Let a host go: its videos are due now, and jobs that ended until now say nothing any more.
    Return how many videos that were; None where it was not held.
    """
    free = {"held_since": None, "judged_from": now, "probe_at": None, "probe_video": None}
    freed = update(hosts).where(hosts.c.host == host, _is_held).values(probes=0, why=None, **free)
    if not connection.execute(freed).rowcount:
        return None
    _count(connection)
    return connection.execute(_freed(videos.c.held_host == host, now)).rowcount


@dataclass(frozen=True, slots=True)
class Passing:
    """The next videos to claim, the ids of those that are probes, and how many videos of held hosts
    were postponed on the way.
    """

    rows: Sequence[queue.Row]
    probes: Collection[int] = ()
    postponed: int = 0


def passing(
    connection: Connection,
    limit: int,
    now: datetime,
    checked_until: datetime | None,
    aside: Unwritable,
    most: int,
) -> Passing:
    """Return the next videos to claim, and postpone on the way at most ``most`` of held hosts, or
    whose file is not uploaded yet.
    """
    probes = _probes(connection, limit, now, checked_until, aside)
    ids = {row[queue.ID] for row in probes}
    postponed, look = 0, limit
    while postponed < most:
        found = queue.due(connection, look, now, checked_until, aside.known)
        rows = [row for row in found if row[queue.ID] not in ids]
        held = [*_held_among(connection, rows), *uploads.hand_over(connection, rows, now)]
        if not held:
            return Passing([*probes, *rows][:limit], ids, postponed)
        some = held[: most - postponed]
        aside.tried = [number for number, *_ in some]
        rest = now + LONGEST_WAIT
        if _POSTPONE.write(connection, held=batch.encoded(some), until=rest) < len(some):
            raise ValueError(PASSED_OVER)
        postponed += len(some)
        look = limit + LOOK_AHEAD
    return Passing(probes, ids, postponed)


def _held_among(connection: Connection, rows: Sequence[queue.Row]) -> list[tuple[int, str, str]]:
    """Return the ids of the videos whose host is held, with the host and the reason."""
    names = [(row[queue.ID], host_of(row[queue.URL])) for row in rows]
    meant = batch.encoded((name,) for name in {name for _, name in names})
    reasons = {host: why or "" for host, why in _HELD(connection, meant=meant)}
    return [
        (number, name, f"its host is held: {reasons[name]}")
        for number, name in names
        if name in reasons
    ]


_meant = batch.rows("meant", hosts.c.host)
_HELD = Prepared(
    select(hosts.c.host, hosts.c.why)
    .select_from(_meant.join(hosts, hosts.c.host == _meant.c.host))
    .where(_is_held)
)
_held_rows = batch.rows("held", videos.c.id, videos.c.held_host, videos.c.error)
_POSTPONE = Prepared(
    update(videos)
    .where(videos.c.id == _held_rows.c.id)
    .values(
        held_host=_held_rows.c.held_host,
        error=_held_rows.c.error,
        due_at=bindparam("until", type_=videos.c.due_at.type),
    )
)


def _probes(
    connection: Connection,
    limit: int,
    now: datetime,
    checked_until: datetime | None,
    aside: Unwritable,
) -> list[queue.Row]:
    """Free a video of each host whose next probe is due, and return these."""
    names = [host for (host,) in _PROBED_NOW(connection, now=now)][:limit]
    if not names:
        return []
    rows = queue.first_held(connection, names, checked_until, aside.known)
    aside.tried = [row[queue.ID] for row in rows]
    connection.execute(_freed(videos.c.id.in_(aside.tried), now))
    by_host = {host_of(row[queue.URL]): row for row in rows}  # a link may have been changed
    return [by_host[name] for name in names if name in by_host]


_PROBED_NOW = Prepared(
    select(hosts.c.host)
    .where(_is_held, hosts.c.probe_at <= bindparam("now"))
    .order_by(hosts.c.probe_at)
)


def probed(connection: Connection, claims: Iterable[Claim], now: datetime) -> None:
    """Write that these claims are probes of their hosts; the next ones go after a longer wait."""
    for claim in claims:
        theirs = hosts.c.host == host_of(claim.video.url)
        probes = (connection.scalar(select(hosts.c.probes).where(theirs)) or 0) + 1
        values = {"probes": probes, "probe_at": now + wait(probes), "probe_video": claim.video_id}
        connection.execute(update(hosts).where(theirs).values(values))


def next_probe_at(
    connection: Connection, checked_until: datetime | None, aside: Collection[int]
) -> datetime | None:
    """Return when the next probe may go; None where no video is held."""
    theirs = exists().where(videos.c.held_host == hosts.c.host, *queue.can_be_a_probe(aside))
    at: datetime | None = connection.scalar(
        select(func.min(hosts.c.probe_at)).where(_is_held, theirs), {"checked_until": checked_until}
    )
    return at


def _freed(wanted: ColumnElement[bool], now: datetime) -> Update:
    return update(videos).where(is_pending, wanted).values(held_host=None, due_at=now, error=None)


def _count(connection: Connection) -> None:
    number = select(func.count()).select_from(hosts).where(_is_held).scalar_subquery()
    connection.execute(update(account).values(held_hosts=number))


def held(connection: Connection) -> Sequence[HeldHost]:
    """Return the held hosts with their evidence, the one with the most videos first."""
    theirs = select(func.count()).where(is_pending, videos.c.held_host == hosts.c.host)
    failed = select(func.count()).where(jobs.c.host == hosts.c.host, _failed)
    number = theirs.scalar_subquery().label("videos")
    rows = connection.execute(
        select(
            hosts.c.host,
            hosts.c.held_since,
            func.coalesce(hosts.c.why, ""),
            number,
            failed.scalar_subquery(),
            hosts.c.probe_at,
            hosts.c.probes,
            hosts.c.probe_video,
        )
        .where(_is_held)
        .order_by(number.desc(), hosts.c.host)
    )
    return [HeldHost(**dict(zip(HeldHost.__dataclass_fields__, row, strict=True))) for row in rows]
