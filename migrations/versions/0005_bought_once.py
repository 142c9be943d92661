"""Buy an address once: the mark of a row that may be bought again, and a link without its signature.
Take a ``due_at`` as most programs write it. Show the rate of each worker.

Safe while workers of the version before run: they see none of it, and stop at their next start.
"""

from alembic import op
from sqlalchemy import text

from worker.core.signed_link import unsigned

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

DOUBLE = {"sqlite": "REAL", "postgresql": "DOUBLE PRECISION"}

MAY_BE_TWICE = "CONSTRAINT may_buy_twice_is_yes_or_no CHECK (may_buy_twice IN (0, 1))"

PLAIN = (
    "due_at >= '1970-01-01' AND "
    "datetime(substr(due_at, 1, 19), '+0 days') IS substr(due_at, 1, 19) AND "
    "(length(CAST(due_at AS BLOB)) = 19 OR (substr(due_at, 20, 1) = '.' AND "
    "length(CAST(due_at AS BLOB)) BETWEEN 21 AND 26 AND "
    "substr(due_at, 21) NOT GLOB '*[^0-9]*'))"
)
"""The form in which moments are kept."""

ISO = (
    "due_at >= '1970-01-01' AND datetime(due_at) IS NOT NULL AND "
    "length(due_at) = length(CAST(due_at AS BLOB)) AND due_at NOT GLOB '*[^-0-9T:.Z+ ]*' AND "
    "datetime(substr(replace(due_at, 'T', ' '), 1, 19), '+0 days') "
    "IS substr(replace(due_at, 'T', ' '), 1, 19)"
)
"""A form that a trigger brings into the plain one, so that order and index stay right."""

NARROW = f"CONSTRAINT due_at_is_utc_text CHECK ({PLAIN})"
WIDE = f"CONSTRAINT due_at_is_utc_text CHECK (({PLAIN}) OR ({ISO}))"

TRIGGER = """\
CREATE TRIGGER {name} AFTER {event} ON videos WHEN NOT ({plain})
BEGIN
    UPDATE videos SET due_at = strftime('%Y-%m-%d %H:%M:%f', NEW.due_at) WHERE id = NEW.id;
END"""

TRIGGERS = {"videos_due_at_inserted": "INSERT", "videos_due_at_updated": "UPDATE OF due_at"}


def upgrade() -> None:
    """Add the columns, the index and the triggers; widen the CHECK."""
    dialect = op.get_context().dialect.name
    double = DOUBLE[dialect]
    op.execute("ALTER TABLE videos ADD COLUMN may_buy_twice INTEGER DEFAULT 0 NOT NULL")
    op.execute("ALTER TABLE videos ADD COLUMN unsigned_url TEXT")
    op.execute(f"ALTER TABLE workers ADD COLUMN rate {double}")
    op.execute(f"ALTER TABLE workers ADD COLUMN period_seconds {double}")
    op.execute("ALTER TABLE workers ADD COLUMN rate_source TEXT")
    how = " USING hash" if dialect == "postgresql" else ""
    op.execute(
        f"CREATE INDEX videos_unsigned_url ON videos{how} (unsigned_url) "
        "WHERE unsigned_url IS NOT NULL"
    )
    _fill()
    if dialect == "postgresql":
        op.execute(f"ALTER TABLE videos ADD {MAY_BE_TWICE}")
    else:
        _rewrite(NARROW, f"{MAY_BE_TWICE},\n    {WIDE}")
        for name, event in TRIGGERS.items():
            op.execute(
                TRIGGER.format(name=name, event=event, plain=PLAIN.replace("due_at", "NEW.due_at"))
            )


def _fill() -> None:
    """Write the unsigned form of every link that is there, so that a new signature makes no new
    video of it.
    """
    connection, last = op.get_bind(), 0
    look = text(
        "SELECT id, url FROM videos WHERE id > :last AND url LIKE '%?%' ORDER BY id LIMIT 1000"
    )
    while rows := connection.execute(look, {"last": last}).all():
        found = [{"id": row.id, "same": same} for row in rows if (same := unsigned(row.url))]
        if found:
            connection.execute(text("UPDATE videos SET unsigned_url = :same WHERE id = :id"), found)
        last = rows[-1].id


def downgrade() -> None:
    """Drop the columns, the index and the triggers; narrow the CHECK."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE videos DROP CONSTRAINT may_buy_twice_is_yes_or_no")
    else:
        for name in TRIGGERS:
            op.execute(f"DROP TRIGGER {name}")
        _rewrite(f"{MAY_BE_TWICE},\n    {WIDE}", NARROW)
    op.execute("DROP INDEX videos_unsigned_url")
    for column in ("rate_source", "period_seconds", "rate"):
        op.execute(f"ALTER TABLE workers DROP COLUMN {column}")
    for column in ("unsigned_url", "may_buy_twice"):
        op.execute(f"ALTER TABLE videos DROP COLUMN {column}")


def _rewrite(old: str, new: str) -> None:
    """Change CHECKs of the table ``videos`` where SQLite keeps them, as its manual allows: no row
    is touched, so a million of them cost nothing. Every row satisfies the new ones.
    """
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'videos'",
        (old, new),
    )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")
