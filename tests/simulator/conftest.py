"""Share a body, an HTTP client and a raw client among the tests of the simulator."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import aiohttp
import pytest

Body = dict[str, object]
MakeBody = Callable[..., Body]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def make_body() -> MakeBody:
    """Return a maker of new_job bodies: request id and key, then further fields."""

    def make(request_id: str = "r-1", key: str = "demo-key", **more: object) -> Body:
        media = {
            "video": {"url": f"https://videos.example/{request_id}.mp4"},
            "customer_media_info": {"id": request_id},
        }
        return {"api_key": key, "media": media, **more}

    return make


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """Return a client that keeps its connections."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def head() -> Callable[..., bytes]:
    """Return a maker of the head of a new_job request."""

    def make(length: int, **headers: str) -> bytes:
        fields = {"Host": "test", "Content-Type": "application/json", "Content-Length": length}
        lines = [f"{name}: {value}" for name, value in {**fields, **headers}.items()]
        return "\r\n".join(["POST /core/1.0/new_job HTTP/1.1", *lines, "", ""]).encode()

    return make


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[str], Awaitable[Connection]]]:
    """Return a way to open a bare connection to a base URL; all are closed in the end."""
    opened: list[asyncio.StreamWriter] = []

    async def open_to(url: str) -> Connection:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        opened.append(writer)
        return reader, writer

    yield open_to
    for writer in opened:
        writer.transport.abort()


@pytest.fixture
def raw(
    connect: Callable[[str], Awaitable[Connection]], head: Callable[..., bytes]
) -> Callable[..., Awaitable[bytes]]:
    """Return a way to send one new_job and to read every byte until the server closes."""

    async def exchange(url: str, body: Mapping[str, object], **headers: str) -> bytes:
        reader, writer = await connect(url)
        data = json.dumps(body).encode()
        writer.write(head(len(data), **headers) + data)
        return await reader.read()

    return exchange
