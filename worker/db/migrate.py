"""Bring a database to the schema of this program, with alembic's revisions."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from worker.db.address import DatabaseProblem
from worker.db.database import Database

_PACKAGED = Path(__file__).parents[1] / "migrations"
_CHECKOUT = Path(__file__).parents[2] / "migrations"


async def upgrade(database: Database, revision: str = "head") -> None:
    """Bring ``database`` up to ``revision`` in one transaction; a missing file is made. Raises
    DatabaseProblem if the file cannot be written, or has an unknown revision.
    """
    try:
        await database.write(lambda c: command.upgrade(config_of(c), revision), "migrate")
    except CommandError as error:
        raise DatabaseProblem(f"database {database.address}: {error}: restore a backup") from error


def config_of(connection: Connection) -> Config:
    """Return alembic's settings: a wheel has the revisions in its package, a checkout beside it."""
    config = Config()
    folder = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
