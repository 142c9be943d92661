"""Mark, copy and compare a queue that moves to another database.

The mark is in the table ``account``, which every claim reads. Triggers read it too and refuse the
rows that other programs add to a queue that has moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, RowMapping, Table, delete, func, insert, select, text, update

from worker.core import relocation
from worker.core.redact import readable
from worker.core.request import LINKS
from worker.db.schema import (
    account,
    history,
    hosts,
    is_submitting,
    jobs,
    pruned,
    results,
    uploads,
    videos,
)
from worker.store import shared_state, statistics
from worker.store.bulk import BATCH, BELOW_ALL, batches

CHUNK = 1_000
"""Rows copied in one transaction."""

TABLES = (jobs, videos, uploads, history, pruned)
"""The tables that are copied row by row, in this order: a video whose job is there already gets no
other by the trigger. The results go with their jobs.
"""

NUMBERED_BY = {table: table.c["video_id" if table in (jobs, uploads) else "id"] for table in TABLES}
"""The column by whose numbers rows are copied. Of jobs, several may have one number."""

TableRow = Mapping[str, object]
Shared = tuple[TableRow, list[TableRow]]


def problem(connection: Connection) -> str | None:
    """Return why this queue must not be worked on; None if it has not moved."""
    mark = shared_state.read(connection).moved_to
    return None if mark is None else relocation.sentence(mark)


def mark(connection: Connection, moved_to: str) -> None:
    """Mark the queue as moved. Claims stop, and rows from other programs are refused."""
    _unguard(connection)
    connection.execute(update(account).values(moved_to=moved_to))
    why = f"this queue {relocation.sentence(moved_to)}".replace("'", "''")
    for statement in _GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement.format(why=why))


def unmark(connection: Connection) -> None:
    """Take the mark out, so that the queue is worked on again."""
    connection.execute(update(account).values(moved_to=None))
    _unguard(connection)


_GUARDS = {
    # Of updates, only those that other programs may make. A late answer brings a job id, which is
    # still written.
    "sqlite": (
        """\
CREATE TRIGGER moved_insert BEFORE INSERT ON videos
    WHEN (SELECT moved_to FROM account) IS NOT NULL
BEGIN SELECT RAISE(ABORT, '{why}'); END""",
        """\
CREATE TRIGGER moved_update BEFORE UPDATE ON videos
    WHEN OLD.state IN ('pending', 'failed', 'cancelled') AND OLD.job_id IS NEW.job_id
    AND (SELECT moved_to FROM account) IS NOT NULL
BEGIN SELECT RAISE(ABORT, '{why}'); END""",
    ),
    # The lock of CREATE TRIGGER waits for every insert that began before the mark.
    "postgresql": (
        """\
CREATE FUNCTION valossa_ingest_moved() RETURNS trigger LANGUAGE plpgsql AS $moved$
BEGIN
    IF (SELECT moved_to FROM account) IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = '{why}';
    END IF;
    RETURN NEW;
END
$moved$""",
        """\
CREATE TRIGGER moved_insert BEFORE INSERT ON videos
    FOR EACH ROW EXECUTE FUNCTION valossa_ingest_moved()""",
        """\
