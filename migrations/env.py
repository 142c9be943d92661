"""Run alembic's revisions on the connection that worker/db/migrate.py hands over.

That connection is inside the program's own write transaction, so an upgrade is all or nothing.
"""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection)
context.run_migrations()
