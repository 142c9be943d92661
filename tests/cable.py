"""The network between workers and a PostgreSQL server, in a test's hands: it passes everything on,
holds everything back, or breaks.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.wire import LOOPBACK


class Cable:
    """Listens while it is entered, and passes on to a server's socket. ``watch`` sees what clients
    say before it is passed on.
    """

    def __init__(self, socket: Path, watch: Callable[[bytes], None] = lambda _: None) -> None:
        self._socket = socket
        self._watch = watch
        self._passes = asyncio.Event()
        self._passes.set()
        self._talks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.port = 0

    def url(self, database: str) -> str:
        """The address of a database at the other end."""
        return f"postgresql://postgres@{LOOPBACK}:{self.port}/{database}"

    def hold(self) -> None:
        """Pass nothing on; who connects is not heard."""
        self._passes.clear()

    def go_on(self) -> None:
        """Pass on what was held back, and what comes."""
        self._passes.set()

    def cut(self) -> None:
        """Break every connection, for both ends at once."""
        for end in self._ends:
            end.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._meet, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for talk in tuple(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            await self._passes.wait()
            their_reader, their_writer = await asyncio.open_unix_connection(self._socket)
        except OSError:  # the server is not there
            writer.transport.abort()
        else:
            self._ends.add(their_writer)
            ways = (
                self._pass(reader, their_writer, self._watch),
                self._pass(their_reader, writer, lambda _: None),
            )
            await asyncio.gather(*ways)
            self._ends.discard(their_writer)
        finally:
            self._ends.discard(writer)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        watch: Callable[[bytes], None],
    ) -> None:
        """One way of a connection, to its end."""
        try:
            while data := await reader.read(65_536):
                watch(data)
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        await self._passes.wait()
        writer.close()
