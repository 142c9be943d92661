"""Hold the limits of the server on real connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from worker.web.server import MOST_CONNECTIONS, serving

WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BROKEN = {
    "no name": b"GET / HTTP/1.1\r\n\r\n",
    "a long path": b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header of two lines": WHOLE[:-2] + b"Authorization Bearer s3cr3t-token\r\n\r\n",
    "a broken chunk": b"POST" + WHOLE[3:-2] + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n",
}


def hello() -> web.Application:
    """Return an application that greets."""

    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def read(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def fail(_: web.Request) -> web.Response:
        raise NotImplementedError

    app = web.Application()
    app.router.add_get("/", greet)
    app.router.add_post("/", read)
    app.router.add_get("/fault", fail)
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


async def test_the_seventeenth_connection_takes_the_place_of_an_idle_one(
    stack: AsyncExitStack,
) -> None:
    """Sixteen connections may be open. One more closes the one that is idle for longest."""
    port = await stack.enter_async_context(serving(hello(), "127.0.0.1", 0))
    readers = [await connected(stack, port, WHOLE) for _ in range(MOST_CONNECTIONS)]
    for reader in readers:
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 OK\r\n")

    for oldest in readers[:2]:
        reader = await connected(stack, port, WHOLE)
        assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
        assert b"" == await oldest.read()
    assert not any(reader.at_eof() for reader in readers[2:])


async def test_the_seventeenth_connection_is_closed_while_all_are_busy(
    stack: AsyncExitStack,
) -> None:
    """Of sixteen connections whose answers are under way none is closed for one more."""
    app, asked, answered = web.Application(), asyncio.Semaphore(0), asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        asked.release()
        await answered.wait()
        return web.Response(text="hello")

    app.router.add_get("/", wait)
    port = await stack.enter_async_context(serving(app, "127.0.0.1", 0))
    readers = [await connected(stack, port, WHOLE) for _ in range(MOST_CONNECTIONS)]
    for _ in readers:
        await asked.acquire()

    assert b"" == await (await connected(stack, port, b"")).read()

    answered.set()
    assert {b"HTTP/1.1 200 OK\r\n"} == {await reader.readline() for reader in readers}


@pytest.mark.parametrize("before", [b"", WHOLE])
async def test_half_a_head_is_not_waited_for(stack: AsyncExitStack, before: bytes) -> None:
    """A connection that sends half a request is closed, also after a whole one."""
    port = await stack.enter_async_context(serving(hello(), "127.0.0.1", 0, head_seconds=0.05))
    reader = await connected(stack, port, before + b"GET / HTTP/1.1\r\nHo")

    assert bool(before) == (b"hello" in await reader.read())


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
async def test_a_broken_request_is_no_line_of_the_log(
    stack: AsyncExitStack, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    """A request that cannot be read is refused, and nothing of it is logged."""
    port = await stack.enter_async_context(serving(hello(), "127.0.0.1", 0))

    assert b" 400 " in await (await connected(stack, port, sent)).readline()

    assert [] == caplog.records


async def test_a_cut_request_is_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A request whose sender goes away before its end is left, and nothing of it is logged."""
    left: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def read(request: web.Request) -> web.Response:
        try:
            return web.Response(body=await request.read())
        except ConnectionError as error:
            left.set_result(error)
            raise

    app = web.Application()
    app.router.add_post("/", read)
    async with serving(app, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST" + WHOLE[3:-2] + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert b"HTTP/1.1 100 Continue\r\n" == await reader.readline()
        writer.close()
        await left

    assert [] == caplog.records


async def test_a_fault_of_ours_is_logged(
    stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that fails is logged with its error."""
    port = await stack.enter_async_context(serving(hello(), "127.0.0.1", 0))

    sent = WHOLE.replace(b"/ ", b"/fault ", 1)
    assert b" 500 " in await (await connected(stack, port, sent)).readline()

    (record,) = caplog.records
    assert record.exc_info is not None
    assert NotImplementedError is record.exc_info[0]


async def test_a_body_is_read_as_it_came(stack: AsyncExitStack) -> None:
    """A body that is said to be compressed is neither unpacked nor refused."""
    port = await stack.enter_async_context(serving(hello(), "127.0.0.1", 0))
    for encoding in (b"gzip", b"br", b"zstd"):
        head = WHOLE[:-2] + b"Content-Length: 5\r\nContent-Encoding: " + encoding + b"\r\n\r\n"
        reader = await connected(stack, port, b"POST" + head[3:] + b"plain")
        assert b" 200 " in await reader.readline()
        assert (await reader.readuntil(b"plain")).endswith(b"\r\n\r\nplain")
