"""How many videos are in which state, and due, without a walk over the table. Moments are UTC.

A count goes through an index that alone can answer it: some 30 ms for a million videos, where the
table takes twenty times as long.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, func, select, text

from worker.core.model import State
from worker.db.schema import videos

IN_STATE = {state: videos.c.state == text(f"'{state}'") for state in State}
"""Said as literals, so that the partial indexes serve them."""

FEW = 50_000
"""Videos that are counted in some 5 ms."""

_is_pending = IN_STATE[State.PENDING]

_highest = select(func.max(videos.c.priority).label("priority")).where(_is_pending)
_top = _highest.cte("levels", recursive=True)
_next = _highest.where(videos.c.priority < _top.c.priority).scalar_subquery()
_levels = _top.union_all(select(_next).where(_top.c.priority.is_not(None)))
"""The distinct priorities of the pending videos, and NULL as the last: the index has the videos of
each in the order in which they become due.
"""
_of_level = _is_pending & (videos.c.priority == _levels.c.priority)


def _number_of(*wanted: ColumnElement[bool]) -> Select[int]:
    return select(func.count()).select_from(videos).where(*wanted)


_EVERYTHING = "everything"
_NUMBERS = select(
    _number_of().scalar_subquery().label(_EVERYTHING),
    *(
        _number_of(is_in).scalar_subquery().label(state)
        for state, is_in in IN_STATE.items()
        if state is not State.SUBMITTED
    ),
)


def by_state(connection: Connection) -> dict[str, int]:
    """How many videos are in each state, in the order of the states. The submitted ones, which have
    no index of their own, are what the others leave of everything.
    """
    numbers = dict(connection.execute(_NUMBERS).mappings().one())
    rest = numbers.pop(_EVERYTHING) - sum(numbers.values())
    return {state: numbers.get(state, rest) for state in State}


def in_state(connection: Connection, state: State) -> int:
    """How many videos are in one state, of those that have an index."""
    return connection.execute(_number_of(IN_STATE[state])).scalar_one()


def due(connection: Connection, pending: int, now: datetime) -> int:
    """How many of the videos, of which so many are ``pending``, are due. Where those are many, the
    others are counted: seldom are both.
    """
    found = _count(connection, _waiting(videos.c.due_at <= now).limit(FEW))
    if found < FEW:
        return found
    return pending - _count(connection, _waiting(videos.c.due_at > now))


def _waiting(wanted: ColumnElement[bool]) -> Select[int]:
    """Pending videos, one level after the other."""
    of_levels = videos.c.priority.in_(select(_levels.c.priority))
    return select(videos.c.id).where(_is_pending, of_levels, wanted)


def _count(connection: Connection, rows: Select[int]) -> int:
    number = select(func.count()).select_from(rows.subquery("counted"))
    return connection.execute(number).scalar_one()


_first = select(func.min(videos.c.due_at)).where(_of_level).scalar_subquery().label("first")
_last = select(func.max(videos.c.due_at)).where(_of_level).scalar_subquery().label("last")
_ends = select(_first, _last).select_from(_levels).subquery()
_SPAN = select(
    func.min(_ends.c.first, type_=videos.c.due_at.type),
    func.max(_ends.c.last, type_=videos.c.due_at.type),
)


def span(connection: Connection) -> tuple[datetime | None, datetime | None]:
    """When the first and when the last of the pending videos becomes due."""
    first, last = connection.execute(_SPAN).one()
    return first, last
