"""Listen for the notifications of new work in a PostgreSQL queue. Queries nothing.

The triggers of migrations/versions/0004_fleet.py send them for every program that writes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from worker.db.address import DatabaseProblem

CHANNEL = "valossa_ingest"

AGAIN_SECONDS = 1.0
"""Between tries to connect."""


class Listener:
    """A connection that only listens, opened at the first call of ``heard``. A notification may be
    lost, so every ``net_seconds`` counts as one.
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
        """Return a number that changes with each notification, and each ``net_seconds``."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        return self._heard + int(asyncio.get_running_loop().time() / self._net_seconds)

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        """Keep a connection open; without one, ``heard`` changes by time alone."""
        while True:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseProblem, OSError):
                connection = await self._connect()
                try:
                    await self._keep(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _keep(self, connection: asyncpg.Connection) -> None:
        """Listen until the connection is lost. Raises asyncpg's error if a standby refuses."""
        self._lost.clear()
        connection.add_termination_listener(lambda _: self._lost.set())
        await connection.add_listener(CHANNEL, self._receive)
        self._heard += 1  # for notifications before this moment
        await self._lost.wait()

    def _receive(self, *_: object) -> None:
        self._heard += 1
