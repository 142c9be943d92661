"""Relay connections to a socket of this machine, each piece of them late, to play a far server.

``python tests/benchmarks/far.py SOCKET SECONDS`` prints its port and relays until its standard
input ends.
"""

import asyncio
import sys


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on what comes, each piece so many seconds later, whatever comes in between."""
    loop = asyncio.get_running_loop()
    while piece := await reader.read(65_536):
        loop.call_later(seconds, writer.write, piece)
    loop.call_later(seconds, writer.close)


async def _relay(path: str, seconds: float) -> None:
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(path)
        await asyncio.gather(_late(reader, back, seconds), _late(there, writer, seconds))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as relay:
        print(relay.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_relay(sys.argv[1], float(sys.argv[2])))
