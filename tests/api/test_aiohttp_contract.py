"""The inner parts of aiohttp that worker/api/transport.py stands on, each by its name."""

import asyncio
import inspect
import socket
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from tests.wire import Line, Script, Wire, answer, job

PATIENCE = aiohttp.ClientTimeout(connect=5.0, sock_connect=5.0)
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.mark.parametrize(
    ("part", "parameters"),
    [
        (
            aiohttp.TCPConnector.__init__,
            {"limit", "keepalive_timeout", "socket_factory"},
        ),
        (aiohttp.TCPConnector.connect, {"req", "traces", "timeout"}),
        (aiohttp.TCPConnector.close, set()),
        (aiohttp.ClientRequest.__init__, {"method", "url"}),
        (Connection.release, set()),
        (Connection.close, set()),
        (
            ResponseHandler.set_response_params,
            {"read_until_eof", "max_line_size", "max_field_size", "max_headers"},
        ),
        (ResponseHandler.data_received, {"data"}),
        (ResponseHandler.set_exception, {"exc"}),
        (ResponseHandler.read, set()),
        (StreamReader.at_eof, set()),
        (StreamReader.read, {"n"}),
        (StreamReader.set_exception, {"exc"}),
    ],
    ids=lambda part: getattr(part, "__qualname__", ""),
)
def test_a_method_takes_what_the_transport_gives(
    part: Callable[..., Any], parameters: set[str]
) -> None:
    """Each inner method has the parameters that the transport passes."""
    assert set() == parameters - set(inspect.signature(part).parameters)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Connection, "protocol"),
        (Connection, "transport"),
        (ResponseHandler, "should_close"),
        (aiohttp.ClientRequest, "connection_key"),
    ],
)
def test_a_property_is_there(owner: type, name: str) -> None:
    """Each inner property that the transport reads exists."""
    assert isinstance(inspect.getattr_static(owner, name, None), property), f"{owner}.{name}"


async def test_a_connector_makes_its_protocols_where_the_transport_says_how() -> None:
    """The connections of a connector are made by its ``_factory``, with the loop as argument."""
    async with Wire(saying(answer(b""))) as wire:
        client = Client(wire)
        assert ResponseHandler is client.connector._factory.func  # noqa: SLF001 - as used
        assert {"loop"} == client.connector._factory.keywords.keys()  # noqa: SLF001
        connection, protocol = await client.connect()
        assert ResponseHandler is type(protocol)
        connection.close()
        await client.connector.close()


def test_the_head_of_an_answer_has_its_parts() -> None:
    """A parsed head names its status and its headers."""
    assert {"code", "headers"} <= set(dir(RawResponseMessage))


def test_a_parser_error_has_a_message() -> None:
    """The message of a parser's error is a text of its own."""
    assert "bad" == HttpProcessingError(message="bad").message


def saying(*parts: bytes) -> Script:
    """Return a script that answers each request with the next part."""

    async def script(line: Line) -> None:
        for part in parts:
            await line.request()
            line.say(part)
        await line.rest()

    return script


class Client:
    """A connector on a server, with the sockets that it had made."""

    def __init__(self, wire: Wire) -> None:
        self.made: list[socket.socket] = []
        self._request = aiohttp.ClientRequest("POST", URL(wire.url))
        self.connector = aiohttp.TCPConnector(limit=1, socket_factory=self._socket)

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        self.made.append(socket.socket(family, kind, protocol))
        return self.made[-1]

    async def connect(self) -> tuple[Connection, ResponseHandler]:
        """Take a connection from the connector."""
        connection = await self.connector.connect(self._request, [], PATIENCE)
        assert connection.protocol is not None
        return connection, connection.protocol


def send(protocol: ResponseHandler) -> None:
    """Send a request, as the transport does."""
    protocol.set_response_params(read_until_eof=True)
    assert protocol.transport is not None
    protocol.transport.write(REQUEST)


async def test_a_request_written_to_the_transport_is_answered() -> None:
    """``read`` gives head and body of the answer to bytes that were written past aiohttp."""
    async with Wire(saying(answer(job("j-1"), X="y"))) as wire:
        client = Client(wire)
        connection, protocol = await client.connect()
        send(protocol)
        head, content = await protocol.read()
        assert (200, "y") == (head.code, head.headers["X"])
        body = b""
        while not content.at_eof():
            body += await content.read(5)
        assert job("j-1") == body
        connection.release()
        await client.connector.close()
    assert 1 == len(client.made)


async def test_a_released_connection_is_given_out_again() -> None:
    """The same protocol comes back after a release, and may be asked for its silence."""
    async with Wire(saying(answer(b""), answer(b""))) as wire:
        client = Client(wire)
        protocols = []
        for _ in range(2):
            connection, protocol = await client.connect()
            assert not protocol.should_close
            send(protocol)
            _, content = await protocol.read()
            await content.read(1)
            protocols.append(protocol)
            connection.release()
        await client.connector.close()
    assert protocols[0] is protocols[1]
    assert 1 == len(client.made)


async def test_the_socket_of_a_connection_can_be_watched() -> None:
    """The transport of a protocol hands out its socket, the one of the socket factory."""
    async with Wire(saying(answer(b""))) as wire:
        client = Client(wire)
        connection, protocol = await client.connect()
        assert connection.transport is protocol.transport
        assert protocol.transport is not None
        peer = protocol.transport.get_extra_info("socket")
        assert client.made[0].fileno() == peer.fileno()
        connection.close()
        await client.connector.close()


async def test_an_exception_that_is_set_ends_the_wait_for_a_head() -> None:
    """``ResponseHandler.set_exception`` is raised by the ``read`` that waits, and closes."""
    async with Wire(saying()) as wire:
        client = Client(wire)
        connection, protocol = await client.connect()
        send(protocol)
        asyncio.get_running_loop().call_soon(protocol.set_exception, TimeoutError())
        with pytest.raises(TimeoutError):
            await protocol.read()
        assert protocol.should_close
        connection.close()
        await client.connector.close()


async def test_an_exception_that_is_set_ends_the_wait_for_a_body() -> None:
    """``StreamReader.set_exception`` is raised by the ``read`` that waits."""
    async with Wire(saying(answer(b"", Content_Length="9"))) as wire:
        client = Client(wire)
        connection, protocol = await client.connect()
        send(protocol)
        _, content = await protocol.read()
        asyncio.get_running_loop().call_soon(content.set_exception, TimeoutError())
        with pytest.raises(TimeoutError):
            await content.read(9)
        connection.close()
        await client.connector.close()
