"""Add columns and indexes for doubts: when the API's list was requested and read.

Safe while workers of the version before run: they see none of it, and stop at their next start.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


MOMENT = {"sqlite": "TEXT", "postgresql": "TIMESTAMP WITH TIME ZONE"}
LONG = {"sqlite": "", "postgresql": "USING hash "}


def upgrade() -> None:
    """Add the columns and the indexes."""
    dialect = op.get_context().dialect.name
    op.execute(f"ALTER TABLE account ADD COLUMN list_asked_at {MOMENT[dialect]}")
    op.execute(f"ALTER TABLE account ADD COLUMN list_read_at {MOMENT[dialect]}")
    op.execute(
        "CREATE INDEX videos_look_ups ON videos (updated_at) "
        "WHERE state = 'pending' AND http_status = 500"
    )
    op.execute(f"CREATE INDEX videos_request_id ON videos {LONG[dialect]}(request_id)")


def downgrade() -> None:
    """Drop the columns and the indexes."""
    op.execute("DROP INDEX videos_request_id")
    op.execute("DROP INDEX videos_look_ups")
    op.execute("ALTER TABLE account DROP COLUMN list_read_at")
    op.execute("ALTER TABLE account DROP COLUMN list_asked_at")
