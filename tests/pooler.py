"""A pooler before a PostgreSQL server, as pgbouncer is one: it gives sessions of its own.

In ``transaction`` mode a client has a session of the server until its transaction ends; otherwise
until it goes away. Which one it gets next is the longest unused one, or the last one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.engine import make_url

from tests.passage import unix_socket

READY = b"Z"
IDLE = b"I"
KEY = b"K\0\0\0\x0c\xff\xff\xff\xff\0\0\0\0"
"""The number of a session that no server gives."""


@dataclass
class Session:
    """A session of the server, and what it said of itself when it began."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes = b""

    async def message(self) -> bytes:
        """Return the next message of the server."""
        head = await self.reader.readexactly(5)
        return head + await self.reader.readexactly(int.from_bytes(head[1:], "big") - 4)


@dataclass
class Pooler:
    """Gives its clients the sessions of the server at ``server``."""

    server: str
    by_transaction: bool
    oldest_first: bool
    url: str = ""
    idle: list[Session] = field(default_factory=list)
    all: list[asyncio.StreamWriter] = field(default_factory=list)
    talks: set[asyncio.Task[None]] = field(default_factory=set)

    def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Not a coroutine: asyncio keeps the tasks that it starts itself to itself."""
        self.all.append(writer)
        talk = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self.talks.add(talk)
        talk.add_done_callback(self.talks.discard)

    async def end(self) -> None:
        """Leave no connection behind."""
        for writer in self.all:
            writer.transport.abort()
        await asyncio.gather(*self.talks)

    async def _session(self, startup: bytes) -> Session:
        if self.idle:
            return self.idle.pop(0 if self.oldest_first else -1)
        session = Session(*await asyncio.open_unix_connection(unix_socket(self.server)))
        self.all.append(session.writer)
        session.writer.write(startup)
        while not (message := await session.message()).startswith(READY):
            session.greeting += KEY if message.startswith(b"K") else message
        session.greeting += message
        return session

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            size = await reader.readexactly(4)
            startup = size + await reader.readexactly(int.from_bytes(size, "big") - 4)
            first = await self._session(startup)
            writer.write(first.greeting)
            self.idle.append(first)
            while data := await reader.read(65536):
                session = await self._session(startup)
                session.writer.write(data)
                asking = asyncio.create_task(self._ask(reader, session))
                await self._answer(session, writer)
                asking.cancel()
                await asyncio.wait({asking})
                self.idle.append(session)
        writer.transport.abort()

    @staticmethod
    async def _ask(reader: asyncio.StreamReader, session: Session) -> None:
        """Carry what the client says to its session."""
        while data := await reader.read(65536):
            session.writer.write(data)
        session.writer.transport.abort()

    async def _answer(self, session: Session, writer: asyncio.StreamWriter) -> None:
        """Carry answers to the client, by transaction to the end of this one."""
        message = b""
        while not (self.by_transaction and message.startswith(READY) and message.endswith(IDLE)):
            message = await session.message()
            writer.write(message)


@asynccontextmanager
async def pooler(
    server: str, *, by_transaction: bool, oldest_first: bool = False
) -> AsyncIterator[Pooler]:
    """Yield a pooler before the database of ``server``; its own address is ``url``."""
    pool = Pooler(server, by_transaction, oldest_first)
    listening = await asyncio.start_server(pool.meet, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    pool.url = f"postgresql://postgres@127.0.0.1:{port}/{make_url(server).database}?sslmode=disable"
    try:
        yield pool
    finally:
        listening.close()
        await pool.end()
