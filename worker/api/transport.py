"""Send one HTTP request on one connection, and know the moment at which its first byte leaves.

aiohttp resolves, connects, speaks TLS, keeps connections and parses answers; the request itself is
written here, in one piece. Repeats no request, follows no redirect, keeps no cookie, uses a proxy
by CONNECT alone, and knows no API. The parts of aiohttp used here are named in
tests/api/test_aiohttp_contract.py.
"""

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from http import HTTPStatus
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

HEAD_LIMIT = 64 * 1024
"""Bytes of a head that are read; heads, chunks and trailers that take more than a body are cut."""

KEEP_ALIVE_SECONDS = 4.0
"""Shorter than a server's usual five: an idle connection that the server closes under a POST makes
a doubt."""

_ORGANIZATION_OR_NAME = re.compile(rb"\x06\x03\x55\x04[\x03\x0a][\x0c\x13\x14\x16](.)", re.DOTALL)
"""In a certificate (DER) the length of the first of them, which is the issuer's, in a byte."""


class UntrustedError(OSError):
    """The certificate of the server is not trusted."""


class WithheldError(Exception):
    """The last check before the first byte refused the request; nothing has left."""


class BoundedProtocol(ResponseHandler):
    """A connection that takes ``allowed`` bytes and is then dropped, whatever they are."""

    allowed = HEAD_LIMIT

    def data_received(self, data: bytes) -> None:
        """Hand on what is allowed: a parser would read heads, chunks and trailers without end."""
        super().data_received(data[: max(0, self.allowed)])
        self.allowed -= len(data)
        if self.allowed < 0 and self.transport is not None:
            self.transport.abort()


@dataclass(slots=True)
class Exchange:
    """One request and its progress. ``may_send`` is called last, when the connection stands: a
    reason withholds the request (law 4). ``sent``: the first byte may have left. ``head`` and
    ``content``: the answer, once it has begun. ``body``: at most ``limit`` bytes of it, as read; or
    ``take`` is called with each part.
    """

    limit: int
    may_send: Callable[[], str | None] = lambda: None
    sent: bool = False
    head: RawResponseMessage | None = None
    content: StreamReader | None = None
    body: bytearray = field(default_factory=bytearray)
    take: Callable[[bytes], None] | None = None


