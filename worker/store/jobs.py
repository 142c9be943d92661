"""Read and write the jobs that are followed, and the budget of questions about them (UTC)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select, update

from worker.core.following import FollowedJob, JobEnd, JobTimes, news, typical
from worker.core.host import host_of
from worker.core.model import Fact, value
from worker.db import batch
from worker.db.schema import account, is_open, jobs, pruned, videos
from worker.db.statements import Prepared
from worker.store import hosts
from worker.store.history import record
from worker.store.statistics import number_of

LATELY = 200
"""Finished jobs from which the times of the next ones are learnt."""

MANY = 15_000
"""Open jobs, which are not counted further: the list is as rare as it can be."""

_FIELDS = tuple(FollowedJob.__dataclass_fields__)
_JOB = select(*(jobs.c[name] for name in _FIELDS))
_at, _most = bindparam("at", type_=jobs.c.next_poll_at.type), bindparam("most")
_DUE = Prepared(
    _JOB.where(is_open, jobs.c.next_poll_at <= _at).order_by(jobs.c.next_poll_at).limit(_most)
)
_backlog = _JOB.where(is_open, jobs.c.next_poll_at.is_(None))
_BACKLOG = Prepared(_backlog.order_by(jobs.c.accepted_at.desc()).limit(_most))
_NEXT_AT = Prepared(select(func.min(jobs.c.next_poll_at)).where(is_open))
_asked = batch.rows("asked", jobs.c.job_id)
_NAMED = Prepared(_JOB.join(_asked, _asked.c.job_id == jobs.c.job_id))
_MISSING = Prepared(_JOB.where(is_open, jobs.c.missing_since <= _at))
_ASKING = Prepared(
    select(
        *(account.c[name] for name in ("next_question_at", "jobs_listed_at", "list_shows_status")),
        *(account.c[name] for name in ("job_seconds", "job_seconds_most")),
    )
)


@value
class Asking:
    """The account's memory of questions about jobs. ``shows_status``: that lists do; None if no
    list has shown an own job yet.
    """

    next_question_at: datetime | None
    listed_at: datetime | None
    shows_status: bool | None
    times: JobTimes


@value
class JobChange:
    """A change of a job that is written, as a fact with its message."""

    job: FollowedJob
    fact: Fact
    message: str | None


@value
class JobCounts:
    """The jobs in numbers. ``for_nothing``: videos whose job ended in an error; ``ended``: by end."""

    open: int
    overdue: int
    for_nothing: int
    ended: dict[str, int]


def due(connection: Connection, at: datetime, most: int) -> list[FollowedJob]:
    """Return open jobs that are due at ``at``, the longest due first; where none is, those of the
    backlog, the newest first.
    """
    return _jobs(_DUE(connection, at=at, most=most) or _BACKLOG(connection, most=most))


def next_at(connection: Connection) -> datetime | None:
    """Return when the next job is due, None without one; the backlog is not asked for."""
    ((moment,),) = _NEXT_AT(connection)
    return moment


def named(connection: Connection, job_ids: Iterable[str]) -> list[FollowedJob]:
    """Return those of these jobs that are ours, ended ones too."""
    return _jobs(_NAMED(connection, asked=batch.encoded((job_id,) for job_id in job_ids)))


def missing(connection: Connection, since: datetime) -> list[FollowedJob]:
    """Return the open jobs that the API has not known since then or longer."""
    return _jobs(_MISSING(connection, at=since))


def _jobs(rows: Iterable[Sequence[object]]) -> list[FollowedJob]:
    return [FollowedJob(**dict(zip(_FIELDS, row, strict=True))) for row in rows]  # type: ignore[arg-type]


def open_jobs(connection: Connection) -> int:
    """Count the jobs that have not ended, as far as ``MANY``."""
    return number_of(connection, select(jobs.c.job_id).where(is_open).limit(MANY).subquery())


def asking(connection: Connection) -> Asking:
    """Return what the account knows of questions about jobs."""
    ((next_at, listed_at, shows, median, most),) = _ASKING(connection)
    times = JobTimes(median=median, most=most)
    status = None if shows is None else bool(shows)
    return Asking(next_question_at=next_at, listed_at=listed_at, shows_status=status, times=times)


def note(connection: Connection, **values: object) -> None:
    """Write columns of the account that ``asking`` reads."""
    connection.execute(update(account).values(**values))


def postpone(connection: Connection, job: FollowedJob, until: datetime) -> None:
    """Let no other process ask about a job before then."""
    theirs = update(jobs).where(jobs.c.job_id == job.job_id, is_open)
    connection.execute(theirs.values(next_poll_at=until))


_KEPT = ("job_id", "video_id", "attempt", "accepted_at")
_WRITTEN = tuple(name for name in _FIELDS if name not in _KEPT)
_told = batch.rows("told", jobs.c.job_id, *(jobs.c[name] for name in _WRITTEN), jobs.c.host)
_WRITE = Prepared(
    update(jobs)
    .where(jobs.c.job_id == _told.c.job_id, is_open)
    .values({name: _told.c[name] for name in (*_WRITTEN, "host")})
)


def write(
    connection: Connection, changed: Sequence[tuple[FollowedJob, FollowedJob]], now: datetime, who: str
) -> list[JobChange]:
    """Write open jobs, each as it was read in this transaction and as it is now; record what is
    news, judge the hosts of those that have ended, and learn their times.
    """
    over = {after.job_id: after for _, after in changed if after.ended_as is not None}
    urls = _urls(connection, {job.video_id for job in over.values()})
    host = {job_id: host_of(urls.get(job.video_id, "")) for job_id, job in over.items()}
    rows = (
        (after.job_id, *(getattr(after, name) for name in _WRITTEN), host.get(after.job_id))
        for _, after in changed
    )
    _WRITE.write(connection, told=batch.encoded(rows))
    told = [
        JobChange(job=after, fact=found[0], message=found[1])
        for before, after in changed
        if (found := news(before, after)) is not None
    ]
    for each in told:
        attempt = (each.job.video_id, each.job.attempt)
        record(connection, [attempt], each.fact, now, who, message=each.message)
    for name in sorted(set(filter(None, host.values()))):
        hosts.judge(connection, name, now)
    if over:
        _learn(connection)
    return told


def _urls(connection: Connection, ids: set[int]) -> dict[int, str]:
    urls = {}
    for table in (pruned, videos) if ids else ():
        rows = connection.execute(select(table.c.id, table.c.url).where(table.c.id.in_(ids)))
        urls |= dict(rows.tuples())
    return urls


def _learn(connection: Connection) -> None:
    """Write the times that own jobs took lately."""
    finished = _JOB.where(jobs.c.ended_as == JobEnd.FINISHED)
    rows = connection.execute(finished.order_by(jobs.c.ended_at.desc()).limit(LATELY))
    if (times := typical(_jobs(rows.tuples()))) is not None:
        note(connection, job_seconds=times.median, job_seconds_most=times.most)


def counts(connection: Connection) -> JobCounts:
    """Count the jobs through their indexes."""
    has_ended = jobs.c.ended_as.is_not(None)
    by_end = select(jobs.c.ended_as, func.count()).where(has_ended).group_by(jobs.c.ended_as)
    theirs = jobs.join(videos, videos.c.job_id == jobs.c.job_id)
    return JobCounts(
        open=number_of(connection, jobs, is_open),
        overdue=number_of(connection, jobs, is_open, jobs.c.overdue_since.is_not(None)),
        for_nothing=number_of(connection, theirs, jobs.c.ended_as == JobEnd.ERROR),
        ended=dict(connection.execute(by_end).tuples()),
    )


def by_status(connection: Connection) -> dict[str | None, int]:
    """Count the open jobs by status, which walks over them."""
    rows = select(jobs.c.status, func.count()).where(is_open).group_by(jobs.c.status)
    return dict(connection.execute(rows).tuples())
