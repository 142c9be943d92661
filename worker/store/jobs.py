"""Read and write the jobs that are followed, and the budget of questions about them (UTC)."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, Integer, bindparam, func, literal, select, update

from worker.core.following import BEFORE_ALL, FARTHEST, Asking, FollowedJob, news, typical
from worker.core.host import host_of
from worker.core.model import Fact, value
from worker.db import batch
from worker.db.column_types import EPOCH, Bound
from worker.db.schema import account, is_open, jobs, videos
from worker.db.statements import Prepared
from worker.store import hosts, shared_state
from worker.store.history import record
from worker.store.statistics import number_of

LATELY = 200
"""Finished jobs from which the times of the next ones are learnt."""

MANY = 15_000
"""Open jobs, which are counted no further: the list is as rare as it can be. No look for one among
others goes further either.
"""

CALL_REST = timedelta(seconds=30)
"""After a question, before a call lets its job be asked about again: one call may come often."""

JobChange = tuple[FollowedJob, Fact, str | None]
"""A job as it was written, with the fact of its history and the fact's message."""

_FIELDS = tuple(FollowedJob.__dataclass_fields__)
_JOB, _OPEN = (
    select(*(jobs.c[name] for name in _FIELDS)).where(*also) for also in ((), (is_open,))
)
_at, _most = bindparam("at", type_=jobs.c.next_poll_at.type), bindparam("most", type_=Integer)
_by_time = _OPEN.where(jobs.c.next_poll_at <= _at).order_by(jobs.c.next_poll_at)
_DUE = Prepared(_by_time.limit(_most))
_many = _by_time.limit(MANY).subquery()
_in_time = select(_many).where(_many.c.overdue_since.is_(None)).order_by(_many.c.next_poll_at)
_IN_TIME = Prepared(_in_time.limit(_most))
_backwards = (jobs.c.next_poll_at.desc(), jobs.c.accepted_at.desc())  # as the index has them
_backlog = _OPEN.where(jobs.c.next_poll_at.is_(None))
_BACKLOG = Prepared(_backlog.order_by(*_backwards).limit(_most))
_NEXT_AT = Prepared(select(func.min(jobs.c.next_poll_at)).where(is_open))
_now, _soon = (bindparam(name, type_=jobs.c.next_poll_at.type) for name in ("now", "soon"))
_too_far = (jobs.c.next_poll_at > _soon) & jobs.c.overdue_since.is_(None)
_far = update(jobs).where(is_open, (jobs.c.next_poll_at > _at) | _too_far)
_RECALL = Prepared(_far.values(next_poll_at=_now))
_asked = batch.rows("asked", jobs.c.job_id)
_NAMED = Prepared(_JOB.join(_asked, _asked.c.job_id == jobs.c.job_id))
_lost = _OPEN.where(jobs.c.missing_since <= _at)
_LOST = Prepared(_lost.limit(1))
_newest = _lost.order_by(jobs.c.missing_since.desc()).limit(MANY).subquery()
_first, _last = (bindparam(name, type_=jobs.c.accepted_at.type) for name in ("first", "last"))
_shown = (_newest.c.accepted_at > _first, _newest.c.accepted_at < _last)
_MISSING = Prepared(select(_newest).where(*_shown).limit(_most))
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
    one has planned, the newest first. Overdue ones come last, if nobody has called for them.
    """
    found = _jobs(_DUE(connection, at=at, most=most))
    if found and (found[0].overdue_since is None or found[0].next_poll_at == BEFORE_ALL):
        return found
    in_time = found and _IN_TIME(connection, at=at, most=most)
    return _jobs(in_time or _BACKLOG(connection, most=most)) or found


def next_at(connection: Connection) -> datetime | None:
    """Return when the next planned job is due, None without one."""
    found: datetime | None = _NEXT_AT(connection)[0][0]
    return found


def recall(connection: Connection, now: datetime) -> None:
    """Let open jobs be due now that are planned farther ahead than any schedule."""
    soon = now + asking(connection).farthest
    _RECALL.write(connection, at=now + FARTHEST, soon=soon, now=now)


def named(connection: Connection, job_ids: Iterable[str]) -> list[FollowedJob]:
    """Return those of these jobs that are ours, ended ones too."""
    return _jobs(_NAMED(connection, asked=batch.encoded([job_id] for job_id in job_ids)))


def is_any_missing(connection: Connection, since: datetime) -> bool:
    """Return True if there is an open job that the API has not known since then, or longer."""
    return bool(_LOST(connection, at=since))


def missing(
    connection: Connection, since: datetime, around: tuple[datetime, datetime], most: int
) -> list[FollowedJob]:
    """Return open jobs that the API has not known since then, or longer, and that were accepted
    between these moments; of many, those that were missed last.
    """
    first, last = around
    return _jobs(_MISSING(connection, at=since, first=first, last=last, most=most))


def open_jobs(connection: Connection) -> int:
    """Count the jobs that have not ended, as far as ``MANY``."""
    return number_of(connection, _OPEN.limit(MANY).subquery())


def asking(connection: Connection) -> Asking:
    """Return what the account knows of questions about jobs. Raises DatabaseProblem without it."""
    known = shared_state.the_row(_ASKING(connection))
    return Asking(**dict(zip(Asking.__dataclass_fields__, known, strict=True)))


def note(connection: Connection, **known: object) -> None:
    """Write fields of ``asking``."""
    connection.execute(update(account).values(known))


def postpone(connection: Connection, job: FollowedJob, until: datetime) -> None:
    """Let no other process ask about an open job before then."""
    connection.execute(
        update(jobs).where(jobs.c.job_id == job.job_id, is_open).values(next_poll_at=until)
    )


def hasten(connection: Connection, video_ids: Collection[int | None], now: datetime) -> None:
    """Let the open jobs that these videos have be asked about before all others; one that was asked
    about lately, or whose question failed, soon.
    """
    theirs = select(videos.c.job_id).where(videos.c.id.in_(video_ids))
    hastened = update(jobs).where(is_open, jobs.c.job_id.in_(theirs))
    asked_at = func.coalesce(jobs.c.polled_at, literal(EPOCH, Bound))
    rested = (asked_at <= literal(now - CALL_REST, Bound), jobs.c.poll_errors == 0)
    connection.execute(hastened.where(*rested).values(next_poll_at=BEFORE_ALL))
    soon = now + CALL_REST
    later = hastened.where(jobs.c.next_poll_at > literal(soon, Bound))
    connection.execute(later.values(next_poll_at=soon))


def is_any_answered(connection: Connection) -> bool:
    """Return True if a job is in progress, is not overdue, and its last question was answered."""
    answered = (jobs.c.overdue_since.is_(None), jobs.c.polls > 0, jobs.c.poll_errors == 0)
    return connection.execute(_OPEN.where(*answered).limit(1)).first() is not None


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
