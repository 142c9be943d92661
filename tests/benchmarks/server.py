"""A server for yardsticks: it makes a job of every POST, as fast as Python can, and keeps a book.

``python tests/benchmarks/server.py [LATENCY_SECONDS]`` prints its port. ``GET /book`` gives when
the jobs were made, in seconds of its own clock, and begins a new book. The simulator knows the API
better, and is slower than what is measured here.
"""

import asyncio
import json
import sys
import time
from collections import deque
from functools import partial

LOOPBACK = "127.0.0.1"
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"

Book = list[float]


class Line(asyncio.Protocol):
    """One connection: whole requests in, answers out, in their order."""

    def __init__(self, book: Book, answer_later: "Later | None") -> None:
        self._book = book
        self._later = answer_later
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        data = self._rest + data if self._rest else data
        while (end := data.find(HEAD_END)) >= 0:
            whole = end + len(HEAD_END) + _length(data[:end])
            if len(data) < whole:
                break
            self._answer(data[: data.index(b" HTTP")])
            data = data[whole:]
        self._rest = data

    def _answer(self, asked: bytes) -> None:
        if asked == b"GET /book":
            told = json.dumps(self._book).encode()
            self._book.clear()
            self._write(_said(told))
            return
        if asked.startswith(b"GET"):  # a question about jobs, which this server does not keep
            self._write(_said(b"[]"))
            return
        self._book.append(time.monotonic())
        said = _said(b'{"job_id":"job-%d-%d"}' % (time.time_ns(), len(self._book)))
        if self._later is None:
            self._write(said)
        else:
            self._later.write(self, said)

    def _write(self, said: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(said)

    write = _write


class Later:
    """Answers that take their time: all the same time, so that a queue will do."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[tuple[float, Line, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: Line, said: bytes) -> None:
        """Write ``said`` on ``line`` when its time has come."""
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + self._seconds, line, said))
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._ripe)

    def _ripe(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, line, said = self._waiting.popleft()
            line.write(said)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._ripe)


def _length(head: bytes) -> int:
    place = head.lower().find(LENGTH)
    return int(head[place + len(LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0


def _said(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


async def serve(latency: float) -> None:
    """Serve until the standard input ends."""
    book: Book = []
    later = Later(latency) if latency else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Line, book, later), LOOPBACK, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
