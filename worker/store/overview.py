"""The queue in numbers: what is left, what was bought, what was heard last. Moments are UTC."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, func, select

from worker.core.model import Fact, State
from worker.store.desk import Filter, count
from worker.store.settle import IS_DOUBT, open_doubts
from worker.tables import history, videos

BATCH = 500

ANSWERS = (
    Fact.ACCEPTED,
    Fact.REFUSED,
    Fact.ACCOUNT_REFUSED,
    Fact.WRONG_ADDRESS,
    Fact.THROTTLED,
    Fact.TRY_LATER,
    Fact.IN_DOUBT,
    Fact.NOT_SENT,
)
"""Facts that say how the API, or the way to it, took a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The queue in numbers. ``today``: how many of ``ANSWERS`` came since midnight, by kind;
    ``heard``: the last of them.
    """

    states: dict[str, int]
    due: int
    oldest_due_at: datetime | None
    last_due_at: datetime | None
    accepted_today: int
    accepted_this_month: int
    accepted: int
    possibly_twice: int
    today: dict[str, int]
    heard: RowMapping | None


def overview(connection: Connection, now: datetime) -> Overview:
    """The queue in numbers at ``now``."""
    pending = videos.c.state == State.PENDING
    moment = videos.c.due_at.type
    due, oldest = connection.execute(
        select(func.count(), func.min(videos.c.due_at, type_=moment)).where(
            pending, videos.c.due_at <= now
        )
    ).one()
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Overview(
        states={**dict.fromkeys(State, 0), **count(connection, Filter())},
        due=due,
        oldest_due_at=oldest,
        last_due_at=connection.scalar(
            select(func.max(videos.c.due_at, type_=moment)).where(pending)
        ),
        accepted_today=_accepted_since(connection, day),
        accepted_this_month=_accepted_since(connection, day.replace(day=1)),
        accepted=_accepted_since(connection, day - timedelta(days=36_500)),
        possibly_twice=_possibly_twice(connection),
        today=_answers_since(connection, day),
        heard=_heard(connection),
    )


def _accepted_since(connection: Connection, since: datetime) -> int:
    """Jobs that this queue's attempts brought, late ones included."""
    jobs = select(func.count()).where(history.c.job_id.is_not(None), history.c.at >= since)
    return connection.execute(jobs).scalar_one()


def _answers_since(connection: Connection, since: datetime) -> dict[str, int]:
    facts = select(history.c.fact, func.count()).where(
        history.c.at >= since, history.c.fact.in_(ANSWERS)
    )
    most = facts.group_by(history.c.fact).order_by(func.count().desc(), history.c.fact)
    return dict(connection.execute(most).all())


def _heard(connection: Connection) -> RowMapping | None:
    answers = select(history).where(history.c.fact.in_(ANSWERS))
    return connection.execute(answers.order_by(history.c.id.desc()).limit(1)).mappings().first()


def _possibly_twice(connection: Connection) -> int:
    """The most that may have been bought beyond one job a video: its jobs and its open doubts,
    less one. Only a video that was in doubt once can have more than one.
    """
    doubted = select(history.c.video_id).where(IS_DOUBT).distinct()
    ids = list(connection.scalars(doubted))
    extra = 0
    for place in range(0, len(ids), BATCH):
        batch = ids[place : place + BATCH]
        bought = Counter(_jobs_of(connection, batch))
        bought.update(
            {video: len(open_) for video, open_ in open_doubts(connection, batch).items()}
        )
        extra += sum(number - 1 for number in bought.values() if number > 1)
    return extra


def _jobs_of(connection: Connection, video_ids: Sequence[int]) -> dict[int, int]:
    jobs = (
        select(history.c.video_id, func.count())
        .where(history.c.video_id.in_(video_ids), history.c.job_id.is_not(None))
        .group_by(history.c.video_id)
    )
    return dict(connection.execute(jobs).all())
