"""The inner parts of asyncpg that worker/db/postgres.py and its listener stand on."""

import inspect
import socket

import asyncpg
import pytest


@pytest.mark.parametrize(
    "name",
    ["add_listener", "add_termination_listener", "terminate", "transaction", "fetchval"],
)
def test_a_method_is_there(name: str) -> None:
    """Each method of a connection that the program calls by itself exists."""
    assert callable(getattr(asyncpg.Connection, name, None)), name


def test_connect_takes_what_the_program_gives() -> None:
    """``asyncpg.connect`` has the parameters that the program passes."""
    parameters = set(inspect.signature(asyncpg.connect).parameters)
    assert set() == {"dsn", "timeout", "server_settings"} - parameters


def test_a_connection_has_a_transport() -> None:
    """``Connection._transport`` is a slot: there is no public way to the socket."""
    assert hasattr(asyncpg.Connection, "_transport"), "_transport"


async def test_the_transport_hands_out_the_socket(served: str) -> None:
    """``_transport.get_extra_info("socket")`` is the socket, whose options can be set."""
    connection = await asyncpg.connect(served)
    peer = connection._transport.get_extra_info("socket")  # noqa: SLF001 - the contract
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert 1 == peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await connection.close()


async def test_an_error_of_the_server_has_its_sqlstate(served: str) -> None:
    """``sqlstate`` of an error names the kind that the server reported."""
    connection = await asyncpg.connect(served)
    with pytest.raises(asyncpg.PostgresError) as caught:
        await connection.execute("SELECT * FROM elsewhere")
    assert "42P01" == caught.value.sqlstate
    await connection.close()
