"""Index what a first claim leaves as it is: a random identifier, which it replaces by the media id,
cost a page somewhere in the file for each.

Safe while workers of the version before run: they see none of it, and stop at their next start.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

USING = {"sqlite": "", "postgresql": "USING hash "}


def upgrade() -> None:
    """Index the identifier that a first claim writes, and the few that are another one since."""
    using = USING[op.get_context().dialect.name]
    op.execute("DROP INDEX videos_request_id")
    op.execute(
        f"CREATE INDEX videos_identifier ON videos {using}"
        "(coalesce(nullif(media_id, ''), request_id))"
    )
    op.execute(
        f"CREATE INDEX videos_renamed ON videos {using}(request_id) "
        "WHERE claims > 0 AND media_id != request_id"
    )


def downgrade() -> None:
    """Index every request id again."""
    using = USING[op.get_context().dialect.name]
    op.execute("DROP INDEX videos_renamed")
    op.execute("DROP INDEX videos_identifier")
    op.execute(f"CREATE INDEX videos_request_id ON videos {using}(request_id)")
