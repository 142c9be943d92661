"""A server for the yardsticks of uploads: it takes every byte, keeps none, and keeps a book.

``python tests/benchmarks/sink.py`` prints its port. ``GET /book`` gives, in seconds of its own
clock, when jobs were made and uploads begun and ended, and begins a new book.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable

LOOPBACK = "127.0.0.1"
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
CHUNK_BYTES = 4 << 20

Book = dict[str, list[float]]


class Line(asyncio.BufferedProtocol):
    """One connection: whole requests in, answers out, in their order."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._buffer = bytearray(1 << 20)
        self._head = b""
        self._left = 0
        self._path = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, _: int) -> bytearray:
        """Return the room for what comes."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """Count the bytes of a body, and answer at its end."""
        taken = min(size, self._left)
        self._left -= taken
        if taken and not self._left:
            self._answer()
        if taken == size:
            return
        self._head += self._buffer[taken:size]
        while (end := self._head.find(HEAD_END)) >= 0:
            head, rest = self._head[:end], self._head[end + len(HEAD_END) :]
            self._path = head.split(b" ", 2)[1].rpartition(b"/")[2]
            length = _length(head)
            self._left, self._head = max(0, length - len(rest)), rest[length:]
            if not self._left:
                self._answer()

    def _answer(self) -> None:
        now = time.monotonic()
        said: dict[bytes, Callable[[], object]] = {
            b"book": lambda: {name: list(self._book[name]) for name in self._book},
            b"new_job": lambda: {"job_id": f"job-{time.time_ns()}-{len(self._book['jobs'])}"},
            b"initialize_file_upload": lambda: {
                "upload_id": "u",
                "file_chunk_size_bytes": CHUNK_BYTES,
            },
            b"finalize_file_upload": lambda: {
                "uploaded_file_url": f"valossaupload://{time.time_ns()}"
            },
        }
        body = json.dumps(said.get(self._path, dict)()).encode()
        kept = {
            b"new_job": "jobs",
            b"initialize_file_upload": "begun",
            b"send_file_chunk": "chunks",
            b"finalize_file_upload": "ended",
        }
        if self._path == b"book":
            for moments in self._book.values():
                moments.clear()
        elif self._path in kept:
            self._book[kept[self._path]].append(now)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


def _length(head: bytes) -> int:
    place = head.lower().find(LENGTH)
    return int(head[place + len(LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0


async def serve() -> None:
    """Serve until the standard input ends."""
    book: Book = {"jobs": [], "begun": [], "chunks": [], "ended": []}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Line(book), LOOPBACK, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
