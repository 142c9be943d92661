"""A way to a PostgreSQL server that a test can close: a TCP port that forwards to its socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.engine import make_url


@dataclass
class Passage:
    """Forwards every connection to the server of ``url``, and stands still while ``open`` is not
    set; lets nobody in who comes while ``closed``, which sets ``refused``. Cuts a connection at the
    first message to the server that holds ``word``, which is still delivered where ``delivers``;
    the answer is not; where it ``stops``, it stands still instead. ``words`` counts how often.
    While it stands still, no end of a connection is heard of at its other end either.
    """

    server: str
    word: bytes | None = None
    delivers: bool = True
    stops: bool = False
    words: int = 0
    closed: bool = False
    open: asyncio.Event = field(default_factory=asyncio.Event)
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        """Break every connection off."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Not a coroutine: asyncio keeps the tasks that it starts itself to itself."""
        talk = asyncio.get_running_loop().create_task(self.carry(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def end(self) -> None:
        """Leave no connection behind."""
        self.open.set()
        self.cut()
        await asyncio.gather(*self._talks)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        if self.closed:
            self.refused.set()
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_unix_connection(unix_socket(self.server))
        except OSError:  # it is stopped
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        ways = [
            asyncio.create_task(self._forward(reader, back, to_server=True)),
            asyncio.create_task(self._forward(there, writer, to_server=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, back):
            self._writers.discard(end)
            end.transport.abort()

    async def _forward(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                found = to_server and self.word is not None and self.word in data
                if found:
                    self.word = None
                    self.words += 1
                    if self.stops:
                        self.open.clear()
                await self.open.wait()
                if not found or self.delivers:
                    target.write(data)
                    await target.drain()
                if found and not self.stops:
                    return
        await self.open.wait()


def unix_socket(server: str) -> str:
    """Return the path of a server's socket."""
    url = make_url(server)
    return f"{url.query['host']}/.s.PGSQL.{url.port or 5432}"


@asynccontextmanager
async def passage(server: str) -> AsyncIterator[Passage]:
    """Yield a way to the database of ``server``; its own address is ``url``."""
    way = Passage(server)
    way.open.set()
    listening = await asyncio.start_server(way.meet, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    database = make_url(server).database
    way.url = f"postgresql://postgres@127.0.0.1:{port}/{database}?sslmode=disable"
    try:
        yield way
    finally:
        listening.close()
        await way.end()
