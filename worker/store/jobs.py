"""Read and write the jobs that are followed, and the budget of questions about them (UTC)."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, Integer, bindparam, func, select, update

from worker.core.following import Asking, FollowedJob, news, typical
from worker.core.host import host_of
from worker.core.model import Fact, value
from worker.db import batch
from worker.db.schema import account, is_open, jobs, videos
from worker.db.statements import Prepared
from worker.store import hosts
from worker.store.history import record
from worker.store.statistics import number_of

LATELY = 200
"""Finished jobs from which the times of the next ones are learnt."""

MANY = 15_000
"""Open jobs, which are counted no further: the list is as rare as it can be."""

JobChange = tuple[FollowedJob, Fact, str | None]
"""A job as it was written, with the fact of its history and the fact's message."""

_FIELDS = tuple(FollowedJob.__dataclass_fields__)
_JOB, _OPEN = (
    select(*(jobs.c[name] for name in _FIELDS)).where(*also) for also in ((), (is_open,))
)
_at, _most = bindparam("at", type_=jobs.c.next_poll_at.type), bindparam("most", type_=Integer)
_DUE = Prepared(_OPEN.where(jobs.c.next_poll_at <= _at).order_by(jobs.c.next_poll_at).limit(_most))
_backlog = _OPEN.where(jobs.c.next_poll_at.is_(None)).order_by(jobs.c.accepted_at.desc())
_BACKLOG = Prepared(_backlog.limit(_most))
_NEXT_AT = Prepared(select(func.min(jobs.c.next_poll_at)).where(is_open))
_asked = batch.rows("asked", jobs.c.job_id)
_NAMED = Prepared(_JOB.join(_asked, _asked.c.job_id == jobs.c.job_id))
_MISSING = Prepared(_OPEN.where(jobs.c.missing_since <= _at))
_FINISHED = _JOB.where(jobs.c.ended_as == "finished").order_by(jobs.c.ended_at.desc())
_LATELY = Prepared(_FINISHED.limit(LATELY))
_ASKING = Prepared(select(*(account.c[name] for name in Asking.__dataclass_fields__)))
_WRITTEN = tuple(n for n in _FIELDS if n not in {"job_id", "video_id", "attempt", "accepted_at"})
_said = batch.rows("said", jobs.c.job_id, *(jobs.c[name] for name in (*_WRITTEN, "host")))
_written = {name: _said.c[name] for name in (*_WRITTEN, "host")}
_WRITE = Prepared(update(jobs).where(jobs.c.job_id == _said.c.job_id, is_open).values(_written))


@value
class JobCounts:
    """The jobs in numbers. ``for_nothing``: videos whose job is an error; ``ended``: by end."""

    open: int
    overdue: int
    for_nothing: int
    ended: dict[str, int]


def _jobs(rows: Iterable[Sequence[object]]) -> list[FollowedJob]:
    return [FollowedJob(**dict(zip(_FIELDS, row, strict=True))) for row in rows]  # type: ignore[arg-type]


def due(connection: Connection, at: datetime, most: int) -> list[FollowedJob]:
    """Return open jobs that are due at ``at``, the longest due first; where none is, those that no
    one has planned, the newest first.
    """
    return _jobs(_DUE(connection, at=at, most=most) or _BACKLOG(connection, most=most))


def next_at(connection: Connection) -> datetime | None:
    """Return when the next planned job is due, None without one."""
    found: datetime | None = _NEXT_AT(connection)[0][0]
    return found


def named(connection: Connection, job_ids: Iterable[str]) -> list[FollowedJob]:
    """Return those of these jobs that are ours, ended ones too."""
    return _jobs(_NAMED(connection, asked=batch.encoded([job_id] for job_id in job_ids)))


def missing(connection: Connection, since: datetime) -> list[FollowedJob]:
    """Return the open jobs that the API has not known since then, or longer."""
    return _jobs(_MISSING(connection, at=since))


def open_jobs(connection: Connection) -> int:
    """Count the jobs that have not ended, as far as ``MANY``."""
    return number_of(connection, _OPEN.limit(MANY).subquery())


def asking(connection: Connection) -> Asking:
    """Return what the account knows of questions about jobs."""
    return Asking(**dict(zip(Asking.__dataclass_fields__, _ASKING(connection)[0], strict=True)))


def note(connection: Connection, **known: object) -> None:
    """Write fields of ``asking``."""
    connection.execute(update(account).values(known))


def postpone(connection: Connection, job: FollowedJob, until: datetime) -> None:
    """Let no other process ask about an open job before then."""
    connection.execute(
        update(jobs).where(jobs.c.job_id == job.job_id, is_open).values(next_poll_at=until)
    )


def write(
    connection: Connection,
    changed: Sequence[tuple[FollowedJob, FollowedJob]],
    now: datetime,
    who: str,
) -> list[JobChange]:
    """Write open jobs, each as it was read in this transaction and as it is now; record what is
    news, judge the hosts of those that have ended, and learn the times that they took.
    """
    if not changed:
        return []
    over = [after for _, after in changed if after.ended_as is not None]
    theirs = videos.c.id.in_({job.video_id for job in over})
    urls = dict(connection.execute(select(videos.c.id, videos.c.url).where(theirs)).all())
    host = {job.job_id: host_of(urls.get(job.video_id, "")) or None for job in over}
    rows = (
        (job.job_id, *(getattr(job, name) for name in _WRITTEN), host.get(job.job_id))
        for _, job in changed
    )
    _WRITE.write(connection, said=batch.encoded(rows))
    told = [(pair[1], *found) for pair in changed if (found := news(*pair)) is not None]
    for job, fact, message in told:
        record(connection, [(job.video_id, job.attempt)], fact, now, who, message=message)
    for name in sorted(filter(None, set(host.values()))):
        hosts.judge(connection, name, now)
    if over and (took := typical(_jobs(_LATELY(connection)))) is not None:
        note(connection, job_seconds=took[0], job_seconds_most=took[1])
    return told


def counts(connection: Connection) -> JobCounts:
    """Count the jobs through their indexes."""
    has_ended = jobs.c.ended_as.is_not(None)
    by_end = select(jobs.c.ended_as, func.count()).where(has_ended).group_by(jobs.c.ended_as)
    theirs = jobs.join(videos, videos.c.job_id == jobs.c.job_id)
    return JobCounts(
        open=number_of(connection, jobs, is_open),
        overdue=number_of(connection, jobs, is_open, jobs.c.overdue_since.is_not(None)),
        for_nothing=number_of(connection, theirs, jobs.c.ended_as == "error"),
        ended=dict(connection.execute(by_end).all()),
    )


def overdue(connection: Connection) -> tuple[int, str | None]:
    """Count the overdue jobs, and return the one that is so for the longest time."""
    late = (is_open, jobs.c.overdue_since.is_not(None))
    first = select(jobs.c.job_id).where(*late).order_by(jobs.c.overdue_since).limit(1)
    return number_of(connection, jobs, *late), connection.scalar(first)


def by_status(connection: Connection) -> dict[str | None, int]:
    """Count the open jobs by status, which walks over them."""
    rows = select(jobs.c.status, func.count()).where(is_open).group_by(jobs.c.status)
    return dict(connection.execute(rows).all())
