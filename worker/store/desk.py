"""What people ask of the queue and change in it. Moments are UTC; a verb reports what it left.

Each change names the states that it accepts in its own UPDATE (design.md, section 2).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Text,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from worker.core.model import Fact, State
from worker.store.queue import UNCLAIMED
from worker.store.settle import IS_DOUBT, IS_OPEN_DOUBT, open_doubts
from worker.tables import history, videos

BATCH = 500
PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which videos are meant: all that satisfy everything that is given. ``error_like`` is a part
    of the error, ``since`` the earliest last change.
    """

    states: tuple[State, ...] = ()
    error_like: str | None = None
    since: datetime | None = None
    ids: tuple[int, ...] = ()

    def clauses(self) -> list[ColumnElement[bool]]:
        """The filter as SQL."""
        clauses: list[ColumnElement[bool]] = []
        if self.states:
            clauses.append(videos.c.state.in_(self.states))
        if self.error_like is not None:
            clauses.append(videos.c.error.contains(self.error_like, autoescape=True))
        if self.since is not None:
            # As short as can be: in text 12:00:00 is before 12:00:00.000000.
            moment = self.since.astimezone(UTC).replace(tzinfo=None)
            since = moment.isoformat(" ", "microseconds").rstrip("0").rstrip(".")
            clauses.append(type_coerce(videos.c.updated_at, Text) >= since)
        if self.ids:
            clauses.append(videos.c.id.in_(self.ids))
        return clauses


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The queue in numbers."""

    states: dict[str, int]
    due: int
    oldest_due_at: datetime | None
    last_due_at: datetime | None
    accepted_today: int
    accepted_this_month: int
    accepted: int
    possibly_twice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One video, its history, oldest first, and whether an attempt of it is still in doubt."""

    video: RowMapping
    facts: tuple[RowMapping, ...]
    doubted: bool


def find(connection: Connection, reference: str) -> list[RowMapping]:
    """The videos that an id, a media id, a request id or a job id names."""
    named = [
        videos.c.media_id == reference,
        videos.c.job_id == reference,
        videos.c.request_id == reference,
    ]
    if reference.isascii() and reference.isdecimal() and len(reference) < 19:  # noqa: PLR2004 - fits 63 bits
        named.append(videos.c.id == int(reference))
    return list(connection.execute(select(videos).where(or_(*named))).mappings())


def story(connection: Connection, video: RowMapping) -> Story:
    """Everything that is known of one video."""
    number = video["id"]
    facts = select(history).where(history.c.video_id == number).order_by(history.c.id)
    return Story(
        video=video,
        facts=tuple(connection.execute(facts).mappings()),
        doubted=bool(open_doubts(connection, [number])),
    )


def matching(connection: Connection, wanted: Filter, after: int, limit: int) -> list[RowMapping]:
    """The next ``limit`` videos of a filter in the order of their ids, from ``after`` on."""
    page = (
        select(videos)
        .where(*wanted.clauses(), videos.c.id > after)
        .order_by(videos.c.id)
        .limit(limit)
    )
    return list(connection.execute(page).mappings())


def every(connection: Connection, wanted: Filter) -> Iterator[RowMapping]:
    """Every video of a filter in the order of their ids, a page at a time."""
    after = 0
    while page := matching(connection, wanted, after, PAGE):
        yield from page
        after = page[-1]["id"]


def count(connection: Connection, wanted: Filter) -> Counter[str]:
    """How many videos a filter means, by state."""
    grouped = select(videos.c.state, func.count()).where(*wanted.clauses()).group_by(videos.c.state)
    return Counter(dict(connection.execute(grouped).all()))


def count_due(connection: Connection, now: datetime) -> int:
    """How many videos are due."""
    due = select(func.count()).where(videos.c.state == State.PENDING, videos.c.due_at <= now)
    return connection.execute(due).scalar_one()


def retried_states(*, doubts: bool) -> tuple[State, ...]:
    """The states that ``retry`` accepts."""
    return (State.FAILED, State.CANCELLED, *((State.IN_DOUBT,) if doubts else ()))


def retry(connection: Connection, wanted: Filter, *, doubts: bool, now: datetime, who: str) -> int:
    """Make failed and cancelled videos pending, with attempts from 0. Videos in doubt, and failed
    ones that were given up in doubt, only with ``doubts``, which may buy twice. Returns how many.
    """
    accepted = retried_states(doubts=doubts)
    doubted = select(history.c.video_id).where(IS_OPEN_DOUBT)
    safe = [] if doubts else [videos.c.id.not_in(doubted)]
    rows = connection.execute(
        update(videos)
        .where(*wanted.clauses(), videos.c.state.in_(accepted), videos.c.job_id.is_(None), *safe)
        .values(
            state=State.PENDING,
            attempts=0,
            due_at=now,
            error=None,
            http_status=None,
            updated_at=now,
            **UNCLAIMED,
        )
        .returning(videos.c.id, videos.c.claims)
    )
    facts = [
        {"video_id": row.id, "attempt": row.claims, "at": now, "who": who, "fact": Fact.RETRY}
        for row in rows
    ]
    if facts:
        connection.execute(insert(history), facts)
    return len(facts)


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
    )


def _accepted_since(connection: Connection, since: datetime) -> int:
    """Jobs that this queue's attempts brought, late ones included."""
    jobs = select(func.count()).where(history.c.job_id.is_not(None), history.c.at >= since)
    return connection.execute(jobs).scalar_one()


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
