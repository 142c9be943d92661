"""A network that is dead for as long as a test wants; no root is needed for it."""

import asyncio
import socket
from urllib.parse import urlsplit

from tests.processes.programs import within
from tests.wire import LOOPBACK


class Outage:
    """A network that takes connections in and swallows what is sent on them, until it is back:
    then it delivers what it still can.
    """

    def __init__(self, listening: socket.socket, api: str) -> None:
        listening.setblocking(False)  # noqa: FBT003 - its only parameter
        self._listening = listening
        self._api = urlsplit(api)
        self.url = f"http://{LOOPBACK}:{listening.getsockname()[1]}{self._api.path}"

    async def take(self, count: int) -> list[socket.socket]:
        """Let so many connections be made."""
        loop = asyncio.get_running_loop()
        return [(await within(loop.sock_accept(self._listening)))[0] for _ in range(count)]

    async def deliver(self, taken: socket.socket) -> None:
        """Pass all that comes now on to the API, until it has answered or the input ends."""
        reader, writer = await asyncio.open_connection(self._api.hostname, self._api.port)
        loop = asyncio.get_running_loop()
        with taken:
            try:
                while data := await within(loop.sock_recv(taken, 65_536)):
                    writer.write(data)
            except ConnectionError:
                pass
        writer.write_eof()
        await within(reader.read())
        writer.close()
