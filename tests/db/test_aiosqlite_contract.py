"""The inner parts of aiosqlite that worker/db/sqlite.py stands on, each by its name."""

import inspect
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import pytest


def connection(path: Path) -> aiosqlite.Connection:
    """Open a connection to a file as the program does."""
    return aiosqlite.Connection(partial(sqlite3.connect, path), iter_chunk_size=1)


async def execute(made: aiosqlite.Connection, work: Callable[..., object], *given: object) -> Any:  # noqa: ANN401
    """Run work in the connection's thread."""
    return await made._execute(work, *given)  # type: ignore[no-untyped-call]  # noqa: SLF001


def test_a_connection_takes_a_connector_and_a_chunk_size() -> None:
    """``Connection.__init__`` has the parameters that the program passes."""
    parameters = set(inspect.signature(aiosqlite.Connection.__init__).parameters)
    assert set() == {"connector", "iter_chunk_size"} - parameters


def test_the_inner_parts_are_there() -> None:
    """``Connection`` has ``_execute``, ``_conn`` and ``close`` in the form that is used."""
    assert inspect.iscoroutinefunction(getattr(aiosqlite.Connection, "_execute", None)), "_execute"
    assert isinstance(inspect.getattr_static(aiosqlite.Connection, "_conn", None), property), (
        "_conn"
    )
    assert inspect.iscoroutinefunction(aiosqlite.Connection.close), "close"


async def test_execute_runs_a_function_in_the_connections_thread(tmp_path: Path) -> None:
    """``_execute(function, *arguments)`` returns its result, always from one other thread."""
    async with connection(tmp_path / "a.db") as made:

        def work(text: str) -> tuple[str, int]:
            return text, threading.get_ident()

        first, thread = await execute(made, work, "a")
        second, again = await execute(made, work, "b")
    assert ("a", "b") == (first, second)
    assert thread == again != threading.get_ident()


async def test_execute_raises_what_its_function_raises(tmp_path: Path) -> None:
    """An exception of the function is the caller's, and the thread goes on."""

    def fail() -> None:
        raise ZeroDivisionError

    async with connection(tmp_path / "a.db") as made:
        with pytest.raises(ZeroDivisionError):
            await execute(made, fail)
        assert 1 == await execute(made, lambda: 1)


async def test_conn_is_the_drivers_connection(tmp_path: Path) -> None:
    """``_conn`` is the sqlite3 connection that the connector made, in its own thread."""
    async with connection(tmp_path / "a.db") as made:

        def ask() -> object:
            raw = made._conn  # noqa: SLF001 - the contract
            assert isinstance(raw, sqlite3.Connection)
            return raw.execute("SELECT 1").fetchone()

        assert (1,) == await execute(made, ask)
