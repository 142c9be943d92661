"""Group failures and doubts by their reason. Decides nothing."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import RowMapping

from worker.core.advice import kind, remedy
from worker.core.model import REQUEST_COLUMNS, State
from worker.store.doubts import EVIDENCE_SEPARATOR


class Reason(NamedTuple):
    """A group of videos. ``example``: the id of one; ``helps``: the way out."""

    videos: int
    state: State
    reason: str
    example: int
    helps: str


def grouped(rows: Iterable[RowMapping]) -> list[Reason]:
    """Return the groups of videos whose messages differ in the row alone, the largest first."""
    groups: dict[tuple[State, str], tuple[State, str, int, str]] = {}
    counts: Counter[tuple[State, str, int, str]] = Counter()
    for row in rows:
        state, error = State(row["state"]), (row["error"] or "").partition(EVIDENCE_SEPARATOR)[0]
        own = [row[name] for name in (*REQUEST_COLUMNS, "request_id", "job_id")]
        kinds = [(state, kind(error, own)), (state, kind(error))]
        new = (state, error, row["id"], remedy(state, row["http_status"], error))
        group = next((groups[each] for each in kinds if each in groups), new)
        groups.update((each, group) for each in kinds)
        counts[group] += 1
    return [Reason(number, *group) for group, number in counts.most_common()]
