"""Find the videos that have the address, media_id or job_id of a row already."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping, select

from worker.core.model import State
from worker.db.schema import jobs, pruned, videos
from worker.store.bulk import BATCH, NewVideo, batches, known
from worker.store.history import open_doubts

_SAME = "same {} as a video that is there already"
REASONS = {
    "job_id": _SAME.format("job_id"),
    "url": _SAME.format("url"),
    "unsigned_url": "looks like a video that is there already under another signature",
    "media_id": _SAME.format("media_id"),
}
"""The columns of which no two videos have one value, each with the reason to pass a row over."""


class Holder(NamedTuple):
    """A video with a value of a row; ``is_pruned``: it had that until it was pruned."""

    id: int
    is_pruned: bool = False


NEW = Holder(sys.maxsize)
"""Stands for a video that is about to be inserted."""


def value_of(row: NewVideo | RowMapping, column: str) -> object:
    """Return the value by which a row is compared; a plain address is its own unsigned one."""
    value = row.get(column)
    return row.get("url") if value is None and column == "unsigned_url" else value


def is_elsewhere(video: RowMapping, row: NewVideo) -> bool:
    """Return True if a row brings another address, not only another signature of the video's."""
    same = value_of(video, "unsigned_url")
    return row.get("url") is not None and value_of(row, "unsigned_url") != same


@dataclass(frozen=True, slots=True)
class Holders:
    """The video of each value by column. The ``idle``, cancelled and unsent, give way by their ids;
    one that is ``taken`` has the values of a new row by now.
    """

    by_column: Mapping[str, dict[object, Holder]]
    idle: set[int]
    taken: set[int] = field(default_factory=set)

    def of(self, row: NewVideo) -> list[tuple[str, Holder]]:
        """Return the columns in which a row has the value of a video, each with the video."""
        found = [(c, ids.get(value_of(row, c))) for c, ids in self.by_column.items()]
        return [(c, each) for c, each in found if each is not None and each.id not in self.taken]

    def take(self, row: NewVideo) -> None:
        """Give the values of a row to a new video."""
        for column, ids in self.by_column.items():
            ids[value_of(row, column)] = NEW
            ids.pop(None, None)


def holders(connection: Connection, rows: Sequence[NewVideo], columns: Iterable[str]) -> Holders:
    """Return the videos that have values of the rows in these columns."""
    found = {}
    for column in columns:
        values = [value for row in rows if (value := value_of(row, column)) is not None]
        found[column] = ever_known(connection, column, values)
        if column == "unsigned_url":
            plain = [row[column] for row in rows if row.get(column) is not None]
            found[column] += ever_known(connection, "url", plain)
        elif column == "job_id":
            found[column] += had_job(connection, values)
    idle = _idle(connection, {holder.id for pairs in found.values() for _, holder in pairs})
    for pairs in found.values():
        pairs.sort(key=lambda pair: pair[1].id not in idle)  # of two with one value the last stays
    return Holders({column: dict(pairs) for column, pairs in found.items()}, idle)


def ever_known(
    connection: Connection, column: str, values: Sequence[object]
) -> list[tuple[object, Holder]]:
    """Return those of the values that a video has in this column, or had until it was pruned."""
    once = known(connection, pruned.c[column], values)
    there = [(each, Holder(number)) for each, number in known(connection, videos.c[column], values)]
    return there + [(each, Holder(number, is_pruned=True)) for each, number in once]


def had_job(connection: Connection, job_ids: Sequence[object]) -> list[tuple[object, Holder]]:
    """Return those of the jobs that a video has, or had until it was to be bought again."""
    its = select(jobs.c.job_id, jobs.c.video_id).join(videos, videos.c.id == jobs.c.video_id)
    pages = (its.where(jobs.c.job_id.in_(some)) for some in batches(job_ids, BATCH))
    rows = (row for page in pages for row in connection.execute(page))
    return [(job_id, Holder(number)) for job_id, number in rows]


def _idle(connection: Connection, ids: set[int]) -> set[int]:
    """Return the ids of cancelled videos that no job may exist of, and none ever did."""
    if not ids:
        return set()
    cancelled = select(videos.c.id).where(
        videos.c.id.in_(ids), videos.c.state == State.CANCELLED, videos.c.job_id.is_(None)
    )
    idle = list(connection.scalars(cancelled))
    bought = connection.scalars(select(jobs.c.video_id).where(jobs.c.video_id.in_(idle)))
    return {*idle} - {*open_doubts(connection, idle)} - {*bought}
