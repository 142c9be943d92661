"""Follow jobs to their end: a row for each job, for each file of its results, and for each host from
which the API could not download.

Safe while workers of the version before run: they see none of it, and stop at their next start. One
transaction: one that is broken off leaves the tables as they were.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WORDS = {
    "sqlite": {"big": "INTEGER", "moment": "TEXT", "number": "REAL", "options": " STRICT\n"},
    "postgresql": {
        "big": "BIGINT",
        "moment": "TIMESTAMP WITH TIME ZONE",
        "number": "DOUBLE PRECISION",
        "options": "",
    },
}

JOBS = """\
CREATE TABLE jobs (
    job_id TEXT NOT NULL,
    video_id {big} NOT NULL,
    attempt INTEGER NOT NULL,
    accepted_at {moment} NOT NULL,
    status TEXT,
    transfer_status TEXT,
    details TEXT,
    host TEXT,
    status_since {moment},
    polled_at {moment},
    next_poll_at {moment},
    polls INTEGER DEFAULT 0 NOT NULL,
    poll_errors INTEGER DEFAULT 0 NOT NULL,
    missing_since {moment},
    overdue_since {moment},
    ended_at {moment},
    ended_as TEXT,
    PRIMARY KEY (job_id),
    CONSTRAINT end_is_known CHECK (ended_as IN ('finished', 'error', 'gone')),
    CONSTRAINT an_end_has_its_time CHECK ((ended_as IS NULL) = (ended_at IS NULL))
)
{options}"""

HOSTS = """\
CREATE TABLE hosts (
    host TEXT NOT NULL,
    held_since {moment},
    judged_from {moment},
    probe_at {moment},
    probes INTEGER DEFAULT 0 NOT NULL,
    probe_video {big},
    why TEXT,
    PRIMARY KEY (host)
)
{options}"""

RESULTS = """\
CREATE TABLE results (
    job_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state TEXT DEFAULT 'wanted' NOT NULL,
    path TEXT,
    bytes {big},
    sha256 TEXT,
    error TEXT,
    tries INTEGER DEFAULT 0 NOT NULL,
    next_try_at {moment},
    fetched_at {moment},
    PRIMARY KEY (job_id, type),
    CONSTRAINT result_state_is_known CHECK (state IN ('wanted', 'stored', 'failed'))
)
{options}"""

ACCOUNT = {
    "callback_secret": "TEXT",
    "next_question_at": "{moment}",
    "jobs_listed_at": "{moment}",
    "list_shows_status": "INTEGER",
    "job_seconds": "{number} DEFAULT 60 NOT NULL",
    "job_seconds_most": "{number}",
    "held_hosts": "INTEGER DEFAULT 0 NOT NULL",
}

SECRET = {
    "sqlite": "lower(hex(randomblob(32)))",
    "postgresql": "replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')",
}

# In the order of their key, a million rows go to the end of its index, not all over it.
FILL = """\
INSERT INTO jobs (job_id, video_id, attempt, accepted_at)
SELECT job_id, id, claims, coalesce(submitted_at, updated_at) FROM videos
WHERE job_id IS NOT NULL ORDER BY job_id"""

# A job that is followed adds two facts, of which none is an answer to a request.
OF_VIDEO = "substr(fact, 1, 4) != 'job_'"

INDEXES = (
    "CREATE INDEX videos_held ON videos (held_host, id) WHERE state = 'pending' AND held_host IS NOT NULL",
    "CREATE INDEX jobs_of_video ON jobs (video_id)",
    "CREATE INDEX jobs_open ON jobs (next_poll_at, accepted_at) WHERE ended_as IS NULL",
    "CREATE INDEX jobs_missing ON jobs (missing_since) WHERE ended_as IS NULL AND missing_since IS NOT NULL",
    "CREATE INDEX jobs_overdue ON jobs (overdue_since) WHERE ended_as IS NULL AND overdue_since IS NOT NULL",
    "CREATE INDEX jobs_ended ON jobs (ended_as, ended_at) WHERE ended_as IS NOT NULL",
    "CREATE INDEX jobs_of_host ON jobs (host, ended_at) WHERE host IS NOT NULL",
    "CREATE INDEX hosts_held ON hosts (probe_at) WHERE held_since IS NOT NULL",
    "CREATE INDEX results_wanted ON results (next_try_at) WHERE state = 'wanted'",
    "CREATE INDEX results_failed ON results (type) WHERE state = 'failed'",
    "DROP INDEX history_others",
    f"CREATE INDEX history_others ON history (at, fact, job_id) WHERE job_id IS NULL AND {OF_VIDEO}",
    f"CREATE INDEX history_last ON history (fact, id) WHERE {OF_VIDEO}",
)

ONE_JOB = """\
INSERT INTO jobs (job_id, video_id, attempt, accepted_at, next_poll_at)
VALUES (NEW.job_id, NEW.id, NEW.claims, coalesce(NEW.submitted_at, NEW.updated_at), {look_at})
ON CONFLICT DO NOTHING"""

# A job that comes with a new row was bought elsewhere, perhaps long ago: it waits for its turn.
LATER = "NULL"
AT_ITS_TIME = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', coalesce(NEW.submitted_at, NEW.updated_at), "
    "(SELECT '+' || job_seconds || ' seconds' FROM account))",
    "postgresql": "coalesce(NEW.submitted_at, NEW.updated_at) "
    "+ (SELECT job_seconds FROM account) * INTERVAL '1 second'",
}

ON_FILE = {
    "videos_job_brought": ("INSERT", "NEW.job_id IS NOT NULL", LATER),
    "videos_job_made": (
        "UPDATE OF job_id",
        "NEW.job_id IS NOT NULL AND OLD.job_id IS NOT NEW.job_id",
        AT_ITS_TIME["sqlite"],
    ),
}

FUNCTION = """\
CREATE FUNCTION valossa_ingest_job() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $job$
BEGIN
    IF TG_OP = 'INSERT' THEN
        {brought};
    ELSE
        {made};
    END IF;
    RETURN NULL;
