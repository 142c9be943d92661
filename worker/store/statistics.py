"""Count videos and facts through indexes, without a walk over a table. Moments are UTC.

A count through an index takes some 30 ms for a million videos; a walk, twenty times as long.
"""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    RowMapping,
    Select,
    exists,
    func,
    select,
    text,
)

from worker.core.model import Fact, State
from worker.core.verdict import UNCLEAR
from worker.db.schema import (
    account,
    history,
    is_left,
    is_of_video,
    is_pending,
    is_submitting,
    jobs,
    pruned,
    videos,
)
from worker.store.bulk import BATCH, batches
from worker.store.history import IS_DOUBT, open_doubts

IN_STATE = {state: videos.c.state == text(f"'{state}'") for state in State}
"""Conditions with literals, so that the partial indexes serve them."""

FEW = 50_000
"""Videos that are counted in some 5 ms."""

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
"""Facts that record how the API, or the network before it, took a request."""


_MOVES = (
    *(Fact.ACCEPTED, Fact.REFUSED, Fact.INVALID, Fact.IN_DOUBT),
    *(Fact.LATE_ANSWER, Fact.FOUND, Fact.ABSENT),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The queue in numbers. ``today``: the ``ANSWERS`` since midnight; ``heard``: the last one."""

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
    """Return the queue in numbers at ``now``."""
    states = by_state(connection)
    first, last = span(connection)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    bought = number_of(connection, history, _has_job, history.c.at >= day)
    # Grouping sorts: of what brought a job, the acceptances, nearly all, are the rest.
    today = _facts_by_kind(connection, _has_job, history.c.at >= day, _is_not_accepted)
    today[Fact.ACCEPTED] = bought - today.total()
    today += _facts_by_kind(connection, _has_no_job, history.c.at >= day)
    month_so_far = bought + number_of(
        connection, history, _has_job, history.c.at >= month, history.c.at < day
    )
    before = number_of(connection, history, _has_job, history.c.at < month)
    return Overview(
        states=states,
        due=due(connection, states[State.PENDING], now),
        oldest_due_at=first if first is not None and first <= now else None,
        last_due_at=last,
        accepted_today=bought,
        accepted_this_month=month_so_far,
        accepted=month_so_far + before + (connection.scalar(select(account.c.pruned_jobs)) or 0),
        possibly_twice=_possibly_twice(connection),
        today={fact: n for fact, n in today.most_common() if fact in ANSWERS},
        heard=_last(connection, _ANSWERED),
    )


def _last_of(facts: Collection[Fact]) -> Select[*tuple[object, ...]]:
    """Return the query for the newest of these facts, each of which ends a part of an index. A fact
    is no constant in it: PostgreSQL would walk the history to find one that it thinks is near.
    """
    ordered = select(history.c.id).order_by(history.c.fact.desc(), history.c.id.desc()).limit(1)
    names = (text(f"'{fact}'") for fact in facts)
    each = (ordered.where(is_of_video, history.c.fact.between(name, name)) for name in names)
    ends = [last.scalar_subquery() for last in each]
    return select(history).where(history.c.id.in_(ends)).order_by(history.c.id.desc()).limit(1)


_REFUSALS = (Fact.ACCOUNT_REFUSED, Fact.WRONG_ADDRESS)
_CLEAR = (Fact.ACCEPTED, Fact.REFUSED, *_REFUSALS)
_NO_ANSWERS = (Fact.NOT_SENT, Fact.TRY_LATER)
_ANSWERED, _MOVED, _THROTTLED = map(_last_of, (ANSWERS, _MOVES, (Fact.THROTTLED,)))
_CLEARED, _REACHED = map(_last_of, (_CLEAR, {*ANSWERS} - {*_NO_ANSWERS}))


def refusal(connection: Connection) -> RowMapping | None:
    """Return the last clear answer if it refuses the account or the address, and videos are
    pending: an answer that never came ends no refusal.
    """
    heard = _last(connection, _CLEARED)
    refuses = heard is not None and heard["fact"] in _REFUSALS
    return heard if refuses and in_state(connection, State.PENDING) else None


def unanswered_since(connection: Connection) -> datetime | None:
    """Return when the API was first not reached, or put a request off, with nothing else since."""
    last = _last(connection, _REACHED)
    later = (is_of_video, history.c.id > (last["id"] if last else 0))
    first = select(history.c.at).where(*later).order_by(history.c.fact, history.c.id).limit(1)
    names = (text(f"'{fact}'") for fact in _NO_ANSWERS)
    each = (connection.scalar(first.where(history.c.fact.between(name, name))) for name in names)
    return min(filter(None, each), default=None)


_highest = select(func.max(videos.c.priority).label("priority")).where(is_pending)
_top = _highest.cte("levels", recursive=True)
_next = _highest.where(videos.c.priority < _top.c.priority).scalar_subquery()
_levels = _top.union_all(select(_next).where(_top.c.priority.is_not(None)))
"""The distinct priorities of the pending videos, then NULL. The index has the videos of each
priority in the order in which they become due.
"""
_of_level = is_pending & (videos.c.priority == _levels.c.priority)


def count_of(rows: FromClause, *wanted: ColumnElement[bool]) -> Select[int]:
    """Return the query by which ``number_of`` counts."""
    return select(func.count()).select_from(rows).where(*wanted)


def number_of(connection: Connection, rows: FromClause, *wanted: ColumnElement[bool]) -> int:
    """Count the rows of a table or query that satisfy every condition."""
    return connection.execute(count_of(rows, *wanted)).scalar_one()


_EVERYTHING = "everything"
_NUMBERS = select(
    count_of(videos).scalar_subquery().label(_EVERYTHING),
    *(
        count_of(videos, is_in).scalar_subquery().label(state)
        for state, is_in in IN_STATE.items()
        if state is not State.SUBMITTED
    ),
)


def by_state(connection: Connection) -> dict[str, int]:
    """Count the videos of each state, in order; the submitted ones, without index, are the rest."""
    numbers = dict(connection.execute(_NUMBERS).mappings().one())
    rest = numbers.pop(_EVERYTHING) - sum(numbers.values())
    return {state: numbers.get(state, rest) for state in State}


_is_of_batch = videos.c.batch.is_not(None)
_BATCHES = select(videos.c.batch, func.count()).where(_is_of_batch).group_by(videos.c.batch)
_LEFT = select(videos.c.batch, videos.c.state, func.count()).where(_is_of_batch, is_left)


def by_batch(connection: Connection) -> dict[str, dict[str, int]]:
    """Count the videos of each batch by state, the newest batch first; the submitted ones, in no
    index, are the rest. A million pending ones take some 0.2 s.
    """
    left: dict[str, Counter[str]] = defaultdict(Counter)
    for batch, state, number in connection.execute(_LEFT.group_by(videos.c.batch, videos.c.state)):
        left[batch][state] = number
    for state in (State.SUBMITTING, State.IN_DOUBT):  # few
        for batch in connection.scalars(select(videos.c.batch).where(IN_STATE[state])):
            left[batch][state] += 1
    return {
        batch: {**left[batch], State.SUBMITTED: number - left[batch].total()}
        for batch, number in connection.execute(_BATCHES.order_by(func.max(videos.c.id).desc()))
    }


def in_state(connection: Connection, state: State, *wanted: ColumnElement[bool]) -> int:
    """Count the videos of one state that has an index, and that satisfy every condition."""
    return number_of(connection, videos, IN_STATE[state], *wanted)


def has_few_pending(connection: Connection) -> bool:
    """Return True if the pending videos are so few that they are found and sorted at once."""
    return number_of(connection, _FEW_PENDING) < FEW


_FEW_PENDING = select(videos.c.id).where(is_pending).limit(FEW).subquery("counted")


def due(connection: Connection, pending: int, now: datetime) -> int:
    """Count the due ones of ``pending`` videos. If they are many, count the others instead."""
    of_levels = videos.c.priority.in_(select(_levels.c.priority))
    waiting = select(videos.c.id).where(is_pending, of_levels)
    first = waiting.where(videos.c.due_at <= now).limit(FEW)
    found = number_of(connection, first.subquery("counted"))
    if found < FEW:
        return found
    return pending - number_of(connection, waiting.where(videos.c.due_at > now).subquery("counted"))


_first = select(func.min(videos.c.due_at)).where(_of_level).scalar_subquery().label("first")
_last_due = select(func.max(videos.c.due_at)).where(_of_level).scalar_subquery().label("last")
_ends = select(_first, _last_due).select_from(_levels).subquery()
_SPAN = select(func.min(_ends.c.first), func.max(_ends.c.last))


def span(connection: Connection) -> tuple[datetime | None, datetime | None]:
    """Return when the first and the last of the pending videos become due."""
    first, last = connection.execute(_SPAN).one()
    return first, last


_has_job = history.c.job_id.is_not(None)
_has_no_job = history.c.job_id.is_(None) & is_of_video
"""Each has an index; none has what is told of jobs."""
_is_not_accepted = history.c.fact != Fact.ACCEPTED


def has_bought(connection: Connection) -> bool:
    """Return True if the history or a video knows of a job."""
    known = (
        select(history.c.id).where(_has_job),
        select(videos.c.id).where(videos.c.job_id.is_not(None)),
    )
    return any(connection.execute(each.limit(1)).first() for each in known)


def _facts_by_kind(connection: Connection, *wanted: ColumnElement[bool]) -> Counter[str]:
    kind = history.c.fact.concat(
        text("''")
    )  # in the order of no index, so that the moments have one
    facts = select(kind, func.count()).where(*wanted).group_by(kind)
    return Counter(dict(connection.execute(facts).all()))


def last_throttled(connection: Connection) -> RowMapping | None:
    """Return the fact of the last 429, None if there is none."""
    return _last(connection, _THROTTLED)


def moved_at(connection: Connection, heard: RowMapping | None) -> datetime | None:
    """Return when a video last moved on, or was claimed after an answer that was clear."""
    last = _last(connection, _MOVED)
    claimed: Select[datetime] = select(func.max(videos.c.updated_at)).where(is_submitting)
    claimed_at = None if heard and heard["fact"] in UNCLEAR else connection.scalar(claimed)
    return max(filter(None, (last and last["at"], claimed_at)), default=None)


def _last(connection: Connection, facts: Select[*tuple[object, ...]]) -> RowMapping | None:
    return connection.execute(facts).mappings().first()


_is_shown = exists().where(jobs.c.job_id == history.c.job_id)


def _possibly_twice(connection: Connection) -> int:
    """Return the most bought beyond one job an address: its jobs and its open doubts, less one.

    The database counts the jobs that a row has or had. Others are in the history of those in doubt.
    """
    extra: int = connection.scalar(select(account.c.bought_twice)) or 0
    doubted = select(history.c.video_id).where(IS_DOUBT).distinct()
    unshown: Counter[str | int] = Counter()
    held: set[str | int] = set()
    for ids in batches(list(connection.scalars(doubted)), BATCH):
        found = select(history.c.video_id, history.c.job_id).where(_has_job, ~_is_shown)
        theirs = connection.execute(found.where(history.c.video_id.in_(ids))).all()
        bought = Counter(video for video, _ in {*theirs})  # one job may stand in several facts
        bought.update({video: len(open_) for video, open_ in open_doubts(connection, ids).items()})
        rows = select(videos.c.id, videos.c.url).where(videos.c.id.in_(ids))
        known = dict(connection.execute(rows).all())
        for video, number in bought.items():
            unshown[known.get(video, video)] += number
        urls = list(known.values())
        of_jobs = select(videos.c.url).where(videos.c.url.in_(urls), videos.c.job_id.is_not(None))
        held.update(connection.scalars(of_jobs))
        held.update(connection.scalars(select(pruned.c.url).where(pruned.c.url.in_(urls))))
    return extra + sum(number - (address not in held) for address, number in unshown.items())
