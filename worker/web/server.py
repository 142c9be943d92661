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


class _Waiting:
    """The connections that wait for a request, each for so many seconds at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._fresh: _Timers = {}
        self._idle: _Timers = {}  # answered; the longest first

    def admit(self, server: web.Server) -> asyncio.BaseProtocol:
        """Return a new connection. Where there are many, the one that is idle for longest makes
        room; without one, the new one is closed.
        """
        if len(open_now := server.connections) >= MOST_CONNECTIONS:
            if not (spare := [each for each in self._idle if each in open_now]):
                return _Closing()
            self._end(spare[0], self._idle)
        self._wait(connection := server(), self._fresh)
        return connection

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request; its connection waits for the next one afterwards."""
        for timers in (self._fresh, self._idle):
            if timer := timers.pop(request.protocol, None):
                timer.cancel()
        try:
            return await handler(request)
        finally:
            self._wait(request.protocol, self._idle)

    def _wait(self, connection: web.RequestHandler, timers: _Timers) -> None:
        later = asyncio.get_running_loop().call_later
        timers[connection] = later(self._seconds, self._end, connection, timers)

    def _end(self, connection: web.RequestHandler, timers: _Timers) -> None:
        timers.pop(connection).cancel()
        connection.force_close()


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, head_seconds: float = HEAD_SECONDS
) -> AsyncIterator[int]:
    """Serve until the end of the block, and yield the port. Raises OSError."""
    waiting = _Waiting(head_seconds)
    app.middlewares.insert(0, waiting.answer)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_LOG,
        auto_decompress=False,  # no form is compressed, and a call may say that it is
        shutdown_timeout=LAST_ANSWERS_SECONDS,
    )
    await runner.setup()

    def connect() -> asyncio.BaseProtocol:
        return waiting.admit(runner.server) if runner.server else _Closing()

    try:
        listening = await asyncio.get_running_loop().create_server(connect, host, port)
        try:
            yield listening.sockets[0].getsockname()[1]
        finally:
            listening.close()
    finally:
        await runner.cleanup()
