"""Hold the hosts from which the API could not download, and let them go. Moments are UTC."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import (
    Connection,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal_column,
    select,
    union_all,
    update,
)

from worker.core.host import FIRST_WAIT, LONGEST_WAIT, WINDOW, HeldHost, host_of, is_dead, wait
from worker.core.model import Claim
from worker.core.redact import clean
from worker.db import batch
from worker.db.schema import account, hosts, is_pending, jobs, videos
from worker.db.statements import Prepared
from worker.store import queue, uploads
from worker.store.queue import PASSED_OVER, Unwritable
from worker.store.search import Filter

EVERY = Filter()

LOOK_AHEAD = 100
"""Videos beyond those wanted that are looked at once one was found whose host is held."""

FARTHEST = 2 * LONGEST_WAIT
"""No probe is planned so far ahead but by a clock that was set back since."""

FREED_AT_ONCE = 5_000
"""Videos that one transaction lets go; others wait for it some tenth of a second."""

ANY_TIME = datetime.max.replace(tzinfo=UTC)

Passing = tuple[Sequence[queue.Row], Collection[int], int]
"""Videos to claim, the ids of the probes among them, and how many others were postponed."""

_is_held = hosts.c.held_since.is_not(None)
_failed = func.coalesce(jobs.c.transfer_status, "") == "error"
_finished = (jobs.c.ended_as == "finished") | (jobs.c.transfer_status == "finished")
_now, _far = (bindparam(name, type_=videos.c.due_at.type) for name in ("now", "far"))
_UNMARKED = {"held_host": None, "error": None}
_FREE = update(videos).where(is_pending).values(held_host=None, due_at=_now, error=None)
_tells = (jobs.c.ended_as != "gone", jobs.c.next_poll_at.is_not(None))
"""A job that is gone says nothing about its download; one that no one has planned may have
ended long ago, as those of an upgrade.
"""


def judge(connection: Connection, host: str, now: datetime) -> None:
    """Hold the host, or let it go, by its ended jobs; to be called after each end is written, in
    its transaction. ``host``: that of ``core.host.host_of``; an empty one is no host.
    """
    if not host:
        return
    known = select(hosts.c.held_since, hosts.c.judged_from).where(hosts.c.host == host)
    held_since, judged_from = connection.execute(known).first() or (None, None)
    if held_since is not None and held_since > now:
        _set_back(connection, host, now)
        held_since = now
    if held_since is None:
        _hold_if_dead(connection, host, judged_from, now)
    elif _a_probe_ended_well(connection, host, held_since):
        release(connection, host, now)
    elif (why := _evidence(connection, host, judged_from)) is not None:
        connection.execute(update(hosts).where(hosts.c.host == host).values(why=why))


def _set_back(connection: Connection, host: str, now: datetime) -> None:
    """Let what a clock that was ahead has written be of now: it would outweigh all that comes."""
    ahead = update(jobs).where(jobs.c.host == host, jobs.c.ended_at > now)
    connection.execute(ahead.values(ended_at=now))
    held = update(hosts).where(hosts.c.host == host, hosts.c.held_since > now)
    connection.execute(held.values(held_since=now))


def _hold_if_dead(
    connection: Connection, host: str, judged_from: datetime | None, now: datetime
) -> None:
    if (why := _evidence(connection, host, judged_from)) is None:
        if judged_from is not None:
            _free(connection, host, now, now + queue.HELD_AT_MOST)  # what its release has left
        return
    values = {"held_since": now, "probe_at": now + FIRST_WAIT, "probes": 0, "why": why}
    if not connection.execute(update(hosts).where(hosts.c.host == host).values(values)).rowcount:
        connection.execute(insert(hosts).values(host=host, **values))
    _count(connection)


def _evidence(connection: Connection, host: str, judged_from: datetime | None) -> str | None:
    """Return that the last ended jobs of a host say that it is dead; None if they do not."""
    lately = () if judged_from is None else (jobs.c.ended_at > judged_from,)
    rows = connection.execute(
        select(_failed, jobs.c.details)
        .where(jobs.c.host == host, *_tells, *lately)
        .order_by(jobs.c.ended_at.desc(), jobs.c.accepted_at.desc())
        .limit(WINDOW)
    ).all()
    failed = [details for is_failed, details in rows if is_failed]
    if not is_dead([bool(is_failed) for is_failed, _ in rows]):
        return None
    said = "".join(f" ({details})" for details in [*filter(None, failed)][:1])
    of = f"{len(failed)} of the last {len(rows)} jobs of {host}"
    return clean(f"{of} could not be downloaded{said}")


def _a_probe_ended_well(connection: Connection, host: str, held_since: datetime) -> bool:
    """Return True if a job that was accepted when only probes were sent has ended well."""
    probes = jobs.c.accepted_at >= held_since + FIRST_WAIT
    found = select(jobs.c.job_id).where(jobs.c.host == host, jobs.c.ended_at > held_since, probes)
    return connection.scalar(found.where(_finished, ~_failed).limit(1)) is not None


def release(connection: Connection, host: str, now: datetime) -> int | None:
    """Let a host go: jobs that ended until now say nothing any more, and ``FREED_AT_ONCE`` of its
    videos are due now, unless they were put off. Return how many, to be called again until that is
    0; None where nothing was held. What is left by one that is broken off is freed by the next, or
    by the next end of a job.
    """
    latest = _latest(connection, host, now)
    _set_back(connection, host, now)
    free = {"held_since": None, "judged_from": now, "probe_at": None, "probe_video": None}
    ended = update(hosts).where(hosts.c.host == host, _is_held).values(free)
    if was_held := connection.execute(ended).rowcount:
        _count(connection)
    return _free(connection, host, now, latest) or (0 if was_held else None)


def _free(connection: Connection, host: str, now: datetime, latest: datetime) -> int:
    some = select(videos.c.id).where(is_pending, videos.c.held_host == host).limit(FREED_AT_ONCE)
    # A CASE, since PostgreSQL would walk over all that is due for the few that were put off.
    is_put_off = case((videos.c.due_at > latest, 1), else_=0)
    held, put_off = some.where(is_put_off == 0), some.where(is_put_off == 1)
    freed = connection.execute(_FREE.where(videos.c.id.in_(held)), {"now": now}).rowcount
    connection.execute(update(videos).where(videos.c.id.in_(put_off)).values(_UNMARKED))
    return freed


def _latest(connection: Connection, host: str, now: datetime) -> datetime:
    """Return until when the hold can have postponed a video: a later ``due_at`` is a person's. That
    of a hold which a clock that was ahead has written is no one's.
    """
    since = connection.scalar(select(hosts.c.held_since).where(hosts.c.host == host))
    return now + queue.HELD_AT_MOST if since is None or since <= now else ANY_TIME


def forget(connection: Connection, video_id: int) -> None:
    """Let the hold of a video be none, before a person's ``due_at`` takes the place of its own."""
    its = (videos.c.id == video_id, videos.c.held_host.is_not(None))
    connection.execute(update(videos).where(*its).values(_UNMARKED))


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
    probes: dict[int, queue.Row] | None = None
    postponed, look = 0, limit
    while postponed < most:
        found = queue.due(connection, look, now, checked_until, aside.known)
        if uploads.respell(connection, found, aside):
            continue  # a twin may be known by now
        names = {row[queue.ID]: host_of(row[queue.URL]) for row in found}
        meant = batch.encoded((name,) for name in {*names.values()})
        known = _KNOWN(connection, meant=meant, now=now, far=now + FARTHEST)
        if probes is None:
            waiting = [host for host, _, is_due in known if is_due]
            probes = _probes(connection, waiting[:limit], now, aside)
            if waiting:
                continue  # what is freed is due
        reasons = {host: f"its host is held: {why}" for host, why, is_due in known if not is_due}
        held = [
            (n, of, reasons[of]) for n, of in names.items() if of in reasons and n not in probes
        ]
        held += uploads.hand_over(connection, found, now)
        if not held:
            rest = (row for row in found if row[queue.ID] not in probes)
            return [*probes.values(), *rest][:limit], probes, postponed
        held = held[: most - postponed]
        aside.tried = [number for number, *_ in held]
        until, rows = now + LONGEST_WAIT, batch.encoded(held)
        if _POSTPONE.write(connection, held=rows, until=until) < len(held):
            raise ValueError(PASSED_OVER)
        postponed, look = postponed + len(held), limit + LOOK_AHEAD
    return [*(probes or {}).values()], probes or (), postponed


