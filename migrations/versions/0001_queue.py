"""The queue: videos, their history, the account that all processes share.

Safe while no worker runs (there is nothing before it).
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

VIDEOS = """\
CREATE TABLE videos (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    url TEXT NOT NULL,
    media_id TEXT,
    title TEXT,
    description TEXT,
    language TEXT,
    transcript_url TEXT,
    face_min_relative_height REAL,
    face_gallery_id TEXT,
    email_group TEXT,
    callback_url TEXT,
    priority INTEGER DEFAULT 0 NOT NULL,
    due_at TEXT DEFAULT (datetime('now')) NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    claims INTEGER DEFAULT 0 NOT NULL,
    request_id TEXT DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    claim_token TEXT,
    claimed_by TEXT,
    lease_until TEXT,
    job_id TEXT,
    http_status INTEGER,
    error TEXT,
    created_at TEXT DEFAULT (datetime('now')) NOT NULL,
    updated_at TEXT DEFAULT (datetime('now')) NOT NULL,
    submitted_at TEXT,
    CONSTRAINT url_is_given CHECK (url <> ''),
    CONSTRAINT height_is_a_share CHECK (face_min_relative_height BETWEEN 0 AND 1),
    CONSTRAINT state_is_known CHECK (state IN ('pending', 'submitting', 'submitted', 'failed', 'in_doubt', 'cancelled')),
    CONSTRAINT attempts_are_claims CHECK (attempts >= 0 AND claims >= attempts),
    CONSTRAINT request_id_is_given CHECK (request_id <> ''),
    CONSTRAINT submitting_has_a_claim CHECK (state <> 'submitting' OR (claim_token IS NOT NULL AND claimed_by IS NOT NULL AND lease_until IS NOT NULL)),
    CONSTRAINT submitted_has_a_job CHECK (state <> 'submitted' OR job_id IS NOT NULL),
    CONSTRAINT a_job_is_never_pending CHECK (state <> 'pending' OR job_id IS NULL),
    CONSTRAINT due_at_is_utc_text CHECK (due_at >= '1970-01-01' AND datetime(substr(due_at, 1, 19), '+0 days') IS substr(due_at, 1, 19) AND (length(CAST(due_at AS BLOB)) = 19 OR (substr(due_at, 20, 1) = '.' AND length(CAST(due_at AS BLOB)) BETWEEN 21 AND 26 AND substr(due_at, 21) NOT GLOB '*[^0-9]*'))),
    CONSTRAINT lease_until_is_utc_text CHECK (lease_until >= '1970-01-01' AND datetime(substr(lease_until, 1, 19), '+0 days') IS substr(lease_until, 1, 19) AND (length(CAST(lease_until AS BLOB)) = 19 OR (substr(lease_until, 20, 1) = '.' AND length(CAST(lease_until AS BLOB)) BETWEEN 21 AND 26 AND substr(lease_until, 21) NOT GLOB '*[^0-9]*'))),
    CONSTRAINT created_at_is_utc_text CHECK (created_at >= '1970-01-01' AND datetime(substr(created_at, 1, 19), '+0 days') IS substr(created_at, 1, 19) AND (length(CAST(created_at AS BLOB)) = 19 OR (substr(created_at, 20, 1) = '.' AND length(CAST(created_at AS BLOB)) BETWEEN 21 AND 26 AND substr(created_at, 21) NOT GLOB '*[^0-9]*'))),
    CONSTRAINT updated_at_is_utc_text CHECK (updated_at >= '1970-01-01' AND datetime(substr(updated_at, 1, 19), '+0 days') IS substr(updated_at, 1, 19) AND (length(CAST(updated_at AS BLOB)) = 19 OR (substr(updated_at, 20, 1) = '.' AND length(CAST(updated_at AS BLOB)) BETWEEN 21 AND 26 AND substr(updated_at, 21) NOT GLOB '*[^0-9]*'))),
    CONSTRAINT submitted_at_is_utc_text CHECK (submitted_at >= '1970-01-01' AND datetime(substr(submitted_at, 1, 19), '+0 days') IS substr(submitted_at, 1, 19) AND (length(CAST(submitted_at AS BLOB)) = 19 OR (substr(submitted_at, 20, 1) = '.' AND length(CAST(submitted_at AS BLOB)) BETWEEN 21 AND 26 AND substr(submitted_at, 21) NOT GLOB '*[^0-9]*')))
)
 STRICT
"""

VIDEOS_INDEXES = (
    "CREATE INDEX videos_doubts ON videos (updated_at) WHERE state = 'in_doubt'",
    "CREATE INDEX videos_due ON videos (priority DESC, due_at, id) WHERE state = 'pending'",
    "CREATE UNIQUE INDEX videos_job_id ON videos (job_id) WHERE job_id IS NOT NULL",
    "CREATE INDEX videos_leases ON videos (lease_until) WHERE state = 'submitting'",
    "CREATE INDEX videos_media_id ON videos (media_id) WHERE media_id IS NOT NULL",
    "CREATE INDEX videos_url ON videos (url)",
)

HISTORY = """\
CREATE TABLE history (
    id INTEGER NOT NULL,
    video_id INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    fact TEXT NOT NULL,
    started_at TEXT,
    http_status INTEGER,
    message TEXT,
    job_id TEXT,
    PRIMARY KEY (id)
)
 STRICT
"""

HISTORY_INDEXES = (
    "CREATE INDEX history_doubts ON history (video_id, attempt) WHERE fact = 'in_doubt'",
    "CREATE INDEX history_jobs ON history (at) WHERE job_id IS NOT NULL",
    "CREATE INDEX history_of_video ON history (video_id, attempt)",
)

ACCOUNT = """\
CREATE TABLE account (
    id INTEGER NOT NULL,
    next_start_at TEXT DEFAULT (datetime('now')) NOT NULL,
    cool_down_until TEXT,
    cool_down_reason TEXT,
    paused_at TEXT,
    pause_reason TEXT,
    pace_low REAL,
    pace_ceiling REAL,
    pace_cut_at TEXT,
    PRIMARY KEY (id),
    CONSTRAINT one_row CHECK (id = 1)
)
 STRICT
"""


def upgrade() -> None:
    """Make the tables, and the account's one row."""
    for statement in (VIDEOS, *VIDEOS_INDEXES, HISTORY, *HISTORY_INDEXES, ACCOUNT):
        op.execute(statement)
    op.execute("INSERT INTO account (id) VALUES (1)")


def downgrade() -> None:
    """Drop the tables and everything in them."""
    for table in ("account", "history", "videos"):
        op.execute(f"DROP TABLE {table}")
