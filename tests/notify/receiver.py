"""Receive notices on loopback, as a person's program or service does: well, badly, or never."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(eq=False)
class Receiver:
    """A server that answers ``status``, and if it is ``slow`` not before it is released."""

    status: int = 200
    slow: bool = False
    url: str = ""
    paths: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        """Keep a request, and answer it."""
        self.paths.append(f"{request.method} {request.path_qs}")
        self.bodies.append((await request.read()).decode())
        self.came.set()
        if self.slow:
            await self.released.wait()
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})

    @property
    def notices(self) -> list[dict[str, Any]]:
        """Return the documents that came."""
        return [json.loads(body) for body in self.bodies if body]


@asynccontextmanager
async def receiving(status: int = 200, *, slow: bool = False) -> AsyncIterator[Receiver]:
    """Yield a receiver that listens."""
    receiver = Receiver(status, slow)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None  # noqa: SLF001
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # noqa: SLF001
        receiver.url = f"http://127.0.0.1:{port}/hook/s3cr3t-path?token=s3cr3t-token"
        yield receiver
    finally:
        receiver.released.set()
        await runner.cleanup()


class Manager:
    """A service manager: its socket, real, and the datagrams that it has got."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.settimeout(0)

    def got(self) -> list[str]:
        """Return what has come since the last call."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages
