import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from tests.conftest import open_database
from tests.parts import add
from tests.plain import Plain, execute
from worker.db.address import DatabaseProblem, LogLostError, Unreachable
from worker.db.database import PATIENCE_SECONDS, Database, schema_of, schema_problem
from worker.db.schema import SCHEMA
from worker.wiring import CLOCK

ROOT = Path(__file__).parents[2]


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process' connection to the file."""
    with closing(
        sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ) as connection:
        yield connection


def urls(connection: Connection) -> list[str]:
    """Return the links in the queue."""
    return list(connection.execute(text("SELECT url FROM videos ORDER BY id")).scalars())


def files(folder: Path) -> list[str]:
    """Return the names in a folder."""
    return sorted(each.name for each in folder.iterdir())


def move(path: Path, to: Path) -> None:
    """Give a file another name."""
    path.rename(to)


def pragmas(connection: Connection) -> tuple[str, int]:
    """Return the pragmas by which a connection brings its commits to the disk."""
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    return mode, connection.exec_driver_sql("PRAGMA synchronous").scalar_one()


@pytest.mark.usefixtures("path")
async def test_commits_are_on_disk_on_both_connections(database: Database) -> None:
    """Law 1: the log is written ahead, and synced at every commit, on both connections."""
    full = 2
    assert ("wal", full) == await database.read(pragmas)
    assert ("wal", full) == await database.write(pragmas, "test")


@pytest.mark.usefixtures("remade")
async def test_a_server_that_promises_less_is_told_to_keep_its_commits(served: str) -> None:
    """Law 1: a reported commit is on disk, whatever the database's own setting is."""
    name = execute(served, "SELECT current_database()")[0][0]
    execute(served, f"ALTER DATABASE {name} SET synchronous_commit = off")
    assert [("off",)] == execute(served, "SHOW synchronous_commit")

    def promised(connection: Connection) -> object:
        return connection.execute(text("SHOW synchronous_commit")).scalar_one()

    async with open_database(served) as database:
        assert "on" == await database.write(promised, "test")
        assert "on" == await database.read(promised)


NO_WAL = """
import _sqlite3, asyncio, ctypes, sys
library = ctypes.CDLL(_sqlite3.__file__)
library.sqlite3_vfs_find.restype = ctypes.c_void_p
library.sqlite3_vfs_register.argtypes = [ctypes.c_void_p, ctypes.c_int]
library.sqlite3_vfs_register(library.sqlite3_vfs_find(b"unix-dotfile"), 1)
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.wiring import CLOCK

async def main():
    async with Database(sys.argv[1], dice=lambda: 0.5, now=CLOCK.now, waiting=print) as database:
        for use in (database.read, lambda work: database.write(work, "test")):
            try:
                await use(lambda connection: print("worked"))
            except DatabaseProblem as problem:
                print(problem)

asyncio.run(main())
"""


