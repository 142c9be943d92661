"""Serve a script on a bare socket, for answers that the simulator cannot give."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
LOOPBACK = "127.0.0.1"

CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgSmNJv9B4bHfUCJeY
MTa61TnD0y082i/diiNOjvaJR2KhRANCAAQ9QUpp/wrkH+rW6OapUMuzUYRe4G7A
hjjzPuwja4hLtkEf2wuYlGnn4LFdg52m70Ki+mDmPUz+lcmHlifj55La
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBYTCCAQegAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD1BSmn/CuQf6tbo
5qlQy7NRhF7gbsCGOPM+7CNriEu2QR/bC5iUaefgsV2DnabvQqL6YOY9TP6VyYeW
J+PnktqjSDBGMBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAPBgNVHRMBAf8EBTADAQH/
MB0GA1UdDgQWBBTeVchG85w7uE6M4pNFHlMDlns9BzAKBggqhkjOPQQDAgNIADBF
AiB84YqXErRNYt4wf35cuHwKoItVTKuL0r2vvDTxy++lIQIhAM0fXbBsShJg+2c+
Axym4/tob/KXga5d1lbu9S2xeXlj
-----END CERTIFICATE-----
"""
"""Of ``localhost``, signed by itself, with a key that is worth nothing."""


NEVER_SECONDS = 3_600.0
"""A time-out that ends only where the test lets it: no busy machine takes so long."""


class MovableLoop(asyncio.SelectorEventLoop):
    """An event loop whose time a test moves on."""

    moved = 0.0

    def time(self) -> float:
        """Return seconds of the monotonic clock, with those that a test let pass."""
        return super().time() + self.moved


async def turned(turns: int) -> None:
    """Let the event loop turn that often, for what has come to be read."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def time_out(seconds: float = NEVER_SECONDS) -> None:
    """Let the client read all that has come, then let ``seconds`` pass at once."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MovableLoop)
    await turned(20)
    loop.moved += seconds


class Line:
    """One connection as the server sees it. ``received``: every byte that came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received = b""

    async def request(self) -> bytes:
        """Wait for one whole request, head and body, and return it."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        whole = head + await self._reader.readexactly(int(length[1]) if length else 0)
        self.received += whole
        return whole

    async def rest(self) -> bytes:
        """Wait for the client's end and return every byte received."""
        try:
            while data := await self._reader.read(65_536):
                self.received += data
        except ConnectionError:
            pass
        return self.received

    async def some(self) -> bytes:
        """Return what comes next; nothing at the client's end."""
        data = await self._reader.read(65_536)
        self.received += data
        return data

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    def deaf(self) -> None:
        """Read nothing more from the network, until ``hear``."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def hear(self) -> None:
        """Read again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    def end(self) -> None:
        """Close in good order."""
        self._writer.close()

    def reset(self) -> None:
        """Close with a reset, after what was said has left."""
        wire = self._writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._writer.transport.abort()


Script = Callable[[Line], Awaitable[None]]


class Wire:
    """Listens on a free port and runs ``script`` on every connection, which it then ends.

    A script that fails is heard of at the exit; one that the client leaves alone is no failure.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._changed = asyncio.Event()
        self._talks: set[asyncio.Task[None]] = set()
        self._failures: list[Exception] = []
        self.lines: list[Line] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Return the address of the API on this server."""
        scheme, host = ("https", "localhost") if self._tls else ("http", LOOPBACK)
        return f"{scheme}://{host}:{self.port}/core/1.0"

    async def wait_for_lines(self, count: int) -> None:
        """Return as soon as that many connections have come."""
        while len(self.lines) < count:
            await self._changed.wait()

    async def served(self) -> None:
        """Return as soon as every script that began has ended."""
        if self._talks:
            await asyncio.wait(tuple(self._talks))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._meet, LOOPBACK, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for talk in tuple(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._failures:
            raise ExceptionGroup("a script failed", self._failures)

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Start the script's task; asyncio hides the tasks of coroutines that it starts itself."""
        line = Line(reader, writer)
        talk = asyncio.get_running_loop().create_task(self._talk(line, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        self.lines.append(line)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _talk(self, line: Line, writer: asyncio.StreamWriter) -> None:
        try:
            await self._script(line)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as failure:  # noqa: BLE001 - told at the exit
            self._failures.append(failure)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        writer.close()


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return a response with a true Content-Length, unless ``headers`` names another."""
    fields = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def job(job_id: str) -> bytes:
    """Return the body of a success."""
    return b'{"job_id": "%s"}' % job_id.encode()


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return the server's TLS context and the file that a client must trust."""
    path = folder / "localhost.pem"
    path.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, path


@contextmanager
def free_port() -> Iterator[int]:
    """Yield a port on which no program listens."""
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        yield held.getsockname()[1]


@contextmanager
def full_backlog() -> Iterator[int]:
    """Yield a port whose queue of new connections is full: a connect to it never ends."""
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen(0)
        queued = [socket.socket() for _ in range(4)]
        for each in queued:
            each.settimeout(0)
            each.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for each in queued:
            each.close()


@contextmanager
def narrow() -> Iterator[socket.socket]:
    """Yield a listening socket that receives next to nothing before it is read."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind((LOOPBACK, 0))
        listening.listen()
        yield listening


def read_all(listening: socket.socket) -> tuple[bytes, bool]:
    """Return the bytes of the next client, and True if it ended in good order."""
    accepted, _ = listening.accept()
    received = bytearray()
    with accepted:
        accepted.settimeout(20)
        try:
            while data := accepted.recv(65_536):
                received += data
        except ConnectionError:
            return bytes(received), False
    return bytes(received), True