END
$job$"""

ON_SERVER = {
    "videos_job_brought": ("INSERT", "NEW.job_id IS NOT NULL"),
    "videos_job_made": (
        "UPDATE OF job_id",
        "NEW.job_id IS NOT NULL AND OLD.job_id IS DISTINCT FROM NEW.job_id",
    ),
}

# A corrected link leaves the brake of its host at once, whoever corrects it.
MENDED = "OLD.held_host IS NOT NULL AND NEW.url <> OLD.url"

FREED_ON_FILE = """\
CREATE TRIGGER videos_link_mended AFTER UPDATE OF url ON videos WHEN {mended}
BEGIN
    UPDATE videos SET held_host = NULL, error = NULL, due_at = datetime('now') WHERE id = NEW.id;
END"""

FREED_ON_SERVER = (
    """\
CREATE FUNCTION valossa_ingest_mended() RETURNS trigger LANGUAGE plpgsql AS $mended$
BEGIN
    NEW.held_host := NULL;
    NEW.error := NULL;
    NEW.due_at := clock_timestamp();
    RETURN NEW;
END
$mended$""",
    f"""\
CREATE TRIGGER videos_link_mended BEFORE UPDATE OF url ON videos FOR EACH ROW WHEN ({MENDED})
    EXECUTE FUNCTION valossa_ingest_mended()""",
)


def upgrade() -> None:
    """Add the columns and tables, a row for each job that is there, and the triggers."""
    dialect = op.get_context().dialect.name
    words = WORDS[dialect]
    op.execute("ALTER TABLE videos ADD COLUMN held_host TEXT")
    for name, kind in ACCOUNT.items():
        op.execute(f"ALTER TABLE account ADD COLUMN {name} {kind.format(**words)}")
    op.execute(f"UPDATE account SET callback_secret = {SECRET[dialect]}")  # noqa: S608 - ours
    for table in (JOBS, HOSTS, RESULTS):
        op.execute(table.format(**words))
    op.execute(FILL)
    for index in INDEXES:
        op.execute(index)
    if dialect == "postgresql":
        ways = {"brought": LATER, "made": AT_ITS_TIME[dialect]}
        how = {way: ONE_JOB.format(look_at=at) for way, at in ways.items()}
        op.execute(FUNCTION.format(**how))
        for name, (event, when) in ON_SERVER.items():
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON videos FOR EACH ROW WHEN ({when}) "
                "EXECUTE FUNCTION valossa_ingest_job()"
            )
        for statement in FREED_ON_SERVER:
            op.execute(statement)
    else:
        for name, (event, when, at) in ON_FILE.items():
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON videos WHEN {when}\n"
                f"BEGIN\n    {ONE_JOB.format(look_at=at)};\nEND"
            )
        op.execute(FREED_ON_FILE.format(mended=MENDED))


def downgrade() -> None:
    """Drop the triggers, the tables and the columns."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION valossa_ingest_job() CASCADE")
        op.execute("DROP FUNCTION valossa_ingest_mended() CASCADE")
    else:
        for name in (*ON_FILE, "videos_link_mended"):
            op.execute(f"DROP TRIGGER {name}")
    op.execute("DROP INDEX history_last")
    op.execute("DROP INDEX history_others")
    op.execute("CREATE INDEX history_others ON history (at, fact, job_id) WHERE job_id IS NULL")
    for table in ("results", "hosts", "jobs"):
        op.execute(f"DROP TABLE {table}")
    for name in reversed(ACCOUNT):
        op.execute(f"ALTER TABLE account DROP COLUMN {name}")
    op.execute("DROP INDEX videos_held")
    op.execute("ALTER TABLE videos DROP COLUMN held_host")