CREATE TRIGGER moved_update BEFORE UPDATE ON videos
    FOR EACH ROW
    WHEN (OLD.state IN ('pending', 'failed', 'cancelled')
        AND OLD.job_id IS NOT DISTINCT FROM NEW.job_id)
    EXECUTE FUNCTION valossa_ingest_moved()""",
    ),
}

_UNGUARD = {
    "sqlite": ("DROP TRIGGER IF EXISTS moved_insert", "DROP TRIGGER IF EXISTS moved_update"),
    "postgresql": ("DROP FUNCTION IF EXISTS valossa_ingest_moved() CASCADE",),
}


def _unguard(connection: Connection) -> None:
    for statement in _UNGUARD[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def is_empty(connection: Connection) -> bool:
    """Return True if the queue has no video and no history."""
    return all(highest(connection, table) == BELOW_ALL for table in TABLES)


def highest(connection: Connection, table: Table) -> int:
    """Return the highest number of a table, BELOW_ALL if it is empty."""
    number: int | None = connection.scalar(select(func.max(NUMBERED_BY[table])))
    return BELOW_ALL if number is None else number


def in_flight(connection: Connection) -> tuple[int, datetime | None]:
    """Return how many claims are not settled, and when their last lease ends (UTC)."""
    end = func.max(videos.c.lease_until)
    number, until = connection.execute(select(func.count(), end).where(is_submitting)).one()
    return number, until


def rows(connection: Connection, table: Table, after: int) -> list[TableRow]:
    """Return the next rows of a table in the order of their numbers, as any database can store
    them; all of those with the same number. A job has its results in ``results``.
    """
    number = NUMBERED_BY[table]
    page = select(table).where(number > after).order_by(number).limit(CHUNK)
    found = [storable(row) for row in connection.execute(page).mappings()]
    if table is not jobs or not found:
        return found
    last = found[-1]["video_id"]
    others = connection.execute(select(jobs).where(jobs.c.video_id == last)).mappings()
    found = [row for row in found if row["video_id"] != last] + [storable(row) for row in others]
    its: dict[object, list[TableRow]] = {row["job_id"]: [] for row in found}
    for some in batches([*its], BATCH):
        stored = select(results).where(results.c.job_id.in_(some))
        for row in connection.execute(stored).mappings():
            its[row["job_id"]].append(storable(row))
    return [{**row, "results": its[row["job_id"]]} for row in found]


def storable(row: RowMapping) -> TableRow:
    """Return a row without NUL and bad UTF-8; a link gets U+001A there, so that it is refused."""
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    mended = {name: readable(value) for name, value in texts.items() if readable(value) != value}
    spaced = {name: mended[name].replace("\ufffd", "\x1a") for name in LINKS.keys() & mended.keys()}
    return {**row, **mended, **spaced}


def put(connection: Connection, table: Table, found: Sequence[TableRow]) -> None:
    """Add rows of another queue, with their ids, to one that is marked as unfinished."""
    moved_to = shared_state.read(connection).moved_to
    connection.execute(update(account).values(moved_to=None))
    theirs = [row for each in found for row in cast("list[TableRow]", each.get("results", ()))]
    own = [{name: row[name] for name in row if name in table.c} for row in found]
    connection.execute(insert(table), own)
    if theirs:
        connection.execute(insert(results), theirs)
    connection.execute(update(account).values(moved_to=moved_to))


def shared(connection: Connection) -> Shared:
    """Return the shared state without the mark, and the hosts."""
    row = connection.execute(select(account)).mappings().one()
    known = {name: row[name] for name in row if name not in {"id", "moved_to"}}
    return known, [storable(row) for row in connection.execute(select(hosts)).mappings()]


def share(connection: Connection, known: Shared) -> None:
    """Write the shared state and the hosts of another queue."""
    connection.execute(update(account).values(**known[0]))
    connection.execute(delete(hosts))
    if known[1]:
        connection.execute(insert(hosts), known[1])


def continue_ids(connection: Connection) -> None:
    """Set the next ids above every id ever used: the history outlives a deleted video."""
    last = connection.scalar(select(func.max(history.c.video_id))) or 0
    last = max(last, *(highest(connection, table) for table in (videos, pruned, jobs, uploads)))
    for table, number in ((videos, last), (history, highest(connection, history))):
        for statement in _CONTINUE[connection.dialect.name] if number > 0 else ():
            connection.execute(text(statement), {"table": table.name, "number": number})


_CONTINUE = {
    # A table without AUTOINCREMENT does not read its line.
    "sqlite": (
        "DELETE FROM sqlite_sequence WHERE name = :table",
        "INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :number)",
    ),
    "postgresql": ("SELECT setval(pg_get_serial_sequence(:table, 'id'), :number)",),
}


@dataclass(frozen=True, slots=True)
class Census:
    """The number of videos in each state, and of the rows of the other tables."""

    videos: dict[str, int]
    history: int
    pruned: int = 0
    jobs: int = 0
    results: int = 0
    uploads: int = 0


def census(connection: Connection) -> Census:
    """Count the rows."""
    others = (history, pruned, jobs, results, uploads)
    numbers = (statistics.number_of(connection, table) for table in others)
    return Census(statistics.by_state(connection), *numbers)
