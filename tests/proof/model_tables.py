"""The transactions of the model test, on a real database of either kind."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.plain import done, is_server

T = TypeVar("T")


class Connected(Protocol):
    """A connection of one process."""

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Commit ``work`` and return its result; roll back if it raises, as the worker does."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


class _OnFile:
    """To an SQLite file."""

    def __init__(self, path: str) -> None:
        self._engine = create_engine(
            f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        self._connection = self._engine.connect()
        # A process dies here, never the machine: what it has committed is not lost by that.
        self._connection.exec_driver_sql("PRAGMA synchronous=OFF")

    def transact(self, work: Callable[[Connection], T]) -> T:
        self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            result = work(self._connection)
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise
        return result

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


class _OnServer:
    """To a database of a PostgreSQL server."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            poolclass=NullPool,
            connect_args={"server_settings": {"timezone": "UTC"}},
        )
        self._connection = done(self._engine.connect().start())

    def transact(self, work: Callable[[Connection], T]) -> T:
        return done(self._connection.run_sync(lambda c: _whole(c, work)))

    def close(self) -> None:
        done(self._connection.close())
        done(self._engine.dispose())


def _whole(connection: Connection, work: Callable[[Connection], T]) -> T:
    with connection.begin():
        return work(connection)


def connected(address: str) -> Connected:
    """Return a connection to the database at this address."""
    return _OnServer(address) if is_server(address) else _OnFile(address)