def _probes(
    connection: Connection, waiting: Iterable[str], now: datetime, aside: Unwritable
) -> dict[int, queue.Row]:
    """Free a video of each of these hosts, and return them by id as probes."""
    probes: dict[int, queue.Row] = {}
    for host in waiting:
        latest = _latest(connection, host, now)
        rows = queue.first_held(connection, host, aside.known, latest)
        if not rows:
            _put_off(connection, host, now, aside, latest)
        aside.tried = [row[queue.ID] for row in rows]
        connection.execute(_FREE.where(videos.c.id.in_(aside.tried)), {"now": now})
        probes |= {row[queue.ID]: row for row in rows if host_of(row[queue.URL]) == host}
    return probes


def _put_off(
    connection: Connection, host: str, now: datetime, aside: Unwritable, latest: datetime
) -> None:
    """Let the probe of a host wait as after the last one, if all its videos are set aside or put
    off. One that another program holds just now is tried again at once.
    """
    its = (is_pending, videos.c.held_host == host, videos.c.id.not_in(aside.known))
    held = select(videos.c.id).where(*its, videos.c.due_at <= latest)
    if connection.scalar(held.limit(1)) is None:
        theirs = hosts.c.host == host
        at = now + wait(connection.scalar(select(hosts.c.probes).where(theirs)) or 0)
        connection.execute(update(hosts).where(theirs).values(probe_at=at))


