"""A queue on its way to another database, as verbs. Each is one part of a transaction.

The mark stands in ``account``, where a claim reads it anyway. Triggers that look at it keep out
what plain SQL would put where nobody works any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, Table, func, insert, select, text, update

from worker.core import relocation
from worker.core.model import State
from worker.core.redact import readable
from worker.db.schema import account, history, videos
from worker.store import counts
from worker.store import shared_state as accounts

CHUNK = 1_000
"""Rows that one transaction copies."""

TABLES = (videos, history)
"""What is copied row by row, in this order."""

LINKS = {"url", "transcript_url", "callback_url"}

Row = Mapping[str, object]


def problem(connection: Connection) -> str | None:
    """Why this queue must not be worked on, None if it is here."""
    mark = accounts.read(connection).moved_to
    return None if mark is None else relocation.sentence(mark)


def mark(connection: Connection, told: str) -> None:
    """From now on nobody claims here, and rows from outside are refused."""
    _unguard(connection)
    connection.execute(update(account).values(moved_to=told))
    for statement in _GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement.format(why=_why(told)))


def unmark(connection: Connection) -> None:
    """The queue is here."""
    connection.execute(update(account).values(moved_to=None))
    _unguard(connection)


def _why(told: str) -> str:
    """What a program is told that inserts by plain SQL, as SQL; a mark taken out lets it in."""
    return f"this queue {relocation.sentence(told)}".replace("'", "''")


_GUARDS = {
    # Of updates, those of what other programs may change. An answer that comes late brings a job,
    # and is still written down.
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
    # The lock that CREATE TRIGGER takes waits for every insert that has begun before the mark.
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
    """Whether nothing has ever been here."""
    return not any(highest(connection, table) for table in TABLES)


def highest(connection: Connection, table: Table) -> int:
    """The highest id of a table, 0 where it is empty."""
    return connection.scalar(select(func.max(table.c.id))) or 0


def in_flight(connection: Connection) -> tuple[int, datetime | None]:
    """How many claims are not settled yet, and when the last of their leases ends (UTC)."""
    end = func.max(videos.c.lease_until, type_=videos.c.lease_until.type)
    claims = select(func.count(), end).where(counts.IN_STATE[State.SUBMITTING])
    number, until = connection.execute(claims).one()
    return number, until


def rows(connection: Connection, table: Table, after: int) -> list[Row]:
    """The next rows of a table in the order of their ids, as any database takes them."""
    page = select(table).where(table.c.id > after).order_by(table.c.id).limit(CHUNK)
    return [_storable(row) for row in connection.execute(page).mappings()]


def _storable(row: RowMapping) -> Row:
    """A row without NUL and bytes that are no UTF-8. In the place of one, a link has a space: so it
    is refused, as it would have been, and not sent as another link.
    """
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    mended = {name: readable(value) for name, value in texts.items() if readable(value) != value}
    spaced = {name: mended[name].replace("\ufffd", " ") for name in LINKS & {*mended}}
    return {**row, **mended, **spaced}


def put(connection: Connection, table: Table, found: Sequence[Row]) -> None:
    """Add rows of another queue, with their ids, to one that is marked as unfinished."""
    told = accounts.read(connection).moved_to
    connection.execute(update(account).values(moved_to=None))
    connection.execute(insert(table), list(found))
    connection.execute(update(account).values(moved_to=told))


def shared(connection: Connection) -> Row:
    """What all processes share but for the mark: the pace, a cool-down, a pause, the list."""
    row = connection.execute(select(account)).mappings().one()
    return {name: row[name] for name in row if name not in {"id", "moved_to"}}


def share(connection: Connection, known: Row) -> None:
    """Take that over."""
    connection.execute(update(account).values(**known))


def continue_ids(connection: Connection) -> None:
    """New rows come after all that were ever there: a history outlives its video, whose number must
    not come back.
    """
    last = connection.scalar(select(func.max(history.c.video_id))) or 0
    reached = {
        videos: max(last, highest(connection, videos)),
        history: highest(connection, history),
    }
    for table, number in reached.items():
        for statement in _CONTINUE[connection.dialect.name] if number else ():
            connection.execute(text(statement), {"table": table.name, "number": number})


_CONTINUE = {
    # A table that is not AUTOINCREMENT has no use for its line.
    "sqlite": (
        "DELETE FROM sqlite_sequence WHERE name = :table",
        "INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :number)",
    ),
    "postgresql": ("SELECT setval(pg_get_serial_sequence(:table, 'id'), :number)",),
}


@dataclass(frozen=True, slots=True)
class Census:
    """How many videos are in each state, and how many facts the history has."""

    videos: dict[str, int]
    history: int


def census(connection: Connection) -> Census:
    """Count all that is there."""
    facts = connection.execute(select(func.count()).select_from(history)).scalar_one()
    return Census(counts.by_state(connection), facts)
