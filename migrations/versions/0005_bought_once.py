"""Buy an address once: the mark of a row that may be bought again, and a link without its signature.
Count the jobs of an address that has one already. Take a ``due_at`` as most programs write it. Show
the rate of each worker.

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

OTHERS = "EXISTS (SELECT 1 FROM videos WHERE url = {0}.url AND id <> {0}.id AND job_id IS NOT NULL)"
CAME = f"NEW.job_id IS NOT NULL AND {OTHERS.format('NEW')}"
WENT = f"OLD.job_id IS NOT NULL AND {OTHERS.format('OLD')}"
ONE_MORE = "UPDATE account SET bought_twice = bought_twice + 1;"
ONE_LESS = "UPDATE account SET bought_twice = bought_twice - 1;"

COUNTERS = {
    "videos_job_inserted": ("INSERT", CAME, ONE_MORE),
    "videos_job_came": (
        "UPDATE OF job_id, url",
        f"(OLD.job_id IS NULL OR OLD.url <> NEW.url) AND {CAME}",
        ONE_MORE,
    ),
    "videos_job_went": (
        "UPDATE OF job_id, url",
        f"(NEW.job_id IS NULL OR OLD.url <> NEW.url) AND {WENT}",
        ONE_LESS,
    ),
}
"""A job comes by a settle, an import, a person, or anybody's plain SQL: the database counts it, so
that a status need not compare a million addresses. What a deleted row has bought stays bought.
"""

COUNTER = f"""\
CREATE FUNCTION valossa_ingest_bought() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $bought$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF {WENT} THEN {ONE_LESS} END IF;
    END IF;
    IF {CAME} THEN {ONE_MORE} END IF;
    RETURN NEW;
END
$bought$"""
"""Whoever may insert a video need not be allowed to write the shared row. Called before each row,
it sees those that the same statement has changed before.
"""

MOVES = (
    "(OLD.job_id IS NULL) <> (NEW.job_id IS NULL) "
    "OR (OLD.url <> NEW.url AND NEW.job_id IS NOT NULL)"
)
ON_SERVER = {
    "videos_job_inserted": ("INSERT", "NEW.job_id IS NOT NULL"),
    "videos_job_updated": ("UPDATE OF job_id, url", MOVES),
}

COUNT_ALL = """\
UPDATE account SET bought_twice = coalesce((
    SELECT sum(jobs - 1) FROM (
        SELECT count(*) AS jobs FROM videos
        WHERE job_id IS NOT NULL
        AND url IN (SELECT url FROM videos GROUP BY url HAVING count(*) > 1)
        GROUP BY url
    ) AS addresses
), 0)"""


def upgrade() -> None:
    """Add the columns, the index and the triggers; widen the CHECK."""
    dialect = op.get_context().dialect.name
    double = DOUBLE[dialect]
    op.execute("ALTER TABLE videos ADD COLUMN may_buy_twice INTEGER DEFAULT 0 NOT NULL")
    op.execute("ALTER TABLE videos ADD COLUMN unsigned_url TEXT")
    op.execute(f"ALTER TABLE workers ADD COLUMN rate {double}")
    op.execute(f"ALTER TABLE workers ADD COLUMN period_seconds {double}")
    op.execute("ALTER TABLE workers ADD COLUMN rate_source TEXT")
    op.execute("ALTER TABLE account ADD COLUMN bought_twice INTEGER DEFAULT 0 NOT NULL")
    op.execute(COUNT_ALL)
    how = " USING hash" if dialect == "postgresql" else ""
    op.execute(
        f"CREATE INDEX videos_unsigned_url ON videos{how} (unsigned_url) "
        "WHERE unsigned_url IS NOT NULL"
    )
    _fill()
    if dialect == "postgresql":
        op.execute(f"ALTER TABLE videos ADD {MAY_BE_TWICE}")
        op.execute(COUNTER)
        for name, (event, changes) in ON_SERVER.items():
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {event} ON videos FOR EACH ROW WHEN ({changes}) "
                "EXECUTE FUNCTION valossa_ingest_bought()"
            )
    else:
        for name, (event, changes, count) in COUNTERS.items():
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON videos WHEN {changes}\n"
                f"BEGIN\n    {count}\nEND"
            )
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
        op.execute("DROP FUNCTION valossa_ingest_bought() CASCADE")
    else:
        for name in (*TRIGGERS, *COUNTERS):
            op.execute(f"DROP TRIGGER {name}")
        _rewrite(f"{MAY_BE_TWICE},\n    {WIDE}", NARROW)
    op.execute("DROP INDEX videos_unsigned_url")
    op.execute("ALTER TABLE account DROP COLUMN bought_twice")
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