@dataclass(kw_only=True, eq=False)
class Transport:
    """The connections to one address; ``slots`` requests, and two questions beside them."""

    url: str
    slots: int
    connect_timeout_seconds: float
    timeout_seconds: float
    agent: str
    proxy: str | None = None

    def __post_init__(self) -> None:
        self._url = self.url.rstrip("/")
        patience = min(self.connect_timeout_seconds, self.timeout_seconds)
        self._patience = aiohttp.ClientTimeout(connect=patience, sock_connect=patience)
        self._connector = aiohttp.TCPConnector(
            limit=self.slots + 2, keepalive_timeout=KEEP_ALIVE_SECONDS, socket_factory=_socket
        )
        make = partial(BoundedProtocol, loop=asyncio.get_running_loop())
        # aiohttp has no other place for it.
        self._connector._factory = make  # type: ignore[assignment]  # noqa: SLF001
        self._pollers: WeakKeyDictionary[ResponseHandler, select.poll] = WeakKeyDictionary()
        self._open: dict[BoundedProtocol, tuple[float, Exchange]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._timer is not None:
            self._timer.cancel()
        await self._connector.close()

    def session(self, connector: aiohttp.TCPConnector | None = None) -> aiohttp.ClientSession:
        """Return a client of bodies of any size: its time-out is of the wait for more bytes."""
        patience = self._patience.connect
        return aiohttp.ClientSession(
            f"{self._url}/",
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={hdrs.USER_AGENT: self.agent, hdrs.ACCEPT_ENCODING: "identity"},
            proxy=self.proxy if self._url.startswith("https:") else None,
            timeout=aiohttp.ClientTimeout(
                connect=patience, sock_connect=patience, sock_read=self.timeout_seconds
            ),
        )

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
        deadline = asyncio.get_running_loop().time() + self.timeout_seconds
        connection = await self._connected()
        protocol = connection.protocol
        assert isinstance(protocol, BoundedProtocol)  # noqa: S101 - as just connected
        self._open[protocol] = deadline, exchange
        self._watch(deadline)
        try:
            _send(protocol, request, exchange)
            await _receive(protocol, exchange)
        except BaseException:
            _abort(connection)
            raise
        finally:
            del self._open[protocol]
            protocol.allowed = 0
        connection.release()

    def _watch(self, deadline: float) -> None:
        """Have exchanges that last too long ended. One timer watches over all of them, since one
        for each, made and taken back, takes a tenth of an exchange's time.
        """
        if self._timer is None or deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(deadline, self._end_late_ones)

    def _end_late_ones(self) -> None:
        self._timer = None
        for protocol, (deadline, exchange) in self._open.items():
            if deadline <= asyncio.get_running_loop().time():
                # The wait for the head or for the body raises it.
                protocol.set_exception(TimeoutError())
                if exchange.content is not None:
                    exchange.content.set_exception(TimeoutError())
            else:
                self._watch(deadline)

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
        except aiohttp.ClientConnectorCertificateError as error:
            raise UntrustedError(
                f"{error.certificate_error} (issued by {await self._issuer()}): SSL_CERT_FILE may "
                "name a file with the certificate of an issuer that you trust"
            ) from None

    async def _issuer(self) -> str:
        """Return the issuer that the server's certificate names; nothing is sent to that server."""
        url, seconds = URL(self._url), self._patience.connect or 0.0
        try:
            address = "" if self.proxy else url.host or "", url.port or 443
            ask = partial(ssl.get_server_certificate, timeout=seconds)
            certificate = ssl.PEM_cert_to_DER_cert(await asyncio.to_thread(ask, address))
        except (OSError, ValueError):
            return "nobody who can be asked for"
        name = _ORGANIZATION_OR_NAME.search(certificate)
        return certificate[name.end() :][: name[1][0]].decode("utf-8", "replace") if name else "-"

    @cached_property
    def _place(self) -> aiohttp.ClientRequest:
        """Return the address in the form that aiohttp's connector takes."""
        url = URL(self._url)
        if url.scheme not in {"http", "https"}:
            raise aiohttp.InvalidURL(url)
        # By CONNECT alone: a request to an http address would show the key to the proxy.
        proxy = URL(self.proxy) if self.proxy and url.scheme == "https" else None
        return aiohttp.ClientRequest(hdrs.METH_POST, url, proxy=proxy)

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


def _send(protocol: BoundedProtocol, request: bytes, exchange: Exchange) -> None:
    """Check ``may_send``, then write the request. No await stands between the check and the first
    byte, so that other tasks cannot delay it.
    """
    reason = exchange.may_send()
    if reason is not None:
        raise WithheldError(reason)
    assert protocol.transport is not None  # noqa: S101 - as just connected
    protocol.allowed = HEAD_LIMIT + 2 * exchange.limit
    protocol.set_response_params(
        read_until_eof=True,
        max_line_size=HEAD_LIMIT,
        max_field_size=HEAD_LIMIT,
        max_headers=HEAD_LIMIT,
    )
    exchange.sent = True
    protocol.transport.write(request)


async def _receive(protocol: ResponseHandler, exchange: Exchange) -> None:
    """Read the answer; skip the heads before it (1xx)."""
    head, content = await protocol.read()
    while head.code in range(100, 200) and head.code != HTTPStatus.SWITCHING_PROTOCOLS:
        head, content = await protocol.read()
    exchange.head, exchange.content = head, content
    take, left = exchange.take or exchange.body.extend, exchange.limit
    while left > 0 and not content.at_eof():
        part = await content.read(min(left, HEAD_LIMIT))
        left -= len(part)
        take(part)


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


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket whose close drops its unsent bytes: held up by a dead network, they must not
    arrive after the attempt has ended.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return made
