"""The laws where PostgreSQL could break them: its locks, its commits, its crashes."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, insert

from tests import postgres
from tests.cable import Cable
from tests.conftest import migrate_to, open_database
from tests.parts import add
from tests.processes.programs import videos, within
from worker.db import Unreachable
from worker.tables import videos as table


@pytest.fixture(scope="module")
def own() -> Iterator[postgres.Server]:
    """A server that a test may crash, with a migrated database."""
    with postgres.own() as server:
        asyncio.run(migrate_to(server.url))
        yield server


@pytest.fixture
def crashing(own: postgres.Server) -> postgres.Server:
    """The same, with nothing in it."""
    asyncio.run(postgres.emptied(own.url))
    return own


def urls(address: str) -> list[object]:
    """The videos there are."""
    return [row["url"] for row in videos(address)]


async def test_a_commit_that_a_crash_took_back_is_not_taken_for_done(
    crashing: postgres.Server,
) -> None:
    """A crash gives the numbers of transactions that were not on disk to others: whoever asks by
    number alone hears that an intent is on disk that is not, sends it, and so does another.
    """
    held = asyncio.Event()

    def hold(said: bytes) -> None:
        if armed and b"COMMIT;" in said:
            cable.hold()
            held.set()

    def write(connection: Connection) -> None:
        connection.execute(insert(table), {"url": "lost"})

    armed = False
    async with (
        Cable(crashing.socket, hold) as cable,
        open_database(cable.url("postgres")) as database,
    ):
        await add(database, "before")
        armed = True
        writing = asyncio.create_task(database.write(write, "test"))
        await within(held.wait())
        await asyncio.to_thread(crashing.crash)
        await asyncio.to_thread(crashing.start)
        cable.cut()
        armed = False
        async with open_database(crashing.url) as other:
            await add(other, "other")
        cable.go_on()
        with pytest.raises(Unreachable):
            await within(writing)
    assert ["before", "other"] == urls(crashing.url)
