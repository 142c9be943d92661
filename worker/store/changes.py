"""Write what a person decides about videos: retry, cancel, resolve. Moments are UTC.

The UPDATE of each change names the states that it accepts (README.md, The life of a video). A
video that has left them meanwhile is not changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    case,
    delete,
    func,
    literal,
    select,
    update,
)

from worker.core.advice import GIVEN_UP
from worker.core.model import Fact, State
from worker.core.redact import clean
from worker.db.column_types import EPOCH
from worker.db.schema import RANDOM, account, history, jobs, uploads, videos
from worker.store.history import IS_OPEN_DOUBT, record
from worker.store.holders import ever_known
from worker.store.queue import UNCLAIMED, UNSENT, submitted
from worker.store.search import WASTED, Filter

CANCELLED_STATES = (State.PENDING, State.FAILED)
"""The states that ``cancel`` accepts."""

BOUGHT_AGAIN = "its job brought nothing; another one is bought, by --may-buy-again"


def retried_states(*, doubts: bool) -> tuple[State, ...]:
    """Return the states that ``retry`` accepts."""
    return (State.FAILED, State.CANCELLED, *((State.IN_DOUBT,) if doubts else ()))


def retry(connection: Connection, wanted: Filter, *, doubts: bool, now: datetime, who: str) -> int:
    """Make failed and cancelled videos pending with attempts from 0, and return how many.
    ``doubts``: include those in doubt, those given up in doubt, and those that had a job. It may
    buy them twice.
    """
    again = {"state": State.PENDING, "due_at": now, **UNSENT}
    if doubts:
        again |= {"may_buy_twice": 1, "http_status": None}
    accepted = retried(wanted, doubts=doubts)
    upload_anew(connection, accepted)
    return _change(connection, accepted, Fact.RETRY, now, who, **again)


def upload_anew(connection: Connection, accepted: Iterable[ColumnElement[bool]]) -> None:
    """Let the ready uploads of these videos be too old: a person who hands a video in once more may
    have replaced its file. Each stays known, as the one that a doubt or a 500 is about (law 16).
    """
    theirs = uploads.c.video_id.in_(select(videos.c.id).where(*accepted))
    ready = update(uploads).where(uploads.c.state == "ready", theirs)
    connection.execute(ready.values(ready_at=EPOCH, begun_at=None))  # no measure of the speed


def retried(wanted: Filter, *, doubts: bool) -> list[ColumnElement[bool]]:
    """Return the conditions of the videos that ``retry`` changes."""
    accepted = [*_in_states(wanted, retried_states(doubts=doubts)), videos.c.job_id.is_(None)]
    if not doubts:
        accepted.append(videos.c.id.not_in(select(history.c.video_id).where(IS_OPEN_DOUBT)))
        theirs = select(func.min(jobs.c.job_id)).where(jobs.c.video_id == videos.c.id)
        accepted.append(theirs.correlate(videos).scalar_subquery().is_(None))
    return accepted


def buy_again(connection: Connection, wanted: Filter, now: datetime, who: str) -> int:
    """Make videos whose job brought nothing pending under a new identifier, with attempts from 0,
    and return how many. The job that each has had stays in ``jobs``.
    """
    again = {"state": State.PENDING, "due_at": now, "request_id": RANDOM, **UNSENT}
    accepted = bought_for_nothing(wanted)
    upload_anew(connection, accepted)
    changed = connection.execute(
        update(videos)
        .where(*accepted)
        .values(job_id=None, submitted_at=None, updated_at=now, **again)
        .returning(videos.c.id, videos.c.claims)
    )
    number = record(connection, changed, Fact.RETRY, now, who, message=BOUGHT_AGAIN)
    connection.execute(update(account).values(bought_twice=account.c.bought_twice + number))
    return number


def bought_for_nothing(wanted: Filter) -> list[ColumnElement[bool]]:
    """Return the conditions of the videos that ``buy_again`` changes."""
    ended = select(jobs.c.job_id).where(jobs.c.ended_as.in_(WASTED))
    return [*_in_states(wanted, (State.SUBMITTED,)), videos.c.job_id.in_(ended)]


def cancelled(wanted: Filter) -> list[ColumnElement[bool]]:
    """Return the conditions of the videos that ``cancel`` changes."""
    return [*_in_states(wanted, CANCELLED_STATES), videos.c.job_id.is_(None)]


def _in_states(wanted: Filter, states: Iterable[State]) -> list[ColumnElement[bool]]:
    return [*wanted.clauses(), videos.c.state.in_(states)]


@dataclass(frozen=True, slots=True)
class Selection:
    """The videos that a change would change. ``mark`` differs if others come into them, or if one
    of them has changed; it is fit for a form as it is.
    """

    number: int
    mark: str
    examples: Sequence[RowMapping]


def selection(connection: Connection, accepted: Sequence[ColumnElement[bool]]) -> Selection:
    """Return the number of the videos of these conditions, and three of them."""
    marks = (func.count(), func.sum(videos.c.id), func.max(videos.c.updated_at))
    number, total, last = connection.execute(select(*marks).where(*accepted)).one()
    examples = connection.execute(select(videos).where(*accepted).limit(3)).mappings().all()
    mark = f"{number}-{int(total or 0)}-{last.timestamp() if last else 0}"
    return Selection(number, mark, examples)


def cancel(connection: Connection, wanted: Filter, now: datetime, who: str) -> int:
    """Cancel pending and failed videos, and return how many. ``retry`` makes them pending again."""
    return _change(connection, cancelled(wanted), Fact.CANCEL, now, who, state=State.CANCELLED)


def refuse(connection: Connection, video_id: int, why: str, now: datetime, who: str) -> int:
    """Fail a pending video without a request: the database refuses to write its claim (law 14), or
    its file cannot be uploaded.
    """
    meant = [videos.c.id == video_id, videos.c.state == State.PENDING]
    failed = {"state": State.FAILED, "error": clean(why)}
    return _change(connection, meant, Fact.INVALID, now, who, **failed)


def _change(
    connection: Connection,
    accepted: Iterable[ColumnElement[bool]],
    fact: Fact,
    now: datetime,
    who: str,
    **values: object,
) -> int:
    moment = literal(now, videos.c.due_at.type)
    due_at = case((videos.c.held_host.is_not(None), moment), else_=videos.c.due_at)
    changed = connection.execute(
        update(videos)
        .where(videos.c.job_id.is_(None), *accepted)
        .values({"updated_at": now, "held_host": None, "due_at": due_at, **values})
        .returning(videos.c.id, videos.c.claims)
    )
    return record(connection, changed, fact, now, who)


def holder_of(connection: Connection, job_id: str) -> int | None:
    """Return the id of the video that has this job, or had it until it was pruned."""
    return next((held.id for _, held in ever_known(connection, "job_id", [job_id])), None)


def resolve(
    connection: Connection, video_id: int, job_id: str | None, now: datetime, who: str
) -> bool:
    """Take a video out of doubt by a person's decision, or correct the job that a person named
    before; return False if neither is possible now. ``job_id``: the job that the person found; None
    to give the video up.
    """
    given_up = {"state": State.FAILED, "error": GIVEN_UP, **UNCLAIMED}
    values = given_up if job_id is None else submitted(job_id, now)
    attempt = connection.scalar(
        update(videos)
        .where(videos.c.id == video_id, videos.c.state == State.IN_DOUBT)
        .values(updated_at=now, **values)
        .returning(videos.c.claims)
    )
    if attempt is None and job_id is not None:
        attempt = _corrected(connection, video_id, job_id, now)
    if attempt is None:
        return False
    why = "given up by a person" if job_id is None else "found by a person"
    record(connection, [(video_id, attempt)], Fact.RESOLVE, now, who, message=why, job_id=job_id)
    return True


def _corrected(connection: Connection, video_id: int, job_id: str, now: datetime) -> int | None:
    """Give a submitted video this job in place of one that a person named and the API has never
    shown, and return its last attempt; None where that is not so. The wrong one stays in the words
    of the history alone: elsewhere it would count as bought, or keep the video that does have it
    from it.
    """
    named = (history.c.video_id == video_id, history.c.fact == Fact.RESOLVE)
    wrong = connection.execute(
        select(jobs.c.job_id, videos.c.claims)
        .join(videos, (videos.c.id == jobs.c.video_id) & (videos.c.job_id == jobs.c.job_id))
        .where(videos.c.id == video_id, videos.c.state == State.SUBMITTED)
        .where(jobs.c.status.is_(None), jobs.c.job_id.in_(select(history.c.job_id).where(*named)))
    ).first()
    if wrong is None:
        return None
    words = f"a person named job {wrong.job_id}, and has corrected that since"
    theirs = update(history).where(*named, history.c.job_id == wrong.job_id)
    connection.execute(theirs.values(job_id=None, message=words))
    corrected = update(videos).where(videos.c.id == video_id)
    connection.execute(corrected.values(job_id=job_id, updated_at=now))
    connection.execute(delete(jobs).where(jobs.c.job_id == wrong.job_id))
    claims: int = wrong.claims
    return claims
