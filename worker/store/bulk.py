"""Insert many videos at once, and find many values at once, in the SQL of either database."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ARRAY, Column, Connection, any_, insert, literal, select

from worker.core.import_row import COLUMNS
from worker.core.model import State
from worker.db.column_types import as_text
from worker.db.schema import videos

NewVideo = Mapping[str, object]
"""An admitted row of an import: values by column."""

T = TypeVar("T")

STORED = (*COLUMNS, "unsigned_url", "may_buy_twice")
"""The columns that a new video may bring."""

_AT_ONCE = 1_000
"""Rows of one statement; SQLite has parameters for twice as many."""

BATCH = 500
"""Values of one condition."""

BELOW_ALL = -(2**63)
"""Below each id that a plain INSERT gives: some programs count from 0 or below."""

_FILLED = {
    "priority": "coalesce(priority, 0)",
    "may_buy_twice": "coalesce(may_buy_twice, 0)",
    "due_at": "coalesce(due_at, ?)",
    "state": f"iif(job_id IS NULL, '{State.PENDING}', '{State.SUBMITTED}')",
    "submitted_at": "iif(job_id IS NULL, NULL, ?)",
    # As random as by default. The rows of one statement begin alike, which keeps them together in
    # the index; it would otherwise be rewritten as a whole for each chunk.
    "request_id": "(SELECT lower(hex(randomblob(4)))) || lower(hex(randomblob(12)))",
}
"""The values SQLite inserts into columns that rows may leave empty or do not have."""


def batches(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the values in order, up to ``size`` at once."""
    return (values[start : start + size] for start in range(0, len(values), size))


def insert_all(connection: Connection, rows: Sequence[NewVideo], now: datetime) -> None:
    """Insert new videos, due now by default, and submitted if they bring a job."""
    put = _put_into_sqlite if connection.dialect.name == "sqlite" else _put_into_postgresql
    for some in batches(rows, _AT_ONCE):
        put(connection, some, now)


def known(
    connection: Connection, column: Column[Any], values: Sequence[object]
) -> list[tuple[object, int]]:
    """Return those of the values that a table has in this column, each with the id of its row."""
    look = _look_in_sqlite if connection.dialect.name == "sqlite" else _look_in_postgresql
    pages = (look(connection, column, some) for some in batches(values, _AT_ONCE))
    return [(value, video_id) for page in pages for value, video_id in page]


def filled(row: NewVideo, now: datetime) -> dict[str, object]:
    """Return the columns of a new video that are never empty, and its first state."""
    never_empty = {"priority": 0, "may_buy_twice": 0, "due_at": now}
    given = {name: row.get(name) or value for name, value in never_empty.items()}
    if row.get("job_id") is None:
        return {**given, "state": State.PENDING, "submitted_at": None}
    return {**given, "state": State.SUBMITTED, "submitted_at": now}


def _columns_of(rows: Sequence[NewVideo]) -> list[str]:
    named = set().union(*rows)
    return [column for column in STORED if column in named]


def _put_into_postgresql(connection: Connection, rows: Sequence[NewVideo], now: datetime) -> None:
    columns = _columns_of(rows)
    new = [{column: row.get(column) for column in columns} | filled(row, now) for row in rows]
    connection.execute(insert(videos), new)


def _look_in_postgresql(
    connection: Connection, column: Column[object], values: Sequence[object]
) -> Iterable[Any]:
    several: ARRAY[object] = ARRAY(column.type)
    is_sought = column == any_(literal(values, several))
    return connection.execute(select(column, column.table.c.id).where(is_sought))


def _put_into_sqlite(connection: Connection, rows: Sequence[NewVideo], now: datetime) -> None:
    columns = _columns_of(rows)
    given = (value for row in rows for value in map(row.get, columns))
    values = [as_text(value) if isinstance(value, datetime) else value for value in given]
    at = as_text(now)
    connection.exec_driver_sql(_insertion(columns, len(rows)), (*values, at, at))


def _insertion(columns: Sequence[str], count: int) -> str:
    """Return one INSERT for many rows; its last two parameters are the moment. A statement for each
    row would also read and write the last id each time.
    """
    put = {column: column for column in columns} | _FILLED
    absent = (f", NULL AS {column}" for column in STORED if column not in columns)
    return (
        f"WITH given ({', '.join(columns)}) AS (VALUES {_marks(len(columns), count)}) "  # noqa: S608
        f"INSERT INTO videos ({', '.join(put)}) SELECT {', '.join(put.values())} "
        f"FROM (SELECT *{''.join(absent)} FROM given)"
    )


def _look_in_sqlite(
    connection: Connection, column: Column[object], values: Sequence[object]
) -> Iterable[Any]:
    # SQLite keeps the order of a cross join: it searches for each value as it comes and sorts none.
    name, given = column.name, f"(VALUES {_marks(1, len(values))})"
    sought = f"SELECT {name}, id FROM {given} CROSS JOIN {column.table} ON {name} = column1"  # noqa: S608
    return connection.exec_driver_sql(sought, tuple(values))


def _marks(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)
