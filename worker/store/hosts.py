"""Hold the hosts from which the API could not download, and let them go. Moments are UTC."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, insert, or_, select, update

from worker.core.host import FIRST_WAIT, WINDOW, HeldHost, is_dead
from worker.core.redact import clean
from worker.db.schema import account, hosts, is_pending, jobs, videos

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
    theirs = update(videos).where(is_pending, videos.c.held_host == host)
    return connection.execute(theirs.values(held_host=None, due_at=now, error=None)).rowcount


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
