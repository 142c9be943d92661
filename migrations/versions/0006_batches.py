"""Name the import that brought a video. Keep the address and the job of each video that is pruned,
and the numbers that its history brought. Remember which notices were sent.

Safe while workers of the version before run: they see none of it, and stop at their next start.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PRUNED = """\
CREATE TABLE pruned (
    id {big} NOT NULL,
    url TEXT NOT NULL,
    unsigned_url TEXT,
    media_id TEXT,
    job_id TEXT NOT NULL,
    pruned_at {moment} NOT NULL,
    PRIMARY KEY (id)
)
{options}"""

WORDS = {
    "sqlite": {"big": "INTEGER", "moment": "TEXT", "options": " STRICT\n"},
    "postgresql": {"big": "BIGINT", "moment": "TIMESTAMP WITH TIME ZONE", "options": ""},
}

# PostgreSQL's btree refuses texts of more than 2,704 bytes; signed links can be longer.
LONG = {"sqlite": "", "postgresql": "USING hash "}

LEFT = "batch IS NOT NULL AND (state = 'pending' OR state = 'failed' OR state = 'cancelled')"
SIGNED = "unsigned_url IS NOT NULL"

INDEXES = (
    "CREATE INDEX videos_batch ON videos (batch, id) WHERE batch IS NOT NULL",
    # Not by state alone: a submitted row, of which there are most, costs nothing in it.
    f"CREATE INDEX videos_batch_left ON videos (batch, state) WHERE {LEFT}",
    "CREATE INDEX pruned_url ON pruned {long}(url)",
    f"CREATE INDEX pruned_unsigned_url ON pruned {{long}}(unsigned_url) WHERE {SIGNED}",
    "CREATE INDEX pruned_media_id ON pruned {long}(media_id) WHERE media_id IS NOT NULL",
    "CREATE INDEX pruned_job_id ON pruned {long}(job_id)",
)

NUMBERS = ("pruned_jobs", "pruned_attempts")

OTHERS = "EXISTS (SELECT 1 FROM videos WHERE url = {0}.url AND id <> {0}.id AND job_id IS NOT NULL)"
WITH_PRUNED = f"({OTHERS} OR EXISTS (SELECT 1 FROM pruned WHERE url = {{0}}.url))"  # noqa: S608
"""True where the address of a row has another job. What is pruned stays bought."""

ONE_MORE = "UPDATE account SET bought_twice = bought_twice + 1;"
ONE_LESS = "UPDATE account SET bought_twice = bought_twice - 1;"

COUNTER = """\
CREATE OR REPLACE FUNCTION valossa_ingest_bought() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $bought$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF {went} THEN {less} END IF;
    END IF;
    IF {came} THEN {more} END IF;
    RETURN NEW;
END
$bought$"""


def upgrade() -> None:
    """Add the columns, the table and the indexes; let the counters look at the table."""
    dialect = op.get_context().dialect.name
    op.execute("ALTER TABLE videos ADD COLUMN batch TEXT")
    for name in NUMBERS:
        op.execute(f"ALTER TABLE account ADD COLUMN {name} INTEGER DEFAULT 0 NOT NULL")
    op.execute("ALTER TABLE account ADD COLUMN told TEXT")
    op.execute(PRUNED.format(**WORDS[dialect]))
    for index in INDEXES:
        op.execute(index.format(long=LONG[dialect]))
    _count(dialect, WITH_PRUNED)


def downgrade() -> None:
    """Drop the columns, the table and the indexes; let the counters look at videos alone."""
    _count(op.get_context().dialect.name, OTHERS)
    op.execute("DROP TABLE pruned")
    for name in ("told", *reversed(NUMBERS)):
        op.execute(f"ALTER TABLE account DROP COLUMN {name}")
    for index in ("videos_batch_left", "videos_batch"):
        op.execute(f"DROP INDEX {index}")
    op.execute("ALTER TABLE videos DROP COLUMN batch")


def _count(dialect: str, others: str) -> None:
    """Make the triggers of 0005 anew, which count the jobs of an address that has ``others``."""
    came = f"NEW.job_id IS NOT NULL AND {others.format('NEW')}"
    went = f"OLD.job_id IS NOT NULL AND {others.format('OLD')}"
    if dialect == "postgresql":
        op.execute(COUNTER.format(came=came, went=went, more=ONE_MORE, less=ONE_LESS))
        return
    changes, of = "UPDATE OF job_id, url", "({0}.job_id IS NULL OR OLD.url <> NEW.url) AND "
    for name, event, where, count in (
        ("videos_job_inserted", "INSERT", came, ONE_MORE),
        ("videos_job_came", changes, of.format("OLD") + came, ONE_MORE),
        ("videos_job_went", changes, of.format("NEW") + went, ONE_LESS),
    ):
        op.execute(f"DROP TRIGGER {name}")
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON videos WHEN {where}\nBEGIN\n    {count}\nEND"
        )
