"""The queue in numbers: what is left, what was bought, what was heard last. Moments are UTC."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select

from worker.core.model import Fact, State
from worker.db.schema import history
from worker.store import counts
from worker.store.settle import IS_DOUBT, open_doubts

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
    states = counts.by_state(connection)
    first, last = counts.span(connection)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    bought = _facts(connection, _brought_a_job, history.c.at >= day)
    others = _facts(connection, _brought_none, history.c.at >= day)
    return Overview(
        states=states,
        due=counts.due(connection, states[State.PENDING], now),
        oldest_due_at=first if first is not None and first <= now else None,
        last_due_at=last,
        accepted_today=bought.total(),
        accepted_this_month=_number(connection, _brought_a_job, history.c.at >= day.replace(day=1)),
        accepted=_number(connection) - _number(connection, _brought_none),
        possibly_twice=_possibly_twice(connection),
        today={fact: n for fact, n in (bought + others).most_common() if fact in ANSWERS},
        heard=_heard(connection),
    )


_brought_a_job = history.c.job_id.is_not(None)
_brought_none = history.c.job_id.is_(None)
"""There is an index for either, and none for both."""


def _number(connection: Connection, *wanted: ColumnElement[bool]) -> int:
    """How many facts there are of a kind."""
    facts = select(func.count()).select_from(history).where(*wanted)
    return connection.execute(facts).scalar_one()


def _facts(connection: Connection, *wanted: ColumnElement[bool]) -> Counter[str]:
    """How many facts of a kind say what."""
    facts = select(history.c.fact, func.count()).where(*wanted).group_by(history.c.fact)
    return Counter(dict(connection.execute(facts).all()))


def _heard(connection: Connection) -> RowMapping | None:
    answers = select(history).where(history.c.fact.in_(ANSWERS))
    return _last(connection, answers)


def last_throttled(connection: Connection) -> RowMapping | None:
    """The last 429, the quicker to find the later it was; None if there was none."""
    return _last(connection, select(history).where(history.c.fact == Fact.THROTTLED))


def _last(connection: Connection, facts: Select[*tuple[object, ...]]) -> RowMapping | None:
    return connection.execute(facts.order_by(history.c.id.desc()).limit(1)).mappings().first()


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
