"""Find videos by what a person gives: states, an error, moments (UTC), ids and names."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from operator import itemgetter, methodcaller
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    text,
)

from worker.core.model import State, Twin
from worker.db.column_types import EPOCH, Bound
from worker.db.schema import history, identifier, is_open, is_renamed, jobs, results, videos
from worker.store.bulk import BELOW_ALL, batches
from worker.store.history import open_doubts
from worker.store.queue import twins_of
from worker.store.statistics import FEW, IN_STATE, has_few_pending, number_of

PAGE = 1_000

WASTED = ("error", "gone")
ENDS = ("finished", *WASTED)
OPEN, OVERDUE = "open", "overdue"

ONLY_ID = "id="
"""The prefix of a number that is an id and no other name."""

_handed_in_or_changed = func.coalesce(videos.c.submitted_at, videos.c.updated_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The videos that satisfy every condition given.

    ``since``, ``until``: submitted, or else last changed, from and before these moments (UTC).
    ``batch``: of this name. ``ids``, ``names``: one of these ids, or of these media, request or
    job ids or addresses. ``job_status``: whose job has ended so, or is ``open`` (and has this
    status, or is ``overdue``).
    """

    states: tuple[State, ...] = ()
    job_status: tuple[str, ...] = ()
    batch: str | None = None
    error_like: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def clauses(self) -> list[ColumnElement[bool]]:
        """Return the conditions as SQL."""
        clauses: list[ColumnElement[bool]] = []
        if self.states:
            clauses.append(or_(*(IN_STATE[state] for state in self.states)))
        if self.job_status:
            clauses.append(videos.c.job_id.in_(select(jobs.c.job_id).where(has_status(self))))
        if self.batch is not None:
            clauses.append(videos.c.batch == self.batch)
        if self.error_like is not None:
            clauses.append(videos.c.error.icontains(self.error_like, autoescape=True))
        if self.since is not None:
            clauses.append(_handed_in_or_changed >= literal(self.since, Bound))
        if self.until is not None:
            clauses.append(_handed_in_or_changed < literal(self.until, Bound))
        if self.ids or self.names:
            # As literals: a person may give more ids than a server takes parameters.
            numbered = videos.c.id.in_(
                bindparam("ids", self.ids, expanding=True, literal_execute=True, unique=True)
            )
            others: list[ColumnElement[bool]] = []
            if self.names:
                others = [identified(methodcaller("in_", self.names))]
                others.append(videos.c.job_id.in_(self.names))
            if any("://" in name for name in self.names):
                others.append(videos.c.url.in_(self.names))
            clauses.append(or_(*([numbered] if self.ids else []), *others))
        return clauses


def has_status(wanted: Filter) -> ColumnElement[bool]:
    """Return the condition of the jobs of a filter, as the indexes on jobs serve it."""
    names = set(wanted.job_status)
    followed = is_open & (jobs.c.next_poll_at > literal(EPOCH, Bound))
    conditions = {
        jobs.c.ended_as.in_(tuple(names & {*ENDS})): names & {*ENDS},
        is_open: names & {OPEN},
        is_open & jobs.c.overdue_since.is_not(None): names & {OVERDUE},
        followed & jobs.c.status.in_(tuple(names)): names - {*ENDS, OPEN, OVERDUE},
    }
    return or_(*(condition for condition, meant in conditions.items() if meant))


_NAMES = (videos.c.media_id, videos.c.job_id, videos.c.request_id)