_has_videos = exists().where(is_pending, videos.c.held_host == hosts.c.host)
_meant = batch.rows("meant", hosts.c.host)
_of_meant = _meant.c.host == hosts.c.host
_held_ones = (
    select(hosts.c.host, hosts.c.why, literal_column("0")).join(_meant, _of_meant).where(_is_held)
)
_due_ones, _far_ones = (
    select(hosts.c.host, hosts.c.why, literal_column("1")).where(_is_held, is_due, _has_videos)
    for is_due in (hosts.c.probe_at <= _now, hosts.c.probe_at > _far)
)
_KNOWN = Prepared(union_all(_held_ones, _due_ones, _far_ones))
"""The held hosts among those of some links, and all those whose probe is due."""

_rows = batch.rows("held", videos.c.id, videos.c.held_host, videos.c.error)
_until = bindparam("until", type_=videos.c.due_at.type)
_marks = {"held_host": _rows.c.held_host, "error": _rows.c.error, "due_at": _until}
_POSTPONE = Prepared(update(videos).where(videos.c.id == _rows.c.id).values(_marks))


def probed(connection: Connection, claims: Iterable[Claim], now: datetime) -> None:
    """Write that these claims are probes of their hosts; the next ones go after a longer wait."""
    for claim in claims:
        theirs = hosts.c.host == host_of(claim.video.url)
        probes = (connection.scalar(select(hosts.c.probes).where(theirs)) or 0) + 1
        values = {"probes": probes, "probe_at": now + wait(probes), "probe_video": claim.video_id}
        connection.execute(update(hosts).where(theirs).values(values))


def next_probe_at(connection: Connection, now: datetime) -> datetime | None:
    """Return when the next probe may go; None where no video is held."""
    at: datetime | None = connection.scalar(_NEXT_PROBE)
    return now if at is not None and at > now + FARTHEST else at


_NEXT_PROBE = select(func.min(hosts.c.probe_at)).where(_is_held, _has_videos)


def _count(connection: Connection) -> None:
    number = select(func.count()).select_from(hosts).where(_is_held).scalar_subquery()
    connection.execute(update(account).values(held_hosts=number))


def held(connection: Connection, among: Filter = EVERY) -> Sequence[HeldHost]:
    """Return the held hosts with their evidence, the one with the most videos first, of those
    ``among`` which they are counted.
    """
    held_ones = (is_pending, videos.c.held_host == hosts.c.host, *among.clauses())
    number = select(func.count()).where(*held_ones).scalar_subquery().label("videos")
    first = select(func.min(videos.c.id)).where(*held_ones).scalar_subquery()
    failed = select(func.count()).where(jobs.c.host == hosts.c.host, _failed).scalar_subquery()
    probe_at = func.coalesce(hosts.c.probe_at, hosts.c.held_since).label("probe_at")
    why, probes = func.coalesce(hosts.c.why, ""), (probe_at, hosts.c.probes)
    fields = (hosts.c.host, hosts.c.held_since, why, number, first, failed, *probes)
    rows = (
        select(*fields, hosts.c.probe_video).where(_is_held).order_by(number.desc(), hosts.c.host)
    )
    names = HeldHost.__dataclass_fields__
    return [HeldHost(**dict(zip(names, row, strict=True))) for row in connection.execute(rows)]
