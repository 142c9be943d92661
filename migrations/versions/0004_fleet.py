"""Serve several workers: a row for each, the new place of a moved queue, notifications that wake a
worker, and the time at which the pace was written.

Safe while workers of the version before run: they see none of it, and stop at their next start.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WORKERS = """\
CREATE TABLE workers (
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    command TEXT NOT NULL,
    started_at {moment} NOT NULL,
    seen_at {moment} NOT NULL,
    PRIMARY KEY (id)
)
{options}"""

WORDS = {
    "sqlite": {"moment": "TEXT", "options": " STRICT\n"},
    "postgresql": {"moment": "TIMESTAMP WITH TIME ZONE", "options": ""},
}

# A connection may break in a commit: its owner reads here if the transaction was committed.
COMMITS = """\
CREATE TABLE commits (
    session TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL
)"""

# SQLite shows every commit to a watcher; PostgreSQL has to notify of new work.
WAKING = (
    """\
CREATE FUNCTION valossa_ingest_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('valossa_ingest', current_schema());
    RETURN NULL;
END
$$""",
    """\
CREATE TRIGGER videos_added AFTER INSERT ON videos
    FOR EACH STATEMENT EXECUTE FUNCTION valossa_ingest_wake()""",
    """\
CREATE TRIGGER videos_due_again AFTER UPDATE ON videos
    FOR EACH ROW
    WHEN (NEW.state = 'pending' AND (OLD.state <> 'pending' OR OLD.due_at > NEW.due_at))
    EXECUTE FUNCTION valossa_ingest_wake()""",
    """\
CREATE TRIGGER account_freed AFTER UPDATE ON account
    FOR EACH ROW
    WHEN (OLD.paused_at IS DISTINCT FROM NEW.paused_at)
    EXECUTE FUNCTION valossa_ingest_wake()""",
)

UNWAKING = (
    "DROP TRIGGER account_freed ON account",
    "DROP TRIGGER videos_due_again ON videos",
    "DROP TRIGGER videos_added ON videos",
    "DROP FUNCTION valossa_ingest_wake()",
    "DROP TABLE commits",
)


def upgrade() -> None:
    """Add the tables, the columns and the triggers."""
    dialect = op.get_context().dialect.name
    op.execute(WORKERS.format(**WORDS[dialect]))
    op.execute("ALTER TABLE account ADD COLUMN moved_to TEXT")
    op.execute("ALTER TABLE account ADD COLUMN written_at {moment}".format(**WORDS[dialect]))
    for statement in (COMMITS, *WAKING) if dialect == "postgresql" else ():
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables, the columns and the triggers."""
    for statement in UNWAKING if op.get_context().dialect.name == "postgresql" else ():
        op.execute(statement)
    op.execute("ALTER TABLE account DROP COLUMN written_at")
    op.execute("ALTER TABLE account DROP COLUMN moved_to")
    op.execute("DROP TABLE workers")
