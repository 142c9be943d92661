import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

import asyncpg
import pytest
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import StatementError

from tests.conftest import migrate_to, open_database
from tests.passage import Passage, passage
from tests.plain import execute
from tests.pooler import pooler
from worker.db import postgres
from worker.db.address import DatabaseProblem, Unreachable, address_of
from worker.db.database import Database, place_of
from worker.db.postgres_listener import AGAIN_SECONDS, Listener
from worker.db.schema import videos
from worker.wiring import CLOCK

BREAK = "SELECT pg_terminate_backend(pg_backend_pid())"
NEVER = 1e9


@pytest.fixture
async def other(served: str) -> AsyncIterator[asyncpg.Connection]:
    """Another program on the same database."""
    connection = await asyncpg.connect(served)
    yield connection
    await connection.close()


def put(connection: Connection) -> str:
    """Insert a row as any program can."""
    connection.execute(insert(videos).values(url="u"))
    return "put"


async def number(database: Database) -> int:
    """Return the number of videos."""
    return await database.read(lambda c: c.execute(select(func.count(videos.c.id))).scalar_one())


@asynccontextmanager
async def broken_at_commit(
    served: str, *, delivers: bool
) -> AsyncIterator[tuple[Database, Passage]]:
    """Yield a database whose next commit breaks the connection."""
    async with passage(served) as way, open_database(way.url) as database:
        await database.write(lambda _: None, "test")
        way.word, way.delivers = b"COMMIT;", delivers
        yield database, way


async def test_a_commit_whose_answer_was_lost_is_known(served: str) -> None:
    """A commit whose answer was lost counts as done."""
    async with broken_at_commit(served, delivers=True) as (database, way):
        assert "put" == await database.write(put, "test")
        assert 1 == way.words
        assert 1 == await number(database)


async def test_a_commit_that_never_arrived_is_known(served: str) -> None:
    """A commit that never arrived counts as not done."""
    async with broken_at_commit(served, delivers=False) as (database, way):
        with pytest.raises(Unreachable):
            await database.write(put, "test")
        assert 1 == way.words
        assert 0 == await number(database)
        assert "put" == await database.write(put, "test")


async def test_a_commit_that_nobody_can_ask_about_ends_with_the_database(served: str) -> None:
    """Closing the database ends the wait for an unknown commit with an error."""
    async with passage(served) as way:
        database = open_database(way.url)
        await database.write(lambda _: None, "test")

        def last(connection: Connection) -> None:
            put(connection)
            way.word = b"COMMIT;"
            way.closed = True

        writing = asyncio.create_task(database.write(last, "test"))
        await way.refused.wait()
        await database.close()
        with pytest.raises(Unreachable, match="nobody could learn whether it was done"):
            await writing


async def test_a_connection_that_breaks_is_made_anew(served: str) -> None:
    """After a broken connection nothing half done is left, and the next transaction works."""

    def half(connection: Connection) -> None:
        put(connection)
        connection.execute(text(BREAK))

    async with open_database(served) as database:
        for use in (partial(database.write, purpose="test"), database.read):
            with pytest.raises(Unreachable):
                await use(half if use != database.read else lambda c: c.execute(text(BREAK)))
            assert 0 == await number(database)
        assert "put" == await database.write(put, "test")


async def test_a_connection_made_anew_reads_one_state_as_before(served: str) -> None:
    """A connection opened anew has the isolation of the one before."""

    def kept(connection: Connection) -> tuple[str, str]:
        shown = ("transaction_isolation", "transaction_read_only")
        isolation, read_only = (connection.scalar(text(f"SHOW {name}")) for name in shown)
        return str(isolation), str(read_only)

    async with open_database(served) as database:
        before = await database.read(kept)
        with pytest.raises(Unreachable):
            await database.read(lambda c: c.execute(text(BREAK)))
        assert ("repeatable read", "on") == before == await database.read(kept)


async def test_write_transactions_come_one_after_the_other(
    served: str, other: asyncpg.Connection
) -> None:
    """Write transactions of all programs come one after the other; a long wait is logged once."""
    said: list[str] = []
    told = asyncio.Event()

    def waiting(purpose: str) -> None:
        said.append(purpose)
        told.set()

    lock = postgres.LOCK
    async with Database(
        served, dice=lambda: 0.5, now=CLOCK.now, waiting=waiting, patience_seconds=0.05
    ) as database:
        async with other.transaction():
            await other.execute(lock)
            writing = asyncio.create_task(database.write(put, "to put"))
            await told.wait()
            assert not writing.done()
            assert 0 == await number(database)
        assert "put" == await writing
    assert ["to put"] == said


