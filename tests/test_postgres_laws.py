"""The laws where PostgreSQL could break them: its locks, its commits, its crashes."""

import asyncio
from collections.abc import Iterator

import pytest

from tests import postgres
from tests.conftest import migrate_to, open_database
from tests.parts import add
from tests.passage import passage
from tests.processes.programs import until, videos, within
from worker.db import Unreachable


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
    async with passage(crashing.url) as way, open_database(way.url) as database:
        await add(database, "before")
        way.word, way.stops = b"COMMIT;", True
        writing = asyncio.create_task(add(database, "lost"))
        await until(lambda: way.words == 1)
        await asyncio.to_thread(crashing.crash)
        await asyncio.to_thread(crashing.start)
        way.cut()
        async with open_database(crashing.url) as other:
            await add(other, "other")
        way.open.set()
        with pytest.raises(Unreachable):
            await within(writing)
    assert ["before", "other"] == urls(crashing.url)
