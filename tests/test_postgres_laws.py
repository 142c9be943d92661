"""The laws where PostgreSQL could break them: its locks, its commits, its crashes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import asyncpg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from tests import postgres
from tests.conftest import migrate_to, open_database
from tests.parts import add, let_start, take, transaction
from tests.passage import passage
from tests.processes.programs import execute, until, videos, within
from worker.clock import Clock
from worker.core.model import State, Twin
from worker.core.reasons import WaitReason
from worker.db.address import Unreachable
from worker.db.postgres import LOCK
from worker.wiring import CLOCK


@pytest.fixture(scope="module")
def own() -> Iterator[postgres.Server]:
    """Start a server that a test may crash, with a migrated database."""
    with postgres.own() as server:
        asyncio.run(migrate_to(server.url))
        yield server


@pytest.fixture
def crashing(own: postgres.Server) -> postgres.Server:
    """Return that server with nothing in it."""
    asyncio.run(postgres.emptied(own.url))
    return own


def urls(address: str) -> list[object]:
    """Return the links of all videos."""
    return [row["url"] for row in videos(address)]


async def test_a_commit_that_a_crash_took_back_is_not_taken_for_done(
    crashing: postgres.Server,
) -> None:
    """A commit that a crash took back counts as not done, although its transaction number is
    now another's.
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


async def claimed(address: str, name: str) -> list[int]:
    """Claim one after the other as a worker of this name until nothing is due, and return the
    ids.
    """
    taken: list[int] = []
    async with open_database(address) as database:
        while claims := await take(database, CLOCK.now(), worker=name):
            taken += [claim.video_id for claim in claims]
    return taken


async def test_workers_that_claim_at_once_share_no_video(served: str) -> None:
    """Workers that claim at the same time never take the same video."""
    async with open_database(served) as database:
        await add(database, *map(str, range(100)))
    taken = await asyncio.gather(*(claimed(served, f"worker-{number}") for number in range(4)))
    assert list(range(1, 101)) == sorted(video for each in taken for video in each)
    assert all(taken)


async def sent(address: str, name: str) -> list[int]:
    """Return the videos that a worker of this name may send."""
    async with open_database(address) as database:
        clock = Clock(now=database.now, monotonic=CLOCK.monotonic)
        work = transaction(clock, worker=name)
        done = await database.write(lambda connection: work.write(connection, [], 9), "test")
        return [start.claim.video_id for start in done.claimed.starts]


async def test_law_17_workers_that_claim_at_once_buy_an_address_once(served: str) -> None:
    """Law 17: of the rows of one address that workers claim at the same time, one is sent. Their
    write transactions come one after the other, so that each sees the claims before it.
    """
    async with open_database(served) as database:
        await add(database, *["https://videos.example/1.mp4"] * 40)
        await let_start(database, database.now() - timedelta(seconds=1))
    taken = await asyncio.gather(*(sent(served, f"worker-{number}") for number in range(4)))
    assert [1] == [video for each in taken for video in each]


async def test_law_17_a_twin_under_another_programs_lock_counts(served: str) -> None:
    """Law 17: rows that another program is changing are passed over by a claim, and count as they
    were before for the other rows of their address.
    """
    async with open_database(served) as database, stepping(served) as other:
        await add(database, "u", state="in_doubt")
        await add(database, "u")
        await other.execute("BEGIN; UPDATE videos SET title = 'changed' WHERE id = 1")
        (claim,) = await take(database, CLOCK.now(), limit=2)
        assert (2, Twin(1, State.IN_DOUBT)) == (claim.video_id, claim.twin)
        await other.execute("COMMIT")


async def starts(address: str, name: str) -> int:
    """Return the number of starts that a worker of this name gets at one start per 15 minutes."""
    async with open_database(address) as database:
        await database.read(lambda _: None)
        clock = Clock(now=database.now, monotonic=CLOCK.monotonic)
        work = transaction(clock, worker=name, rate=1, period_seconds=900.0)
        done = await database.write(lambda connection: work.write(connection, [], 1), "test")
        return len(done.claimed.starts)


async def test_workers_that_look_at_once_share_one_pace(served: str) -> None:
    """Law 10: workers that claim at the same time share one pace."""
    async with open_database(served) as database:
        await add(database, *(f"https://videos.example/{n}.mp4" for n in range(8)))
        await let_start(database, database.now() - timedelta(seconds=1))
    taken = await asyncio.gather(*(starts(served, f"worker-{number}") for number in range(8)))
    assert [0, 0, 0, 0, 0, 0, 0, 1] == sorted(taken)