def searching(url: str, schemas: str) -> str:
    """Return an address whose sessions look for tables in these schemas."""
    own = make_url(url).update_query_dict({"search_path": schemas})
    return own.render_as_string(hide_password=False)


async def lock_of(url: str) -> tuple[int, ...]:
    """Return the numbers of the lock under which a worker writes."""
    held = text(
        "SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    )
    async with open_database(url) as database:
        return await database.write(lambda c: tuple(c.execute(held).one()), "test")


@pytest.mark.usefixtures("remade")
async def test_workers_on_the_same_tables_share_one_lock(served: str) -> None:
    """Laws 10 and 17: workers on the same tables share the lock of earlier releases, and name the
    same place, whatever schemas stand before that of the tables.
    """
    schema = "current_schema()"
    numbers = f"SELECT {schema}, hashtext('valossa-ingest')::oid, hashtext({schema})::oid"
    ((schema, *earlier),) = execute(served, numbers)
    execute(served, "CREATE SCHEMA app")
    execute(served, "CREATE SCHEMA AUTHORIZATION CURRENT_USER")
    for schemas in (schema, f"app,{schema}", f'"$user",{schema}'):
        url = searching(served, schemas)
        assert tuple(earlier) == await lock_of(url)
        async with open_database(url) as database:
            place = await database.read(lambda c: place_of(c, address_of(served)))
        assert f"{address_of(served)}, schema {schema}" == place


async def test_tables_are_made_under_the_lock_that_is_theirs(bare: str) -> None:
    """Two migrations wait for each other, and for no worker on the tables of another schema."""
    execute(bare, 'CREATE SCHEMA "The Queue"')
    url = searching(bare, '"The Queue",public')
    before = await lock_of(url)
    assert before != await lock_of(bare)
    await migrate_to(url)
    assert before == await lock_of(url)


async def test_a_server_that_says_nothing_any_more_is_noticed(served: str) -> None:
    """The kernel watches each connection for a silent server."""
    async with passage(served) as way, open_database(way.url) as database:
        asked = await database.read(_asked_of_the_kernel)
    assert {"SO_KEEPALIVE": 1, **postgres.WATCH} == asked


def _asked_of_the_kernel(connection: Connection) -> dict[str, int]:
    """Return the options of a connection's socket."""
    driver = connection.connection.driver_connection
    assert driver is not None
    peer = driver._transport.get_extra_info("socket")  # noqa: SLF001 - as worker/db/postgres.py
    alive = peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    options = {name: getattr(socket, name) for name in postgres.WATCH}
    found = {name: peer.getsockopt(socket.IPPROTO_TCP, each) for name, each in options.items()}
    return {"SO_KEEPALIVE": alive, **found}


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example"])
async def test_a_host_that_is_no_name_is_told(host: str) -> None:
    """A host that is no name is reported in a sentence."""
    async with open_database(f"postgresql://u@{host}/db") as database:
        with pytest.raises(DatabaseProblem, match="no name of a machine"):
            await number(database)


async def test_a_caller_that_goes_leaves_its_transaction_whole(
    served: str, other: asyncpg.Connection
) -> None:
    """A cancelled caller leaves its transaction whole and the lock free."""
    async with open_database(served) as database:
        async with other.transaction():
            await other.execute(postgres.LOCK)
            writing = asyncio.create_task(database.write(put, "test"))
            await asyncio.sleep(0)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        assert "put" == await database.write(put, "test")
        assert 2 == await number(database)


async def test_a_row_that_somebody_holds_is_not_waited_for_without_end(
    served: str, other: asyncpg.Connection
) -> None:
    """The wait for a row lock of another program ends."""
    await other.execute("INSERT INTO videos (url) VALUES ('u')")
    change = text("UPDATE videos SET title = 't'")

    def impatient(connection: Connection) -> None:
        connection.execute(text("SET LOCAL lock_timeout = '10ms'"))
        connection.execute(change)

    def limit(connection: Connection) -> str:
        return str(connection.scalar(text("SHOW lock_timeout")))

    async with open_database(served) as database:
        async with other.transaction():
            await other.execute("UPDATE videos SET title = 'theirs'")
            with pytest.raises(Unreachable, match="held by another session"):
                await database.write(impatient, "test")
        assert "5s" == await database.write(limit, "test")


async def test_a_table_that_somebody_holds_is_not_waited_for_without_end(
    served: str, other: asyncpg.Connection
) -> None:
    """A read ends, so that the queue's watchers say what they cannot see (law 18)."""

    def impatient(connection: Connection) -> object:
        connection.execute(text("SET LOCAL lock_timeout = '10ms'"))
        return connection.execute(text("SELECT * FROM videos")).all()

    async with open_database(served) as database:
        assert "5s" == await database.read(lambda c: c.scalar(text("SHOW lock_timeout")))
        async with other.transaction():
            await other.execute("LOCK TABLE videos IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Unreachable, match="table is held by another session"):
                await database.read(impatient)
        assert [] == await database.read(impatient)
        assert "5s" == await database.read(lambda c: c.scalar(text("SHOW lock_timeout")))


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_time_is_that_of_the_server(served: str, hours: int) -> None:
    """The queue's time is the server's, however wrong this machine's clock is."""
    wrong = timedelta(hours=hours)
    async with Database(
        served, dice=lambda: 0.5, now=lambda: CLOCK.now() + wrong, waiting=lambda _: None
    ) as database:
        await number(database)
        assert abs(database.now() - CLOCK.now()) < timedelta(seconds=10)
        seen = await database.write(lambda _: database.now(), "test")
        assert abs(seen - CLOCK.now()) < timedelta(seconds=10)


async def test_a_machine_whose_clock_is_set_is_back_with_its_next_transaction(served: str) -> None:
    """After a step of this machine's clock, the next transaction has the server's time again."""
    wrong = [timedelta(0)]
    async with Database(
        served, dice=lambda: 0.5, now=lambda: CLOCK.now() + wrong[-1], waiting=lambda _: None
    ) as database:
        await database.write(lambda _: None, "test")
        wrong.append(timedelta(hours=1))
        seen = await database.write(lambda _: database.now(), "test")
    assert abs(seen - CLOCK.now()) < timedelta(seconds=10)


async def test_the_time_is_read_after_the_lock_is_held(
    served: str, other: asyncpg.Connection
) -> None:
    """The time of a transaction is read under the lock."""
    async with open_database(served) as database:
        await number(database)
        async with other.transaction():
            await other.execute(postgres.LOCK)
            writing = asyncio.create_task(database.write(lambda _: database.now(), "test"))
            await other.execute("SELECT pg_sleep(0.05)")
            freed = await other.fetchval("SELECT clock_timestamp()")
        assert await writing >= freed


async def test_a_bad_value_stays_what_it_is(served: str) -> None:
    """Law 14: a bad value raises its own error, and the next transaction works."""
    long = random.Random(1).randbytes(3000).hex()  # longer than an index takes, also compressed
    bad = (
        {"url": ""},
        {"url": "\ud800"},
        {"url": "\0"},
        {"url": "u", "priority": 2**70},
        {"url": "u", "state": "submitted", "job_id": long},
    )
    async with open_database(served) as database:
        for values in bad:
            adding = partial(Connection.execute, statement=insert(videos).values(**values))
            with pytest.raises(StatementError):
                await database.write(adding, "test")
            assert 0 == await number(database)


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until it is so; a test that waits in vain is ended from outside."""
    while not condition():  # noqa: ASYNC110 - the word comes from a server, by no event of ours
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO videos (url) VALUES ('u')",
        "UPDATE videos SET due_at = due_at - interval '1 hour'",
        "UPDATE videos SET state = 'pending' WHERE state = 'failed'",
        "UPDATE account SET paused_at = clock_timestamp()",
    ],
)
async def test_what_brings_work_is_heard(
    served: str, other: asyncpg.Connection, statement: str
) -> None:
    """Every statement that brings work is notified."""
    await other.execute("INSERT INTO videos (url) VALUES ('u')")
    await other.execute("INSERT INTO videos (url, state) VALUES ('u', 'failed')")
    listener = Listener(partial(asyncpg.connect, served), NEVER)
    before = listener.heard()
    await until(lambda: listener.heard() == before + 1)  # it listens from now on
    await other.execute(statement)
    await until(lambda: listener.heard() == before + 2)
    await listener.close()


async def test_a_claim_wakes_nobody(served: str, other: asyncpg.Connection) -> None:
    """A claim sends no notification."""
    await other.execute("INSERT INTO videos (url) VALUES ('u')")
    listener = Listener(partial(asyncpg.connect, served), NEVER)
    before = listener.heard()
    await until(lambda: listener.heard() == before + 1)
    await other.execute(
        "UPDATE videos SET state = 'submitting', claim_token = 't', claimed_by = 'w', "
        "lease_until = clock_timestamp()"
    )
    await other.execute("UPDATE account SET next_start_at = clock_timestamp()")
    await other.execute("INSERT INTO videos (url) VALUES ('u')")
    await until(lambda: listener.heard() > before + 1)
    assert before + 2 == listener.heard()
    await listener.close()


async def test_whoever_listens_hears_again_after_the_server_was_gone(
    served: str, other: asyncpg.Connection
) -> None:
    """A listener listens again after the server was gone."""
    async with passage(served) as way:
        listener = Listener(partial(asyncpg.connect, way.url), NEVER)
        before = listener.heard()
        await until(lambda: listener.heard() == before + 1)
        way.cut()
        await until(lambda: listener.heard() == before + 2)  # it says that words may be lost
        await other.execute("INSERT INTO videos (url) VALUES ('u')")
        await until(lambda: listener.heard() == before + 3)
        await listener.close()


async def test_whoever_is_not_let_listen_asks_again_after_a_while(served: str) -> None:
    """A refused listener waits between its tries."""
    connected: list[float] = []

    async def lost() -> asyncpg.Connection:
        connection = await asyncpg.connect(served)
        await connection.close()
        connected.append(asyncio.get_running_loop().time())
        return connection

    listener = Listener(lost, NEVER)
    before = listener.heard()
    await until(lambda: len(connected) == 2)
    assert connected[1] - connected[0] >= AGAIN_SECONDS
    assert before == listener.heard()
    await listener.close()


async def test_time_alone_says_that_there_may_be_something(served: str) -> None:
    """Time alone changes the number, without a notification."""
    listener = Listener(partial(asyncpg.connect, served), 0.001)
    before = listener.heard()
    await until(lambda: listener.heard() > before + 2)
    await listener.close()


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("sessions", [1, 2, 3, 4])
async def test_a_pooler_that_gives_a_session_to_a_transaction_is_refused(
    served: str, sessions: int, *, oldest_first: bool
) -> None:
    """A pooler by transaction is refused at the start, however many sessions it has, also where
    both of our connections get the same one each time.
    """
    async with pooler(served, by_transaction=True, oldest_first=oldest_first) as pool:
        async with AsyncExitStack() as stack:
            for _ in range(sessions):
                another = await asyncpg.connect(pool.url)
                stack.push_async_callback(another.close)
                await another.execute("BEGIN")
        async with open_database(pool.url) as database:
            for use in (database.read, lambda work: database.write(work, "test")):
                with pytest.raises(DatabaseProblem, match="or a pool in session mode") as raised:
                    await use(lambda _: None)
                assert Unreachable is not type(raised.value)


async def test_a_pooler_that_keeps_sessions_is_worked_through(served: str) -> None:
    """Through a pooler that keeps sessions all works, and commits are on disk (law 1)."""
    setting = text("SHOW synchronous_commit")
    async with pooler(served, by_transaction=False) as pool, open_database(pool.url) as database:
        assert "put" == await database.write(put, "test")
        assert "on" == await database.write(lambda c: c.scalar(setting), "test")
        assert 1 == await number(database)


class Refusing(asyncio.Protocol):
    """A pooler that refuses a setting with which a session begins."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse at once."""
        assert isinstance(transport, asyncio.Transport)
        fields = b"SFATAL\0C08P01\0Munsupported startup parameter: search_path\0\0"
        transport.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


async def test_a_pooler_that_refuses_a_setting_is_told() -> None:
    """A pooler that refuses what the address asks for is no server that comes back by itself."""
    listening = await asyncio.get_running_loop().create_server(Refusing, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, open_database(f"postgresql://u@127.0.0.1:{port}/q?sslmode=disable") as db:
        with pytest.raises(
            DatabaseProblem, match="a pooler refuses a setting of the session"
        ) as it:
            await db.read(lambda _: None)
    assert Unreachable is not type(it.value)


async def test_the_user_of_an_address_without_a_password_is_not_quoted(server: str) -> None:
    """The server quotes a user whom it does not know; it may be a password in the wrong place."""
    url = make_url(server).set(username="s3cret")
    async with open_database(url.render_as_string(hide_password=False)) as database:
        with pytest.raises(DatabaseProblem, match="refuses the user or the password") as raised:
            await database.read(lambda _: None)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("host", ["[x]y", "a..b", "%00", "h%zz", "-", "\ud800", "é" * 80, "*"])
async def test_an_odd_host_is_a_sentence(host: str) -> None:
    """No host is a traceback, whichever part of the driver refuses it."""
    with pytest.raises(DatabaseProblem) as raised:
        async with open_database(f"postgresql://ann:s3cret@{host}:1/db") as database:
            await database.read(lambda _: None)
    assert "s3cret" not in str(raised.value)