def test_a_database_that_cannot_be_wal_is_refused(path: Path) -> None:
    """Law 1: where the file system has no shared memory, as a network's, nothing is done."""
    assert [("delete",)] == execute(str(path), "PRAGMA journal_mode=DELETE")
    run = subprocess.run(
        [sys.executable, "-c", NO_WAL, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    refused = f"database {path}: it works in journal mode delete, not WAL: keep it on a local disk"
    assert [refused, refused] == run.stdout.splitlines()


async def test_what_raises_is_rolled_back(database: Database) -> None:
    """Of work that fails half way nothing is kept, and the next transaction works."""

    def fail(connection: Connection) -> None:
        connection.execute(text("INSERT INTO videos (url) VALUES ('half')"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(fail, "test")
    assert [] == await database.read(urls)
    await add(database, "whole")
    assert ["whole"] == await database.read(urls)


async def test_a_bad_value_stays_what_it_is(database: Database) -> None:
    """A row that is refused is no trouble of the database: its caller gets the real error, whose
    text lists no values (law 11).
    """
    with pytest.raises(IntegrityError, match="url_is_given") as raised:
        await add(database, "")
    assert "[parameters: " not in str(raised.value)
    assert [] == await database.read(urls)


async def test_a_result_is_handed_back(database: Database) -> None:
    """Both kinds of transaction return what their work returns."""
    assert "w" == await database.write(lambda _: "w", "test")
    assert "r" == await database.read(lambda _: "r")


async def test_a_read_sees_one_state(database: Database, plain: Plain) -> None:
    """A read does not show a commit that another program makes in its middle."""

    def twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = urls(connection)
        plain.execute("INSERT INTO videos (url) VALUES ('meanwhile')")
        return before, urls(connection)

    assert ([], []) == await database.read(twice)
    assert ["meanwhile"] == await database.read(urls)


class Polls:
    """Dice that count how often the lock was asked for, and act at the ``last`` time."""

    def __init__(self, last: int, act: Callable[[], object]) -> None:
        self.count = 0
        self._last = last
        self._act = act

    def __call__(self) -> float:
        """Roll."""
        self.count += 1
        if self.count == self._last:
            self._act()
        return 0.0


@pytest.mark.parametrize(
    ("patience_seconds", "words"), [(PATIENCE_SECONDS, []), (0.0, ["to settle one"])]
)
async def test_a_lock_is_waited_for_and_told_once(
    path: Path, other: sqlite3.Connection, patience_seconds: float, words: list[str]
) -> None:
    """A locked database is waited for, and a long wait is logged once."""
    said: list[str] = []
    polls = Polls(20, lambda: other.execute("COMMIT"))
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO videos (url) VALUES ('theirs')")
    async with Database(
        str(path), dice=polls, now=CLOCK.now, waiting=said.append, patience_seconds=patience_seconds
    ) as database:
        await database.write(
            lambda c: c.execute(text("INSERT INTO videos (url) VALUES ('ours')")), "to settle one"
        )
        assert ["theirs", "ours"] == await database.read(urls)
    assert 20 == polls.count
    assert words == said


async def test_the_word_comes_after_the_patience(url: str, plain: Plain) -> None:
    """A wait is logged once, after the patience has passed, with the name of the waiting work."""
    clock, said = asyncio.get_running_loop(), list[tuple[str, float]]()

    def waiting(purpose: str) -> None:
        said.append((purpose, clock.time()))
        plain.execute("COMMIT")

    plain.lock()
    plain.execute("INSERT INTO videos (url) VALUES ('theirs')")
    async with Database(
        url, dice=lambda: 0.0, now=CLOCK.now, waiting=waiting, patience_seconds=0.05
    ) as database:
        assert [] == await database.read(urls)  # it is connected
        began = clock.time()
        assert ["theirs"] == await database.write(urls, "to settle one")
    ((purpose, at),) = said
    assert "to settle one" == purpose
    assert 0.05 <= at - began


async def test_a_lock_that_comes_in_time_is_no_word(url: str, plain: Plain) -> None:
    """A short wait for the lock is not logged."""
    said: list[str] = []
    plain.lock()
    async with Database(
        url, dice=lambda: 0.0, now=CLOCK.now, waiting=said.append, patience_seconds=60.0
    ) as database:
        writing = asyncio.create_task(database.write(urls, "test"))
        assert [] == await database.read(urls)
        plain.execute("COMMIT")
        await writing
    assert [] == said


async def test_work_that_takes_long_is_no_wait(served: str) -> None:
    """A long transaction of our own is not logged as a wait."""
    said: list[str] = []
    long = text("SELECT pg_sleep(0.3)")
    async with Database(
        served, dice=lambda: 0.0, now=CLOCK.now, waiting=said.append, patience_seconds=0.25
    ) as database:
        await database.write(lambda connection: connection.execute(long), "test")
    assert [] == said


@pytest.mark.parametrize("begin", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
async def test_the_first_use_waits_for_the_lock_too(
    path: Path, other: sqlite3.Connection, begin: str
) -> None:
    """A file that another program holds for itself before it becomes WAL is no error."""
    other.execute("PRAGMA journal_mode=DELETE")
    other.execute(begin)
    polls = Polls(3, lambda: other.execute("COMMIT"))
    async with Database(str(path), dice=polls, now=CLOCK.now, waiting=lambda _: None) as database:
        assert ("wal", 2) == await database.read(pragmas)
    assert 3 == polls.count


async def test_a_file_that_another_program_closes_is_no_error(tmp_path: Path) -> None:
    """A file that another program closes at the same time can be read."""
    looking = (
        "import os, sqlite3, sys\nfrom contextlib import closing, suppress\nnumber = 0\n"
        "while True:\n"
        "    number += os.path.exists(f'{sys.argv[1]}/{number + 1}.db')\n"
        "    with suppress(sqlite3.OperationalError):\n"
        "        path = f'file:{sys.argv[1]}/{number}.db?mode=rw'\n"
        "        with closing(sqlite3.connect(path, uri=True)) as other:\n"
        "            other.execute('SELECT * FROM sqlite_schema').fetchall()\n"
    )
    command = (sys.executable, "-c", looking, str(tmp_path))
    lookers = [await asyncio.create_subprocess_exec(*command) for _ in range(3)]
    try:
        for number in range(200):
            path = tmp_path / f"{number}.db"
            async with Database(
                str(path), dice=lambda: 0.5, now=CLOCK.now, waiting=print
            ) as database:
                assert await database.read(schema_of) is None
    finally:
        for looker in lookers:
            looker.kill()
            await looker.wait()


async def test_another_process_is_waited_for(path: Path) -> None:
    """The lock is one of the file, not of this process."""
    holding = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN IMMEDIATE'); "
        "c.execute(\"INSERT INTO videos (url) VALUES ('theirs')\"); "
        "print(flush=True); sys.stdin.readline(); c.execute('COMMIT'); c.close()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", holding, str(path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()
    polls = Polls(2, process.stdin.close)
    async with Database(str(path), dice=polls, now=CLOCK.now, waiting=lambda _: None) as database:
        assert ["theirs"] == await database.write(urls, "test")
    assert 2 <= polls.count
    assert 0 == await process.wait()


async def test_readers_do_not_wait_for_a_writer(url: str, plain: Plain) -> None:
    """A reader is not held up by a writer."""
    plain.lock()
    plain.execute("INSERT INTO videos (url) VALUES ('theirs')")
    polls = Polls(1, lambda: None)
    async with Database(url, dice=polls, now=CLOCK.now, waiting=lambda _: None) as database:
        assert [] == await asyncio.wait_for(database.read(urls), 5)
    assert 0 == polls.count


async def test_our_readers_do_not_wait_for_our_writer(url: str, plain: Plain) -> None:
    """While this process waits for the lock, it can still look."""
    locked = asyncio.Event()
    plain.lock()
    async with Database(
        url,
        dice=lambda: 0.0,
        now=CLOCK.now,
        waiting=lambda _: locked.set(),
        patience_seconds=0.05,
    ) as database:
        writing = asyncio.create_task(database.write(urls, "test"))
        await locked.wait()
        assert [] == await asyncio.wait_for(database.read(urls), 5)
        assert not writing.done()
        plain.execute("COMMIT")
        assert [] == await writing


async def test_transactions_of_two_workers_do_not_mix(url: str, database: Database) -> None:
    """A write transaction's reads hold until it has written. Of two that both count and add, none
    counts the other's row.
    """

    def add_next(connection: Connection) -> None:
        count = len(urls(connection))
        connection.execute(text("INSERT INTO videos (url) VALUES (:url)"), {"url": f"u{count}"})

    async with open_database(url) as other:
        await asyncio.gather(*(each.write(add_next, "test") for each in (database, other) * 10))
    assert [f"u{number}" for number in range(20)] == await database.read(urls)


async def test_transactions_of_one_process_take_turns(database: Database) -> None:
    """Tasks that write at the same time do not mix into one transaction."""
    await asyncio.gather(*(add(database, f"u{number}") for number in range(5)))
    assert [f"u{number}" for number in range(5)] == sorted(await database.read(urls))


def _as_it_is(path: Path) -> Path:
    return path


def _absent(path: Path) -> Path:
    return path.parent / "absent" / "videos.db"


def _folder(path: Path) -> Path:
    return path.parent


def _letter(path: Path) -> Path:
    path.write_text("This is a letter, and no database at all. " * 100)
    return path


def _from_the_future(path: Path) -> Path:
    """Make a file whose head says that only newer programs may write it."""
    content = bytearray(path.read_bytes())
    content[18] = 3
    path.write_bytes(content)
    return path


def _torn(path: Path) -> Path:
    """Make a file of which only the first page is intact."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xaa" * (len(content) - 4096))
    return path


def write(connection: Connection) -> None:
    """Write a little."""
    connection.execute(text("INSERT INTO videos (url) VALUES ('u')"))


def look_elsewhere(connection: Connection) -> None:
    """Ask for what is not there."""
    connection.execute(text("SELECT * FROM elsewhere"))


def fill(connection: Connection) -> None:
    """Write more than the file may grow by."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    connection.exec_driver_sql(
        "INSERT INTO videos (url, title) VALUES ('u', hex(randomblob(100000)))"
    )


@pytest.mark.parametrize(
    ("broken", "work", "remedy"),
    [
        (_absent, urls, "it cannot be opened: check the path, its folder and its permissions"),
        (_folder, urls, "it cannot be opened: check the path, its folder and its permissions"),
        (_letter, urls, "it is no SQLite database: name another file, or restore a backup"),
        (_from_the_future, write, "it is read-only: check the owner and the mode of the file"),
        (_torn, urls, "it is damaged: restore a backup"),
        (_as_it_is, fill, "the disk is full: make room"),
        (_as_it_is, look_elsewhere, "cannot be used: no such table: elsewhere"),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_in_a_sentence(
    path: Path, broken: Callable[[Path], Path], work: Callable[[Connection], object], remedy: str
) -> None:
    """The user reads which file it is and what to do, and no traceback."""
    path = broken(path)
    async with open_database(path) as database:
        for _ in range(2):
            with pytest.raises(DatabaseProblem) as raised:
                await database.write(work, "test")
            assert remedy in str(raised.value)
            assert str(raised.value).startswith(f"database {path}")


@pytest.mark.parametrize(
    ("part", "value", "kind", "remedy"),
    [
        ("database", "nowhere", DatabaseProblem, "there is no such database: make it with CREATE"),
        ("username", "nobody", DatabaseProblem, "it refuses the user or the password: correct"),
        ("host", "/nowhere", Unreachable, "cannot be reached: start it, or correct database_url"),
        ("query", {"port": "1"}, Unreachable, "cannot be reached: start it, or correct"),
    ],
)
async def test_a_server_that_does_not_let_in_is_told_in_a_sentence(
    server: str, part: str, value: object, kind: type[DatabaseProblem], remedy: str
) -> None:
    """The user reads which database it is and what to do, no traceback and no password."""
    address = make_url(server).set(password="s3cret")
    if part == "host":
        address = address.set(query={"host": value})  # type: ignore[dict-item]
    elif part == "query":
        address = address.update_query_dict(value)  # type: ignore[arg-type]
    else:
        address = address.set(**{part: value})  # type: ignore[arg-type]
    async with open_database(address.render_as_string(hide_password=False)) as database:
        for _ in range(2):
            with pytest.raises(DatabaseProblem) as raised:
                await database.write(urls, "test")
            assert kind is type(raised.value)
            assert remedy in str(raised.value)
            assert str(raised.value).startswith(f"database {database.address}")
            assert "s3cret" not in str(raised.value)


async def test_a_wrong_password_is_told_and_not_shown(guarded: str) -> None:
    """A wrong password is reported as such and not shown."""
    address = make_url(guarded).set(password="wr0ng").render_as_string(hide_password=False)
    async with open_database(address) as database:
        with pytest.raises(DatabaseProblem, match="it refuses the user or the password") as raised:
            await database.read(urls)
    assert "wr0ng" not in str(raised.value)
    async with open_database(guarded) as database:
        assert [(1,)] == await database.read(lambda c: c.execute(text("SELECT 1")).all())


async def test_what_a_server_does_not_have_is_told_in_a_sentence(database: Database) -> None:
    """A dropped table is reported without a traceback, and the next transaction works."""
    with pytest.raises(DatabaseProblem, match=r"cannot be used: .*elsewhere"):
        await database.write(look_elsewhere, "test")
    assert [] == await database.write(urls, "test")


async def test_a_user_that_may_only_look_is_told(guarded: str, served: str) -> None:
    """A missing right is reported as one, with the way out."""
    reader = make_url(guarded).username
    execute(served, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")
    async with open_database(guarded) as database:
        assert [] == await database.read(urls)
        with pytest.raises(DatabaseProblem, match="the user may not do this: grant it what"):
            await add(database, "u")


ABSENT = """
import asyncio, sys
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.wiring import CLOCK

async def main():
    async with Database(sys.argv[1], dice=lambda: 0.5, now=CLOCK.now, waiting=print) as database:
        try:
            await database.read(print)
        except DatabaseProblem as problem:
            print(problem)

for _ in range(20):
    asyncio.run(main())
"""


def test_a_program_that_ends_with_the_problem_ends_quietly(tmp_path: Path) -> None:
    """The sentence is all that the user reads: no thread of a driver breaks behind it."""
    run = subprocess.run(
        [sys.executable, "-c", ABSENT, str(tmp_path / "absent" / "videos.db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "" == run.stderr
    assert 20 == run.stdout.count("it cannot be opened")


FULL = """
import asyncio, resource, sys
from sqlalchemy import text
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.wiring import CLOCK

async def main():
    insert = text("INSERT INTO videos (url, title) VALUES ('u', hex(randomblob(:size)))")
    async with Database(sys.argv[1], dice=lambda: 0.5, now=CLOCK.now, waiting=print) as database:
        await database.write(lambda c: c.execute(insert, {"size": 1}), "test")
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        try:
            await database.write(lambda c: c.execute(insert, {"size": 500_000}), "test")
        except DatabaseProblem as problem:
            print(problem)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        count = text("SELECT count(*) FROM videos")
        print(await database.write(lambda c: c.execute(count).scalar(), "test"))

asyncio.run(main())
"""


def test_a_disk_that_takes_no_more_is_told_and_may_heal(path: Path) -> None:
    """A write that the disk refuses keeps nothing, names the file, and is not the end."""
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    problem, count = run.stdout.splitlines()
    assert f"database {path}: the disk reports an error: check the disk and its" in problem
    assert "1" == count


async def test_text_that_is_not_utf_8_is_read_as_surrogates(
    database: Database, other: sqlite3.Connection
) -> None:
    """Law 14: a row of text that is not UTF-8 can be read and recognised."""
    other.execute("INSERT INTO videos (url) VALUES (CAST(X'61FF62' AS TEXT))")
    other.execute("INSERT INTO videos (url) VALUES ('äöü')")
    assert ["a\udcffb", "äöü"] == await database.read(urls)
    assert ["a\udcffb", "äöü"] == await database.write(urls, "test")


async def test_the_data_version_tells_a_foreign_commit(
    database: Database, other: sqlite3.Connection
) -> None:
    """The data version changes with every commit, our own writing side's included."""
    seen = [database.data_version(), database.data_version()]
    other.execute("INSERT INTO videos (url) VALUES ('theirs')")
    seen += [database.data_version(), database.data_version()]
    await add(database, "ours")
    seen += [database.data_version(), database.data_version()]
    assert seen[0::2] == seen[1::2]
    assert 3 == len(set(seen))


async def test_a_look_holds_nothing(database: Database, other: sqlite3.Connection) -> None:
    """The watcher holds no lock: the log can begin anew beside an idle daemon."""
    other.execute("INSERT INTO videos (url) VALUES ('theirs')")
    database.data_version()
    (held, *_) = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not held


async def test_a_look_at_what_is_no_database_is_told(tmp_path: Path) -> None:
    """The cheap look reports a broken file in the same words."""
    async with open_database(tmp_path / "absent" / "videos.db") as database:
        with pytest.raises(DatabaseProblem, match="it cannot be opened"):
            database.data_version()


async def test_a_closed_database_can_be_used_again(path: Path) -> None:
    """Closing gives the files back; it is no end."""
    database = open_database(path)
    await add(database, "u")
    await database.read(urls)
    database.data_version()
    await database.close()
    assert ["videos.db"] == files(path.parent)
    database.data_version()
    assert ["u"] == await database.read(urls)
    await database.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_goes_away_in_use_is_told(path: Path, *, replaced: bool) -> None:
    """Laws 1 and 9: every use fails while the file is away, and no other file is made or used.
    Put back, it is the database again.
    """
    kept, others = path.with_name("kept.db"), path.with_name("others.db")
    shutil.copy(path, others)
    async with open_database(path) as database:

        async def look() -> int:
            return database.data_version()

        await add(database, "u")
        assert ["u"] == await database.read(urls)
        move(path, kept)
        if replaced:
            move(others, path)
        for use in (
            lambda: database.read(urls),
            lambda: database.write(urls, "test"),
            look,
        ):
            with pytest.raises(DatabaseProblem, match="removed or replaced while") as raised:
                await use()
            assert str(path) in str(raised.value)
        assert replaced == (path.name in files(path.parent))
        move(kept, path)
        assert ["u"] == await database.read(urls)


@pytest.mark.parametrize("first", ["look", "write"])
async def test_a_file_that_the_first_use_has_made_is_missed(tmp_path: Path, first: str) -> None:
    """Laws 1 and 9: a file that was not there before its first use is known from then on."""
    path = tmp_path / "videos.db"
    async with open_database(path) as database:
        if first == "look":
            database.data_version()
        else:
            await database.write(schema_of, "test")
        path.unlink()
        with pytest.raises(DatabaseProblem, match="removed or replaced while"):
            database.data_version()


async def test_a_file_that_goes_away_while_it_is_opened_is_told(tmp_path: Path) -> None:
    """Laws 1 and 9: a file without a name, in which no other program looks, is not used."""
    path = tmp_path / "videos.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE videos (url)")
        other.execute("BEGIN EXCLUSIVE")  # which the one that opens the file waits for

        def dice() -> float:
            if path.exists():
                path.unlink()
                other.execute("ROLLBACK")
            return 0.0

        async with Database(str(path), dice=dice, now=CLOCK.now, waiting=print) as database:
            for _ in range(2):
                with pytest.raises(DatabaseProblem, match="removed or replaced while"):
                    await database.read(schema_of)
            with pytest.raises(DatabaseProblem, match="removed or replaced while"):
                database.data_version()
    assert [] == files(tmp_path)


async def test_a_log_that_is_deleted_in_use_is_told_and_saved(path: Path) -> None:
    """Laws 1 and 9: the next use fails once, and what was committed is in the file."""
    async with open_database(path) as database:
        await add(database, "u")
        path.with_name("videos.db-wal").unlink()
        with pytest.raises(LogLostError, match="was deleted or replaced: videos in flight"):
            await database.write(urls, "test")
        assert ["u"] == await database.read(urls)


@pytest.mark.parametrize("name", ["a?b.db", "a%20b.db", "a#b.db", "a b@c:d.db", "ä.db"])
async def test_a_path_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    """No sign in a file's name leads to another file."""
    async with open_database(tmp_path / name) as database:
        await database.write(lambda c: c.execute(text("CREATE TABLE t (x)")), "test")
    assert [name] == files(tmp_path)


HERE = Path.cwd()


@pytest.mark.parametrize(
    ("statement", "revision", "problem"),
    [
        ("UPDATE alembic_version SET version_num = version_num", SCHEMA, None),
        (
            "DROP TABLE alembic_version",
            None,
            "has no tables of this program: run valossa-ingest migrate",
        ),
        (
            "DELETE FROM alembic_version",
            None,
            "has no tables of this program: run valossa-ingest migrate",
        ),
        (
            "UPDATE alembic_version SET version_num = '0000'",
            "0000",
            f"has schema 0000, this program needs {SCHEMA}: run valossa-ingest migrate",
        ),
        (
            "UPDATE alembic_version SET version_num = '9999'",
            "9999",
            f"has schema 9999, newer than this program's {SCHEMA}: install the newer program",
        ),
    ],
)
@pytest.mark.usefixtures("remade")
async def test_another_schema_is_told_with_the_way_out(
    database: Database, statement: str, revision: str | None, problem: str | None
) -> None:
    """No program works on tables that it does not know."""
    await database.write(lambda connection: connection.execute(text(statement)), "test")
    assert revision == await database.read(schema_of)
    assert problem == await database.read(schema_problem)


async def test_an_empty_database_has_no_tables(new: str) -> None:
    """A database that was never migrated is reported as such."""
    async with open_database(new) as database:
        problem = await database.read(schema_problem)
    assert "has no tables of this program: run valossa-ingest migrate" == problem
