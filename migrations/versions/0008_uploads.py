"""Upload local files: a row for each video whose address is a file, and the folders of each worker.

Safe while workers of the version before run: they see none of it, and stop at their next start.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WORDS = {
    "sqlite": {"big": "INTEGER", "moment": "TEXT", "options": " STRICT\n"},
    "postgresql": {"big": "BIGINT", "moment": "TIMESTAMP WITH TIME ZONE", "options": ""},
}

UPLOADS = """\
CREATE TABLE uploads (
    video_id {big} NOT NULL,
    address TEXT NOT NULL,
    state TEXT DEFAULT 'wanted' NOT NULL,
    device {big},
    inode {big},
    size {big},
    changed_ns {big},
    chunk_size {big},
    upload_id TEXT,
    last_sha256 TEXT,
    url TEXT,
    worker TEXT,
    error TEXT,
    acknowledged INTEGER DEFAULT 0 NOT NULL,
    changes INTEGER DEFAULT 0 NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    restarts INTEGER DEFAULT 0 NOT NULL,
    claims INTEGER DEFAULT 0 NOT NULL,
    begun_at {moment},
    ready_at {moment},
    next_try_at {moment},
    lease_until {moment},
    PRIMARY KEY (video_id),
    CONSTRAINT upload_state_is_known CHECK (state IN ('wanted', 'uploading', 'ready', 'failed')),
    CONSTRAINT uploading_has_a_lease CHECK (state <> 'uploading' OR (worker IS NOT NULL AND lease_until IS NOT NULL)),
    CONSTRAINT ready_has_an_address CHECK (state <> 'ready' OR url IS NOT NULL)
)
{options}"""

# Those that are left, of all that ever were.
LEFT = "CREATE INDEX uploads_left ON uploads (video_id, state) WHERE state = 'wanted' OR state = 'uploading'"

BEGUN = "CREATE INDEX uploads_begun ON uploads (begun_at) WHERE begun_at IS NOT NULL"

NAMED = "CREATE INDEX uploads_url ON uploads (url) WHERE url IS NOT NULL"


def upgrade() -> None:
    """Add the table, its indexes and the column."""
    op.execute(UPLOADS.format(**WORDS[op.get_context().dialect.name]))
    op.execute(LEFT)
    op.execute(BEGUN)
    op.execute(NAMED)
    op.execute("ALTER TABLE workers ADD COLUMN upload_roots TEXT")


def downgrade() -> None:
    """Drop the column and the table."""
    op.execute("ALTER TABLE workers DROP COLUMN upload_roots")
    op.execute("DROP TABLE uploads")
