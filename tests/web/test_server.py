"""Hold the limits of the server on real connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from worker.web.server import MOST_CONNECTIONS, serving

WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def hello() -> web.Application:
    """Return an application that greets."""

    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", greet)
    return app


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Yield what is closed at the end."""
    async with AsyncExitStack() as opened:
        yield opened


async def connected(stack: AsyncExitStack, port: int, sent: bytes) -> asyncio.StreamReader:
    """Return what comes on a new connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.callback(writer.close)
    writer.write(sent)
    return reader


async def test_the_seventeenth_connection_is_closed(stack: AsyncExitStack) -> None:
    """Sixteen connections may be open. One more is closed without an answer."""
    port = await stack.enter_async_context(serving(hello(), "127.0.0.1", 0))
    readers = [await connected(stack, port, WHOLE) for _ in range(MOST_CONNECTIONS)]
    assert {b"HTTP/1.1 200 OK\r\n"} == {await reader.readline() for reader in readers}

    assert b"" == await (await connected(stack, port, b"")).read()


@pytest.mark.parametrize("before", [b"", WHOLE])
async def test_half_a_head_is_not_waited_for(stack: AsyncExitStack, before: bytes) -> None:
    """A connection that sends half a request is closed, also after a whole one."""
    port = await stack.enter_async_context(serving(hello(), "127.0.0.1", 0, head_seconds=0.05))
    reader = await connected(stack, port, before + b"GET / HTTP/1.1\r\nHo")

    assert bool(before) == (b"hello" in await reader.read())
