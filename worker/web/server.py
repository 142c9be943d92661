"""Serve an application at an address, to few connections. One more takes the place of an idle one.
Knows no page.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

MOST_CONNECTIONS = 16

HEAD_SECONDS = 10.0
"""For the head of a request, and between two requests of a connection."""

LAST_ANSWERS_SECONDS = 1.0
"""For the answers under way when the server is closed."""


_Timers = dict[web.RequestHandler, asyncio.TimerHandle]

_LOG = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Return False for a request that is cut, or broken: that error quotes it, with its token."""
    theirs = (HttpProcessingError, ConnectionError)
    return not isinstance((record.exc_info or (None, None))[1], theirs)


_LOG.addFilter(_is_ours)


class _Closing(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, head_seconds: float = HEAD_SECONDS
) -> AsyncIterator[int]:
    """Serve until the end of the block, and yield the port. Raises OSError."""
    loop = asyncio.get_running_loop()
    fresh: _Timers = {}
    idle: _Timers = {}  # answered; the longest first

    def wait(connection: web.RequestHandler, timers: _Timers) -> None:
        timers[connection] = loop.call_later(head_seconds, end, connection, timers)

    def end(connection: web.RequestHandler, timers: _Timers) -> None:
        timers.pop(connection).cancel()
        connection.force_close()

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        for timers in (fresh, idle):
            if timer := timers.pop(request.protocol, None):
                timer.cancel()
        try:
            return await handler(request)
        finally:
            wait(request.protocol, idle)

    app.middlewares.insert(0, answer)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_LOG,
        auto_decompress=False,  # no form is compressed, and a call may say that it is
        shutdown_timeout=LAST_ANSWERS_SECONDS,
    )
    await runner.setup()

    def connect() -> asyncio.BaseProtocol:
        if (server := runner.server) is None:
            return _Closing()
        if len(open_now := server.connections) >= MOST_CONNECTIONS:
            if not (spare := [each for each in idle if each in open_now]):
                return _Closing()
            end(spare[0], idle)
        wait(connection := server(), fresh)
        return connection

    try:
        listening = await loop.create_server(connect, host, port)
        try:
            yield listening.sockets[0].getsockname()[1]
        finally:
            listening.close()
    finally:
        await runner.cleanup()