@pytest.mark.parametrize("role", ["write", "read"])
async def test_commits_are_on_disk_whatever_the_default_is(served: str, role: str) -> None:
    """Law 1: a commit is on disk whatever the server's default for synchronous_commit is."""
    name = make_url(served).database
    careless = make_url(served).update_query_dict({"synchronous_commit": "off"})
    execute(served, f"ALTER DATABASE {name} SET synchronous_commit = off")
    try:
        assert [{"synchronous_commit": "off"}] == execute(served, "SHOW synchronous_commit")
        for address in (served, careless.render_as_string(hide_password=False)):
            async with open_database(address) as database:
                use = partial(database.write, purpose="test") if role == "write" else database.read
                assert "on" == await use(lambda c: c.scalar(text("SHOW synchronous_commit")))
    finally:
        execute(served, f"ALTER DATABASE {name} RESET synchronous_commit")


LIMITS = ("lock_timeout", "statement_timeout", "idle_session_timeout")


async def test_a_limit_of_the_database_ends_no_wait_for_the_queue(served: str) -> None:
    """Whatever limits the database sets, a session stays, and waits for the queue's lock."""
    name = make_url(served).database
    async with stepping(served) as other:
        for limit in LIMITS:
            await other.execute(f"ALTER DATABASE {name} SET {limit} = '20ms'")
        try:
            async with open_database(served) as database:
                await add(database, "first")
                await other.execute(f"BEGIN; {LOCK}; SELECT pg_sleep(0.1)")
                writing = asyncio.create_task(add(database, "second"))
                await other.execute("SELECT pg_sleep(0.2); COMMIT")
                await within(writing)
        finally:
            for limit in LIMITS:
                await other.execute(f"ALTER DATABASE {name} RESET {limit}")
    assert ["first", "second"] == urls(served)


async def test_a_row_that_another_program_changes_holds_no_claim_up(served: str) -> None:
    """A row that another program is changing is passed over, and claimed as it is after the
    change.
    """
    async with open_database(served) as database, stepping(served) as other:
        await add(database, "theirs", "ours")
        await other.execute("BEGIN; UPDATE videos SET url = 'changed' WHERE id = 1")
        assert [2] == [claim.video_id for claim in await take(database, CLOCK.now(), limit=2)]
        await other.execute("COMMIT")
        (claim,) = await take(database, CLOCK.now(), limit=2)
        assert (1, "changed") == (claim.video_id, claim.video.url)


async def test_a_lapsed_row_that_another_program_holds_holds_nobody_up(served: str) -> None:
    """A lease whose row another program holds ends later; other leases end, and videos are sent."""
    async with open_database(served) as database, stepping(served) as other:
        yesterday = CLOCK.now() - timedelta(days=1)
        await add(database, "theirs", "ours", due_at=yesterday)
        await take(database, yesterday, limit=2)
        await add(database, "https://videos.example/3.mp4")
        await let_start(database, database.now() - timedelta(seconds=1))
        await other.execute("BEGIN; UPDATE videos SET title = 'changed' WHERE id = 1")
        work = transaction(Clock(now=database.now, monotonic=CLOCK.monotonic))
        write = partial(database.write, lambda c: work.write(c, [], 9), "test")
        done = await write()
        assert [2] == [each.video_id for each in done.expired]
        assert [3] == [start.claim.video_id for start in done.claimed.starts]
        held = await write()
        assert (WaitReason.HELD, []) == (held.claimed.reason, held.expired)
        await other.execute("COMMIT")
        assert [1] == [each.video_id for each in (await write()).expired]


async def test_a_frozen_worker_gives_the_lock_back(served: str) -> None:
    """The server ends a transaction in which a worker stands still for ten seconds."""
    async with open_database(served) as database:

        def limit(connection: Connection) -> str:
            found = connection.scalar(text("SHOW idle_in_transaction_session_timeout"))
            return str(found)

        assert "10s" == await database.write(limit, "test")


@asynccontextmanager
async def stepping(address: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a session of another program."""
    connection = await asyncpg.connect(address)
    yield connection
    await connection.close()
