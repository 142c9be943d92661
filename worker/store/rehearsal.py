"""Copy what a list names of a queue to another database, where its import can be tried."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, insert, select

from worker.core.import_row import zero_twins
from worker.db.schema import pruned, videos
from worker.store import bulk
from worker.store.relocation import TableRow, storable

_NAMES = ("url", "unsigned_url", "media_id", "request_id", "job_id")
_TABLES = (videos, pruned)


def named_by(
    connection: Connection, rows: Iterable[bulk.NewVideo], widths: Sequence[int], newest: int
) -> list[list[TableRow]]:
    """Return what an import of these rows would meet, and the ``newest`` video, table by table."""
    values, found = set[str](), []
    for row in rows:
        values |= {str(row[name]) for name in _NAMES if row.get(name) is not None}
        values |= zero_twins(row.get("media_id"), widths)
    for table in _TABLES:
        ids = {newest}
        for column in (table.c[name] for name in _NAMES if name in table.c):
            ids |= {video_id for _, video_id in bulk.known(connection, column, [*values])}
        chosen = (select(table).where(table.c.id.in_(p)) for p in bulk.batches([*ids], bulk.BATCH))
        pages = (connection.execute(page).mappings() for page in chosen)
        found.append([storable(row) for page in pages for row in page])
    return found


def put(connection: Connection, found: Sequence[Sequence[TableRow]]) -> None:
    """Add those rows of another queue that are not there yet, to a file."""
    for table, rows in zip(_TABLES, found, strict=False):
        if rows:
            connection.execute(insert(table).prefix_with("OR IGNORE"), rows)
