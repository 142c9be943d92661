"""What people ask of the queue and change in it. Moments are UTC; a verb reports what it left.

Each change names the states that it accepts in its own UPDATE (design.md, section 2).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from worker.core.model import Fact, State
from worker.db.schema import Bound, history, videos
from worker.store.counts import IN_STATE
from worker.store.queue import UNCLAIMED
from worker.store.settle import IS_OPEN_DOUBT, open_doubts

PAGE = 1_000

ONLY_ID = "id="
"""Before a number that is an id and nothing else."""


_handed_in_or_changed = func.coalesce(videos.c.submitted_at, videos.c.updated_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which videos are meant: all that satisfy everything that is given. ``error_like`` is a part
    of the error; ``since`` and ``until`` bound the moment of handing in, or else of the last
    change; a video is meant by one of ``ids``, or by one of ``names``: media, request or job id.
    """

    states: tuple[State, ...] = ()
    error_like: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def clauses(self) -> list[ColumnElement[bool]]:
        """The filter as SQL."""
        clauses: list[ColumnElement[bool]] = []
        if self.states:
            clauses.append(or_(*(IN_STATE[state] for state in self.states)))
        if self.error_like is not None:
            clauses.append(videos.c.error.icontains(self.error_like, autoescape=True))
        if self.since is not None:
            clauses.append(_handed_in_or_changed >= literal(self.since, Bound))
        if self.until is not None:
            clauses.append(_handed_in_or_changed < literal(self.until, Bound))
        if self.ids or self.names:
            # Said as literals: a person may give more ids than a server takes parameters.
            ids: BindParameter[int] = bindparam(
                "ids", self.ids, expanding=True, literal_execute=True, unique=True
            )
            numbered = [videos.c.id.in_(ids)] if self.ids else []
            clauses.append(or_(*numbered, *(_named(self.names) if self.names else ())))
        return clauses


_NAMES = (videos.c.media_id, videos.c.job_id, videos.c.request_id)


def _named(names: Sequence[str]) -> list[ColumnElement[bool]]:
    """Whatever else than its number people call a video by."""
    return [column.in_(names) for column in _NAMES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One video, its history, oldest first, and whether an attempt of it is still in doubt."""

    video: RowMapping
    facts: tuple[RowMapping, ...]
    doubted: bool


def called(references: Iterable[str]) -> Filter:
    """The videos that people call so: by a media id, a request id, a job id, or by an id, which as
    a number may be another's media id too, and is ``id=7`` where it is not.
    """
    ids, names = [], []
    for each in references:
        number = _id(each.removeprefix(ONLY_ID))
        if number is not None:
            ids.append(number)
        if not _is_only_id(each):
            names.append(each)
    return Filter(ids=tuple(ids), names=tuple(names))


def _id(text: str) -> int | None:
    """The id that a text is, None if it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004 - fits 63 bits


def _is_only_id(reference: str) -> bool:
    return reference.startswith(ONLY_ID) and _id(reference.removeprefix(ONLY_ID)) is not None


def find(connection: Connection, reference: str) -> list[RowMapping]:
    """The videos that are ``called`` so, in order of their ids."""
    named = select(videos).where(*called([reference]).clauses())
    return sorted(connection.execute(named).mappings(), key=_number)


def named(connection: Connection, references: Iterable[str]) -> dict[str, list[int]]:
    """The ids of the videos that each reference means, in order; none where it means nobody."""
    found: dict[str, list[int]] = {}
    given = list(references)
    for some in (given[start : start + PAGE] for start in range(0, len(given), PAGE)):
        meant = select(videos.c.id, *_NAMES).where(*called(some).clauses()).order_by(videos.c.id)
        by_name: dict[object, list[int]] = {}
        for number, *names in connection.execute(meant):
            for name in {number, *names} - {None}:
                by_name.setdefault(name, []).append(number)
        for each in some:
            ids = by_name.get(_id(each.removeprefix(ONLY_ID)), [])
            others = [] if _is_only_id(each) else by_name.get(each, [])
            found[each] = sorted({*ids, *others})
    return found


def is_ambiguous(reference: str, ids: Sequence[int]) -> bool:
    """Whether a reference is the id of one of these videos and another name of others."""
    return len(ids) > 1 and _id(reference) in ids


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
    kinds = [replace(wanted, states=(state,)) for state in dict.fromkeys(wanted.states)]
    pages = [_page(connection, kind, after, limit) for kind in kinds or [wanted]]
    return sorted(chain(*pages), key=_number)[:limit]


def _page(connection: Connection, wanted: Filter, after: int, limit: int) -> list[RowMapping]:
    """As ``matching``, of one state or of all."""
    number = _unordered if wanted.states in _SMALL else videos.c.id
    page = select(videos).where(*wanted.clauses(), number > after).order_by(number).limit(limit)
    return list(connection.execute(page).mappings())


_SMALL = {(State.SUBMITTING,), (State.IN_DOUBT,)}
"""States of few videos, with indexes in another order than that of the ids."""

_unordered = videos.c.id + text("0")
"""A video's number in a form that the table is not ordered by: its few are found by their index and
sorted, where SQLite would walk the table in order to save that.
"""


def _number(row: RowMapping) -> int:
    number: int = row["id"]
    return number


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
