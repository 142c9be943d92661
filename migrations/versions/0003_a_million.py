"""Serve a million rows: add indexes from which the rows are counted.

Safe while workers of the version before run: they see none of it, and stop at their next start.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen two indexes, add two."""
    op.execute("DROP INDEX videos_due")
    op.execute(
        "CREATE INDEX videos_due ON videos (priority DESC, due_at, id, state) "
        "WHERE state = 'pending'"
    )
    op.execute(
        "CREATE INDEX videos_closed ON videos (state) WHERE state = 'failed' OR state = 'cancelled'"
    )
    op.execute("DROP INDEX history_jobs")
    op.execute("CREATE INDEX history_jobs ON history (at, id, fact) WHERE job_id IS NOT NULL")
    op.execute("CREATE INDEX history_others ON history (at, fact, job_id) WHERE job_id IS NULL")


def downgrade() -> None:
    """Narrow the two indexes, drop the added ones."""
    op.execute("DROP INDEX history_others")
    op.execute("DROP INDEX history_jobs")
    op.execute("CREATE INDEX history_jobs ON history (at) WHERE job_id IS NOT NULL")
    op.execute("DROP INDEX videos_closed")
    op.execute("DROP INDEX videos_due")
    op.execute(
        "CREATE INDEX videos_due ON videos (priority DESC, due_at, id) WHERE state = 'pending'"
    )
