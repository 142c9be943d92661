"""Copy what a list names of a queue to another database, where its import can be tried."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Select, insert, select

from worker.core.import_row import zero_twins
from worker.db.schema import history, identifier, jobs, pruned, videos
from worker.store import bulk
from worker.store.history import IS_OPEN_DOUBT
from worker.store.relocation import TableRow, storable

_NAMES = ("url", "unsigned_url", "media_id", "job_id")
_TABLES = (jobs, videos, pruned, history)

# The history is numbered anew, since a rehearsal adds facts of its own.
_DOUBTS = select(*(each for each in history.c if each is not history.c.id)).where(IS_OPEN_DOUBT)


def named_by(
    connection: Connection, rows: Iterable[bulk.NewVideo], widths: Sequence[int], newest: int
) -> list[list[TableRow]]:
    """Return what an import of these rows would meet, and the ``newest`` video, table by table."""
    values = set[str]()
    for row in rows:
        values |= {str(row[name]) for name in (*_NAMES, "request_id") if row.get(name) is not None}
        values |= zero_twins(row.get("media_id"), widths)
    had = _read(connection, select(jobs), jobs.c.job_id, values)
    ids = {newest, *(job["video_id"] for job in had)}
    known = {newest}
    for table, found in ((videos, ids), (pruned, known)):
        for column in (table.c[name] for name in _NAMES if name in table.c):
            found |= {video_id for _, video_id in bulk.known(connection, column, [*values])}
    for some in bulk.batches([*values], bulk.BATCH):
        ids |= {*connection.scalars(select(videos.c.id).where(identifier.in_(some)))}
    return [
        _read(connection, select(jobs), jobs.c.video_id, ids),
        _read(connection, select(videos), videos.c.id, ids),
        _read(connection, select(pruned), pruned.c.id, known),
        _read(connection, _DOUBTS, history.c.video_id, ids),
    ]


def _read(
    connection: Connection, wanted: Select[Any], column: Column[Any], values: Collection[object]
) -> list[TableRow]:
    """Return the rows that have one of the values in this column."""
    chosen = (wanted.where(column.in_(some)) for some in bulk.batches([*values], bulk.BATCH))
    return [storable(row) for page in chosen for row in connection.execute(page).mappings()]


def put(connection: Connection, found: Sequence[Sequence[TableRow]]) -> None:
    """Add those rows of another queue that are not there yet, to a file."""
    for table, rows in zip(_TABLES, found, strict=False):
        if rows:
            connection.execute(insert(table).prefix_with("OR IGNORE"), rows)
