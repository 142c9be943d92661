"""Hears when somebody says that there is something new in a PostgreSQL queue. Asks it nothing.

The triggers of migrations/versions/0004_fleet.py say so, whoever has written.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

CHANNEL = "valossa_ingest"

AGAIN_SECONDS = 1.0
"""Between tries to connect."""


class Listener:
    """A connection that only listens, made when it is first asked. After ``net_seconds`` there may
    be something new although nobody has said so: a word may be lost.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], net_seconds: float
    ) -> None:
        self._connect = connect
        self._net_seconds = net_seconds
        self._heard = 0
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def heard(self) -> int:
        """A number that changes with each word, and each ``net_seconds``."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        return self._heard + int(asyncio.get_running_loop().time() / self._net_seconds)

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        """Keep a connection; while there is none, the time alone tells."""
        while True:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                connection = await self._connect()
                try:
                    await self._keep(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _keep(self, connection: asyncpg.Connection) -> None:
        """Listen until the connection is lost. Raises what refuses that, as a standby does."""
        self._lost.clear()
        connection.add_termination_listener(lambda _: self._lost.set())
        await connection.add_listener(CHANNEL, self._receive)
        self._heard += 1  # whatever was said before
        await self._lost.wait()

    def _receive(self, *_: object) -> None:
        self._heard += 1