def identified(by: Callable[[ColumnElement[str]], ColumnElement[bool]]) -> ColumnElement[bool]:
    """Return the condition of the videos that were, or would be, sent with an identifier that
    satisfies ``by``, as the indexes serve it.
    """
    return or_(by(identifier), by(videos.c.request_id) & is_renamed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One video and its history, oldest first. ``doubted``: an attempt of it is still in doubt;
    ``twin``: why it would not be sent now (law 17).
    """

    video: RowMapping
    facts: tuple[RowMapping, ...]
    doubted: bool
    twin: Twin | None


def called(references: Iterable[str]) -> Filter:
    """Return the filter of the videos with these ids, names or addresses. ``7`` is an id and
    perhaps another video's media id; ``id=7`` is an id only.
    """
    parsed = [_parsed(reference) for reference in references]
    return Filter(
        ids=tuple(number for number, _ in parsed if number is not None),
        names=tuple(name for _, name in parsed if name is not None),
    )


def _parsed(reference: str) -> tuple[int | None, str | None]:
    """Return the id and the name that a reference may be, None for one that it cannot be."""
    digits = reference.removeprefix(ONLY_ID)
    is_id = digits.isascii() and digits.isdecimal() and len(digits) < 19  # noqa: PLR2004 - fits 63 bits
    is_name = not is_id or digits == reference
    return int(digits) if is_id else None, reference if is_name else None


def chosen(connection: Connection, *wanted: ColumnElement[bool]) -> list[RowMapping]:
    """Return the videos that satisfy every condition, in the order of their ids. They are sorted in
    Python: for ORDER BY id, SQLite would scan the whole table.
    """
    return sorted(connection.execute(select(videos).where(*wanted)).mappings(), key=_number)


def find(connection: Connection, reference: str) -> list[RowMapping]:
    """Return the videos of one reference in the order of their ids."""
    return chosen(connection, *called([reference]).clauses())


def named(connection: Connection, references: Iterable[str]) -> dict[str, list[int]]:
    """Return the sorted ids of the videos that each reference means; an empty list for none."""
    found: dict[str, list[int]] = {}
    for some in batches(list(references), PAGE):
        meant = select(videos.c.id, *_NAMES, videos.c.url).where(*called(some).clauses())
        by_name: dict[object, list[int]] = {}
        for number, *names in connection.execute(meant):
            for name in {number, *names} - {None}:
                by_name.setdefault(name, []).append(number)
        for each in some:
            meant_by = (by_name.get(meaning, []) for meaning in _parsed(each))
            found[each] = sorted({*chain(*meant_by)})
    return found


def is_ambiguous(reference: str, ids: Sequence[int]) -> bool:
    """Return True if a reference is the id of one of these videos and a name of others."""
    number, name = _parsed(reference)
    return len(ids) > 1 and name is not None and number in ids


def story(connection: Connection, video: RowMapping) -> Story:
    """Return a video with its history."""
    number = video["id"]
    facts = select(history).where(history.c.video_id == number).order_by(history.c.id)
    return Story(
        video=video,
        facts=tuple(connection.execute(facts).mappings()),
        doubted=bool(open_doubts(connection, [number])),
        twin=None if video["may_buy_twice"] else twins_of(connection, [number]).get(number),
    )


def matching(connection: Connection, wanted: Filter, after: int, limit: int) -> list[RowMapping]:
    """Return the next ``limit`` videos of a filter after the id ``after``, in the order of ids."""
    by_state = [replace(wanted, states=(state,)) for state in dict.fromkeys(wanted.states)]
    pages = [_page(connection, each, after, limit) for each in by_state or [wanted]]
    return sorted(chain(*pages), key=_number)[:limit]


def _page(connection: Connection, wanted: Filter, after: int, limit: int) -> list[RowMapping]:
    few = wanted.states in _SMALL or (
        wanted.states == (State.PENDING,) and limit < PAGE and has_few_pending(connection)
    )
    clauses = wanted.clauses()
    if wanted.job_status:
        # Few jobs are sorted. Of many, the next ones are found sooner by a walk over the videos.
        some = select(jobs.c.job_id).where(has_status(wanted)).limit(FEW).subquery("counted")
        if not (few := number_of(connection, some) < FEW):
            its = exists().where(jobs.c.job_id == videos.c.job_id, has_status(wanted))
            clauses = [*replace(wanted, job_status=()).clauses(), its]
    number = _unordered if few else videos.c.id
    page = select(videos).where(*clauses, number > after).order_by(number).limit(limit)
    return list(connection.execute(page).mappings())


_SMALL = {(State.SUBMITTING,), (State.IN_DOUBT,)}
"""States of few videos, with indexes in another order than that of the ids. For a short page the
pending ones, if they are few, are one of them.
"""

_unordered = videos.c.id + literal(0, literal_execute=True)
"""The id as an expression. SQLite then finds the few videos by their index and sorts them, where it
would walk the whole table to save the sorting.
"""

_number = itemgetter("id")


def every(connection: Connection, wanted: Filter) -> Iterator[RowMapping]:
    """Yield every video of a filter in the order of ids, read by pages."""
    return chain.from_iterable(pages(connection, wanted))


def pages(connection: Connection, wanted: Filter) -> Iterator[list[RowMapping]]:
    """Yield the same by pages."""
    after = BELOW_ALL
    while page := matching(connection, wanted, after, PAGE):
        yield page
        after = page[-1]["id"]


_path = select(results.c.path).where(
    results.c.job_id == jobs.c.job_id, results.c.state == text("'stored'")
)
JOB_COLUMNS = {
    "job_status": func.coalesce(jobs.c.ended_as, jobs.c.status),
    "job_ended_at": jobs.c.ended_at,
    "job_details": jobs.c.details,
    "result_path": _path.order_by(results.c.type).limit(1).scalar_subquery(),  # core comes first
}
"""What is known of the job of a video, by the names in a list and in an export."""
_JOBS = select(jobs.c.job_id, *(each.label(name) for name, each in JOB_COLUMNS.items()))


def with_jobs(connection: Connection, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    """Return videos with what is known of their jobs."""
    known: dict[object, Sequence[object]] = {}
    for some in batches([row["job_id"] for row in rows if row["job_id"] is not None], PAGE):
        for job_id, *found in connection.execute(_JOBS.where(jobs.c.job_id.in_(some))):
            known[job_id] = found
    nothing = (None,) * len(JOB_COLUMNS)
    return [
        {**row, **dict(zip(JOB_COLUMNS, known.get(row["job_id"], nothing), strict=True))}
        for row in rows
    ]


def jobs_of(connection: Connection, video_id: int) -> list[dict[str, Any]]:
    """Return all jobs that a video has had, the oldest first, each with its results."""
    its = select(jobs).where(jobs.c.video_id == video_id)
    found = connection.execute(its.order_by(jobs.c.accepted_at, jobs.c.job_id)).mappings().all()
    stored = select(results).where(results.c.job_id.in_([row["job_id"] for row in found]))
    files = connection.execute(stored.order_by(results.c.job_id, results.c.type)).mappings().all()
    return [
        {**row, "results": [dict(file) for file in files if file["job_id"] == row["job_id"]]}
        for row in found
    ]


def newest(connection: Connection, state: State, limit: int) -> list[RowMapping]:
    """Return the videos of a state with the highest ids, these first."""
    number = _unordered if (state,) in _SMALL else videos.c.id
    page = select(videos).where(IN_STATE[state]).order_by(number.desc()).limit(limit)
    return list(connection.execute(page).mappings())


def last_id(connection: Connection) -> int:
    """Return the highest id of a video."""
    return connection.scalar(select(func.max(videos.c.id))) or 0


def count(connection: Connection, wanted: Filter) -> Counter[str]:
    """Count the videos of a filter by state."""
    grouped = select(videos.c.state, func.count()).where(*wanted.clauses()).group_by(videos.c.state)
    return Counter(dict(connection.execute(grouped).all()))
