"""Many new rows at once, and many values looked up at once, in the words of either database.

Each is one statement for a thousand rows. Knows what a table is, and nothing of what rows mean.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ARRAY, Column, Connection, any_, insert, literal, select

from worker.core.import_row import COLUMNS
from worker.core.model import State
from worker.db.schema import as_text, videos

Row = Mapping[str, object]
T = TypeVar("T")

_AT_ONCE = 1_000
"""Rows that one statement takes; SQLite has parameters for twice as many."""

_FILLED = {
    "priority": "coalesce(priority, 0)",
    "due_at": "coalesce(due_at, ?)",
    "state": f"iif(job_id IS NULL, '{State.PENDING}', '{State.SUBMITTED}')",
    "submitted_at": "iif(job_id IS NULL, NULL, ?)",
    # As random as by default; that the rows of one statement begin alike keeps them together in the
    # index, which would otherwise be rewritten as a whole for each chunk.
    "request_id": "(SELECT lower(hex(randomblob(4)))) || lower(hex(randomblob(12)))",
}
"""What an insert into SQLite makes of columns that rows may leave empty, or do not have."""


def insert_all(connection: Connection, rows: Sequence[Row], now: datetime) -> None:
    """New videos: due now where they do not say when, submitted where they bring a job."""
    put = _put_into_sqlite if connection.dialect.name == "sqlite" else _put_into_postgresql
    for some in _batches(rows):
        put(connection, some, now)


def known(connection: Connection, column: str, rows: Iterable[Row]) -> set[object]:
    """Which of the rows' values of a column are in the table already."""
    values = [row[column] for row in rows if row.get(column) is not None]
    look = _look_in_sqlite if connection.dialect.name == "sqlite" else _look_in_postgresql
    found: set[object] = set()
    for some in _batches(values):
        found.update(look(connection, videos.c[column], some))
    return found


def begun(row: Row, now: datetime) -> dict[str, object]:
    """The state of a new row: one with a job was handed in by other means."""
    if row.get("job_id") is None:
        return {"state": State.PENDING, "submitted_at": None}
    return {"state": State.SUBMITTED, "submitted_at": now}


def _brought(rows: Sequence[Row]) -> list[str]:
    """The columns that at least one of the rows has."""
    named = set().union(*rows)
    return [column for column in COLUMNS if column in named]


def _put_into_postgresql(connection: Connection, rows: Sequence[Row], now: datetime) -> None:
    columns = _brought(rows)
    filled = [
        {column: row.get(column) for column in columns}
        | {"priority": row.get("priority") or 0, "due_at": row.get("due_at") or now}
        | begun(row, now)
        for row in rows
    ]
    connection.execute(insert(videos), filled)


def _look_in_postgresql(
    connection: Connection, column: Column[object], values: Sequence[object]
) -> Iterable[object]:
    several: ARRAY[object] = ARRAY(column.type)
    return connection.scalars(select(column).where(column == any_(literal(values, several))))


def _put_into_sqlite(connection: Connection, rows: Sequence[Row], now: datetime) -> None:
    columns = _brought(rows)
    given = (value for row in rows for value in map(row.get, columns))
    values = [as_text(value) if isinstance(value, datetime) else value for value in given]
    at = as_text(now)
    connection.exec_driver_sql(_insertion(columns, len(rows)), (*values, at, at))


def _insertion(columns: Sequence[str], count: int) -> str:
    """One statement for many rows: a statement of its own for each would also read and write the
    last id each time. Its last two parameters are the moment.
    """
    filled = {column: column for column in columns} | _FILLED
    absent = (f", NULL AS {column}" for column in COLUMNS if column not in columns)
    return (
        f"WITH given ({', '.join(columns)}) AS (VALUES {_marks(len(columns), count)}) "  # noqa: S608
        f"INSERT INTO videos ({', '.join(filled)}) SELECT {', '.join(filled.values())} "
        f"FROM (SELECT *{''.join(absent)} FROM given)"
    )


def _look_in_sqlite(
    connection: Connection, column: Column[object], values: Sequence[object]
) -> Iterable[object]:
    # The order of a cross join is kept: each value is looked up as it comes, none is sorted.
    name, given = column.name, _marks(1, len(values))
    sought = f"SELECT {name} FROM (VALUES {given}) CROSS JOIN videos ON {name} = column1"  # noqa: S608
    return connection.exec_driver_sql(sought, tuple(values)).scalars()


def _marks(columns: int, count: int) -> str:
    """The parameters of so many rows."""
    return ", ".join([f"({', '.join('?' * columns)})"] * count)


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at once as one statement takes."""
    return (things[start : start + _AT_ONCE] for start in range(0, len(things), _AT_ONCE))
