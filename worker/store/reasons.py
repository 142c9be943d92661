"""Group failures and doubts by their reason. Decides nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping, select

from worker.core.advice import kind, remedy
from worker.core.model import REQUEST_COLUMNS, State
from worker.db.schema import jobs
from worker.store.doubts import EVIDENCE_SEPARATOR
from worker.store.search import PAGE


class Reason(NamedTuple):
    """A group of videos. ``example``: the id of one; ``helps``: the way out."""

    videos: int
    state: State
    reason: str
    example: int
    helps: str


def grouped(connection: Connection, rows: Iterable[RowMapping]) -> list[Reason]:
    """Return the groups of videos whose messages differ in the row alone, the largest first. Those
    that had a job are groups of their own, since their way out is another.
    """
    groups: dict[tuple[State, bool, str], tuple[State, str, int, str]] = {}
    counts: Counter[tuple[State, str, int, str]] = Counter()
    for row, had_job in _with_jobs(connection, rows):
        state, error = State(row["state"]), (row["error"] or "").partition(EVIDENCE_SEPARATOR)[0]
        own = [row[name] for name in (*REQUEST_COLUMNS, "request_id", "job_id")]
        kinds = [(state, had_job, kind(error, own)), (state, had_job, kind(error))]
        helps = remedy(state, row["http_status"], error, had_job=had_job)
        new = (state, error, row["id"], helps)
        group = next((groups[each] for each in kinds if each in groups), new)
        groups.update((each, group) for each in kinds)
        counts[group] += 1
    return [Reason(number, *group) for group, number in counts.most_common()]


def _with_jobs(
    connection: Connection, rows: Iterable[RowMapping]
) -> Iterator[tuple[RowMapping, bool]]:
    """Yield each video, and True with one that failed and had a job before."""
    left = iter(rows)
    while page := list(islice(left, PAGE)):
        failed = [row["id"] for row in page if row["state"] == State.FAILED]
        known = select(jobs.c.video_id).where(jobs.c.video_id.in_(failed))
        had = {*connection.scalars(known)} if failed else set()
        yield from ((row, row["id"] in had) for row in page)
