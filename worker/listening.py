"""Hears when somebody says that there is something new in a PostgreSQL queue. Asks it nothing.

The triggers of migrations/versions/0004_fleet.py say so, whoever has written.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

CHANNEL = "valossa_ingest"

NET_SECONDS = 1.0
"""After so long something may be new although nobody has said so."""


class Listener:
    """A connection that only listens, made when it is first asked."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._heard = 0
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def heard(self) -> int:
        """A number that changes with each word, and each second."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        return self._heard + int(asyncio.get_running_loop().time() / NET_SECONDS)

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        """Keep a connection; while there is none, the seconds alone are told."""
        while True:
            try:
                connection = await self._connect()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await asyncio.sleep(NET_SECONDS)
                continue
            try:
                await self._keep(connection)
            finally:
                connection.terminate()

    async def _keep(self, connection: asyncpg.Connection) -> None:
        """Listen until the connection is lost."""
        self._lost.clear()
        connection.add_termination_listener(lambda _: self._lost.set())
        try:
            await connection.add_listener(CHANNEL, self._hear)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return
        self._heard += 1  # whatever was said before
        await self._lost.wait()

    def _hear(self, *_: object) -> None:
        self._heard += 1
