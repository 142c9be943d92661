"""Send one HTTP request on one connection, and know the moment at which its first byte leaves.

aiohttp resolves, connects, speaks TLS, keeps connections and parses answers; the request itself is
written here, in one piece. Repeats no request, follows no redirect, keeps no cookie, uses no proxy,
and knows no API. The parts of aiohttp used here are named in tests/api/test_aiohttp_contract.py.
"""

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from http import HTTPStatus
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

KEEP_ALIVE_SECONDS = 4.0
"""Shorter than a server's usual five: an idle connection that the server closes under a POST makes
a doubt."""


class WithheldError(Exception):
    """The last check before the first byte refused the request; nothing has left."""


@dataclass(slots=True)
class Exchange:
    """One request and its progress. ``may_send`` is called last, when the connection stands: a
    reason withholds the request (law 4). ``sent``: the first byte may have left. ``head`` and
    ``content``: the answer, once it has begun. ``body``: at most ``limit`` bytes of it, as read.
    """

    limit: int
    may_send: Callable[[], str | None] = lambda: None
    sent: bool = False
    head: RawResponseMessage | None = None
    content: StreamReader | None = None
    body: bytearray = field(default_factory=bytearray)


@dataclass(kw_only=True, eq=False)
class Transport:
    """The connections to one address; ``slots`` requests, and the list of jobs beside them."""

    url: str
    slots: int
    connect_timeout_seconds: float
    timeout_seconds: float
    agent: str

    def __post_init__(self) -> None:
        self._url = self.url.rstrip("/")
        patience = min(self.connect_timeout_seconds, self.timeout_seconds)
        self._patience = aiohttp.ClientTimeout(connect=patience, sock_connect=patience)
        self._connector = aiohttp.TCPConnector(
            limit=self.slots + 1, keepalive_timeout=KEEP_ALIVE_SECONDS, socket_factory=_socket
        )
        self._pollers: WeakKeyDictionary[ResponseHandler, select.poll] = WeakKeyDictionary()

    async def close(self) -> None:
        """Close the connections."""
        await self._connector.close()

    async def get(self, path: str, query: dict[str, str], exchange: Exchange) -> None:
        """GET ``path`` below the address. Raises as ``post``."""
        head = _head("GET", URL(f"{self._url}{path}").with_query(query), self.agent)
        await self._carry(head + b"\r\n", exchange)

    def post(self, path: str, body: bytes, exchange: Exchange) -> Coroutine[None, None, None]:
        """POST a JSON ``body`` to ``path`` below the address. Raises WithheldError, or the error of
        the network, the server or a time-out; ``exchange`` shows the progress.
        """
        head = _post_head(f"{self._url}{path}", self.agent)
        return self._carry(b"%s%d\r\n\r\n%s" % (head, len(body), body), exchange)

    async def _carry(self, request: bytes, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout_seconds
        connection = await self._connected()
        protocol = connection.protocol
        assert protocol is not None  # noqa: S101 - as just connected
        timer = loop.call_at(deadline, _too_late, protocol, exchange)
        try:
            _send(protocol, request, exchange)
            await _receive(protocol, exchange)
        except BaseException:
            _abort(connection)
            raise
        finally:
            timer.cancel()
        connection.release()

    async def _connected(self) -> Connection:
        """Return a connection that is new, or was silent while idle."""
        try:
            while True:
                connection = await self._connector.connect(self._place, [], self._patience)
                if not self._has_spoken(connection.protocol):
                    return connection
                connection.close()
        except TimeoutError:
            raise TimeoutError(f"no connection within {self._patience.connect:g} s") from None

    @cached_property
    def _place(self) -> aiohttp.ClientRequest:
        """Return the address in the form that aiohttp's connector takes."""
        url = URL(self._url)
        if url.scheme not in {"http", "https"}:
            raise aiohttp.InvalidURL(url)
        return aiohttp.ClientRequest(hdrs.METH_POST, url)

    def _has_spoken(self, protocol: ResponseHandler | None) -> bool:
        """Return True if an idle connection has received bytes or was closed, be it seen by aiohttp
        or still in the kernel. aiohttp would take such bytes for the answer to our next request.
        """
        # 1. A closed connection. 2. A new one. 3. A kept one.
        if protocol is None or protocol.transport is None:
            return True
        poller = self._pollers.get(protocol)
        if poller is None:
            self._pollers[protocol] = poller = select.poll()
            poller.register(protocol.transport.get_extra_info("socket"), select.POLLIN)
            return False
        return protocol.should_close or bool(poller.poll(0))


def _send(protocol: ResponseHandler, request: bytes, exchange: Exchange) -> None:
    """Check ``may_send``, then write the request. No await stands between the check and the first
    byte, so that other tasks cannot delay it.
    """
    reason = exchange.may_send()
    if reason is not None:
        raise WithheldError(reason)
    assert protocol.transport is not None  # noqa: S101 - as just connected
    protocol.set_response_params(read_until_eof=True)
    exchange.sent = True
    protocol.transport.write(request)


async def _receive(protocol: ResponseHandler, exchange: Exchange) -> None:
    """Read the answer; skip the heads before it (1xx)."""
    head, content = await protocol.read()
    while head.code in range(100, 200) and head.code != HTTPStatus.SWITCHING_PROTOCOLS:
        head, content = await protocol.read()
    exchange.head, exchange.content = head, content
    while len(exchange.body) < exchange.limit and not content.at_eof():
        exchange.body += await content.read(exchange.limit - len(exchange.body))


@lru_cache(maxsize=2)
def _post_head(url: str, agent: str) -> bytes:
    """Return a head without the length, which alone differs from request to request."""
    head = _head("POST", URL(url), agent)
    return head + b"Content-Type: application/json\r\nContent-Length: "


def _head(method: str, url: URL, agent: str) -> bytes:
    return (
        f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
        f"Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: {agent}\r\n"
    ).encode()


def _abort(connection: Connection) -> None:
    """Drop a connection and its unsent bytes. aiohttp's own close sends the bytes that asyncio
    still holds, and TLS keeps the socket open for up to 30 s.
    """
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()


def _too_late(protocol: ResponseHandler, exchange: Exchange) -> None:
    """Raise TimeoutError in the wait for the head or the body. One timer of the loop is enough;
    asyncio.timeout, which cancels the task, takes a tenth of an exchange's time.
    """
    protocol.set_exception(TimeoutError())
    if exchange.content is not None:
        exchange.content.set_exception(TimeoutError())


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket whose close drops its unsent bytes: held up by a dead network, they must not
    arrive after the attempt has ended.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return made
