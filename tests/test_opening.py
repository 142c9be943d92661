import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.conftest import HOUR, database_of_an_hour_ago, open_database
from tests.parts import add, row
from tests.plain import execute
from worker import opening
from worker.db.address import DatabaseProblem, File, address_of
from worker.db.database import Database, schema_problem
from worker.db.schema import SCHEMA, videos
from worker.settings import Key, Settings
from worker.store import relocation
from worker.wiring import CLOCK

KEY = Key("demo-key", "a test")


def settings(url: Path | str, **values: object) -> Settings:
    """Return settings on one database."""
    return Settings(database_url=str(url), **values)  # type: ignore[arg-type]


def set_schema(url: Path | str, revision: str) -> None:
    """Make the database look as if another version of the program had made it."""
    execute(str(url), "UPDATE alembic_version SET version_num = ?", revision)


async def test_the_database_that_is_there_is_opened(path: Path) -> None:
    """A migrated database can be used as it is, by a bare path or by a URL."""
    for spelled in (str(path), f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}"):
        async with opening.existing_database(Settings(database_url=spelled)) as database:
            assert str(path) == str(database.address)
            assert 0 == await database.read(lambda c: c.scalar(select(func.count(videos.c.id))))


async def test_a_missing_database_is_named_and_not_made(tmp_path: Path) -> None:
    """A cron job in the wrong folder learns the absolute path that it missed; no file is left."""
    path = tmp_path / "missing.db"
    with pytest.raises(DatabaseProblem) as caught:
        async with opening.existing_database(settings(path)):
            raise AssertionError
    expected = (
        f"no database at {path}: run valossa-ingest migrate to make one, or name another with "
        "--database or WORKER_DATABASE_URL"
    )
    assert expected == str(caught.value)
    assert [] == os.listdir(tmp_path)  # noqa: PTH208 - a look at it afterwards


@pytest.mark.usefixtures("remade")
@pytest.mark.parametrize(
    ("revision", "problem"),
    [
        ("0000", f"has schema 0000, this program needs {SCHEMA}: run valossa-ingest migrate"),
        (
            "9999",
            f"has schema 9999, newer than this program's {SCHEMA}: install the newer program",
        ),
    ],
)
async def test_another_schema_is_refused_with_the_way_out(
    url: str, revision: str, problem: str
) -> None:
    """No program works on tables that it does not know, also where it would make missing ones."""
    set_schema(url, revision)
    for opened in (opening.existing_database, opening.made_database):
        with pytest.raises(DatabaseProblem) as caught:
            async with opened(settings(url)):
                raise AssertionError
        assert f"database {address_of(url)} {problem}" == str(caught.value)


async def test_a_change_sees_a_mark_that_came_after_the_opening(path: Path) -> None:
    """A change is refused if the queue has moved since it was opened."""
    async with opening.existing_database(settings(path)) as database:
        assert 1 == await opening.change(database, lambda *_: 1, "test")
        await database.write(lambda c: relocation.mark(c, "sqlite:///b.db"), "test")
        with pytest.raises(DatabaseProblem, match="has moved to sqlite:///b"):
            await opening.change(database, lambda *_: 1, "test")


async def test_a_change_goes_by_the_time_of_its_queue(path: Path) -> None:
    """A change works by the queue's time, however wrong this machine's clock is."""
    async with database_of_an_hour_ago(path) as database:
        seen = await opening.change(database, lambda _, now: now, "test")
    assert abs(seen + HOUR - CLOCK.now()) < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("/x/videos.db", "sqlite:////x/videos.db"),
        ("sqlite+aiosqlite:////x/videos.db", "sqlite:////x/videos.db"),
        ("postgresql+asyncpg://me:pw@host:5/db?password=pw", "postgresql://me@host:5/db"),
    ],
)
def test_a_database_is_named_without_its_password(url: str, told: str) -> None:
    """Law 11: a database's name has no password."""
    assert told == opening.shown(url)


def test_a_url_that_cannot_be_read_is_not_quoted() -> None:
    """A URL that cannot be read is not quoted with its password."""
    with pytest.raises(DatabaseProblem) as caught:
        opening.shown("postgresql://me:pa/ss@host:port/db")
    assert "cannot be read: write sqlite:///videos.db or a path" in str(caught.value)
    assert "pa/ss" not in str(caught.value)


async def test_a_missing_database_can_be_made(tmp_path: Path) -> None:
    """``add`` and ``import`` are a newcomer's first commands: they need none before them."""
    path = tmp_path / "new.db"
    async with opening.made_database(settings(path)) as database:
        assert await database.read(schema_problem) is None
        await add(database, "https://example.org/a.mp4")
    async with opening.made_database(settings(path)) as database:
        assert "https://example.org/a.mp4" == (await row(database, 1))["url"]


async def test_an_empty_database_of_a_server_is_filled(bare: str) -> None:
    """``add`` and ``import`` are a newcomer's first commands there too."""
    for _ in range(2):
        async with opening.made_database(settings(bare)) as database:
            await add(database, "https://example.org/a.mp4")
    async with opening.existing_database(settings(bare)) as database:
        assert 2 == await database.read(lambda c: c.scalar(select(func.count(videos.c.id))))


async def test_an_empty_file_becomes_a_database_only_by_migrate(tmp_path: Path) -> None:
    """An empty file that another program made is filled only by ``migrate``."""
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(DatabaseProblem) as caught:
        async with opening.made_database(settings(path)):
            raise AssertionError
    expected = f"database {path} has no tables of this program: run valossa-ingest migrate"
    assert expected == str(caught.value)
    assert b"" == path.read_bytes()
    await opening.migrate(settings(path))
    async with opening.existing_database(settings(path)) as database:
        assert await database.read(schema_problem) is None


@pytest.mark.parametrize("opened", [opening.existing_database, opening.readable_database])
async def test_a_copy_without_its_log_gets_one_when_it_is_opened(
    path: Path, opened: Callable[[Settings], AbstractAsyncContextManager[Database]]
) -> None:
    """Law 1: a backup in rollback mode comes into WAL, also by a command that only reads."""
    copy = path.with_name("copy.db")
    execute(str(path), "VACUUM INTO ?", str(copy))
    assert [("delete",)] == execute(str(copy), "PRAGMA journal_mode")
    async with opened(settings(copy)):
        assert [("wal",)] == execute(str(copy), "PRAGMA journal_mode")


async def test_migrate_can_be_repeated(url: str) -> None:
    """A deployment that migrates at every start loses nothing."""
    async with open_database(url) as database:
        await add(database, "https://example.org/a.mp4")
        before = await row(database, 1)
        await opening.migrate(settings(url))
        assert before == await row(database, 1)


@pytest.mark.usefixtures("remade")
async def test_migrate_touches_no_newer_schema(url: str) -> None:
    """An old program that is started by mistake does not take a newer database down."""
    set_schema(url, "9999")
    with pytest.raises(DatabaseProblem, match="newer than this program's"):
        await opening.migrate(settings(url))
    assert [("9999",)] == execute(url, "SELECT * FROM alembic_version")


@pytest.mark.parametrize("opened", [opening.existing_database, opening.made_database])
async def test_a_path_that_cannot_be_asked_for_is_a_problem(
    tmp_path: Path, opened: Callable[[Settings], AbstractAsyncContextManager[Database]]
) -> None:
    """A name too long for the disk is a sentence, not a traceback."""
    path = tmp_path / (300 * "a")
    with pytest.raises(DatabaseProblem) as caught:
        async with opened(settings(path)):
            raise AssertionError
    assert f"database {path}: File name too long: name another with --database" == str(caught.value)


CHECK = "it cannot be opened: check the path, its folder and its permissions"
ANOTHER = "name another with --database"
OPENED = (opening.existing_database, opening.readable_database, opening.made_database)


async def _opened(
    opened: Callable[[Settings], AbstractAsyncContextManager[Database]], settings: Settings
) -> str:
    """Return why a database is not opened."""
    with pytest.raises(DatabaseProblem) as caught:
        async with opened(settings):
            raise AssertionError
    return str(caught.value)


async def test_a_path_that_the_system_refuses_is_a_sentence(tmp_path: Path) -> None:
    """A folder, a file in the way, a loop or an end of links is named for what it is, and nothing
    is made.
    """
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone" / "v.db")
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208 - a look at it
    for path, reason in (
        (tmp_path, f"{CHECK} (it is no file)"),
        (Path(os.devnull), f"{CHECK} (it is no file)"),
        (tmp_path / "file" / "v.db", f"Not a directory: {ANOTHER}"),
        (tmp_path / "loop", f"Too many levels of symbolic links: {ANOTHER}"),
        (tmp_path / "dangling", f"No such file or directory: {ANOTHER}"),
        (tmp_path / (300 * "a"), f"File name too long: {ANOTHER}"),
    ):
        for opened in OPENED:
            found = await _opened(opened, settings(path))
            assert f"database {path}: {reason}" == found
        with pytest.raises(DatabaseProblem, match=re.escape(reason)):
            await opening.migrate(settings(path))
    assert before == sorted(os.listdir(tmp_path))  # noqa: PTH208 - likewise


async def test_a_file_with_two_names_is_only_looked_at(path: Path) -> None:
    """A file with a hard link is refused for work, migrated or moved no more; a look may go on."""
    os.link(path, path.with_name("link.db"))
    for opened in (opening.existing_database, opening.made_database):
        assert "has 2 names (hard links)" in await _opened(opened, settings(path))
    with pytest.raises(DatabaseProblem, match="has 2 names"):
        await opening.migrate(settings(path))
    other = path.with_name("other.db")
    for source, target in ((path, other), (other, path)):
        with pytest.raises(DatabaseProblem, match="has 2 names"):
            await opening.move(settings(path), str(source), str(target), "test", print)
    assert not other.exists()
    async with opening.readable_database(settings(path)) as database:
        assert await database.read(schema_problem) is None


@pytest.mark.parametrize(
    ("name", "statements"),
    [
        (
            "alembic_version",
            (
                "CREATE TABLE alembic_version (version_num TEXT)",
                "INSERT INTO alembic_version VALUES ('ae1027a6acf')",
            ),
        ),
        (
            "alembic_version",  # which begins with digits as ours do
            (
                "CREATE TABLE alembic_version (version_num TEXT)",
                "INSERT INTO alembic_version VALUES ('0001')",
            ),
        ),
        (
            "alembic_version",
            (
                "CREATE TABLE alembic_version (version_num INTEGER)",
                "INSERT INTO alembic_version VALUES (7)",
            ),
        ),
        ("alembic_version", ("CREATE TABLE alembic_version (release TEXT)",)),
        ("videos", ("CREATE TABLE videos (id INTEGER, url TEXT, title TEXT, state TEXT)",)),
        ("videos", ("CREATE VIEW videos AS SELECT 1 AS id",)),
        (
            "videos",
            (
                "CREATE TABLE videos (id INTEGER, url TEXT)",
                "CREATE TABLE alembic_version (version_num TEXT)",
                "INSERT INTO alembic_version VALUES ('0006')",
            ),
        ),
        ("account", ("CREATE TABLE account (id INTEGER, name TEXT, email TEXT)",)),
        ("history", ("CREATE TABLE history (id INTEGER, what TEXT)",)),
    ],
)
async def test_the_tables_of_another_program_are_told_and_left_alone(
    new: str, name: str, statements: Sequence[str]
) -> None:
    """A table that another program has made is named with the way out by every kind of opening,
    and its file stays as it is.
    """
    for statement in statements:
        execute(new, statement)
    before = _bytes_of(new)
    expected = f"database {address_of(new)} has a table {name} that another program has made: "
    for opened in OPENED:
        assert (await _opened(opened, settings(new))).startswith(expected)
    with pytest.raises(DatabaseProblem, match="name a database of its own"):
        await opening.migrate(settings(new))
    assert before == _bytes_of(new)
    async with open_database(new) as database:
        assert name in str(await database.read(schema_problem))


def _bytes_of(url: str) -> bytes | None:
    """Return a file as it is on disk; None for a database of a server."""
    address = address_of(url)
    return address.path.read_bytes() if isinstance(address, File) else None


async def test_a_schema_of_its_own_is_a_database_of_its_own(bare: str) -> None:
    """The way out that is named for a server keeps the queue beside the tables of others."""
    execute(bare, "CREATE TABLE videos (id INTEGER, url TEXT)")
    execute(bare, "CREATE SCHEMA videos")
    own = f"{bare}&search_path=videos" if "?" in bare else f"{bare}?search_path=videos"
    await opening.migrate(settings(own))
    async with opening.made_database(settings(own)) as database:
        await add(database, "https://example.org/a.mp4")
        assert 1 == await database.read(lambda c: c.scalar(select(func.count(videos.c.id))))
    assert "search_path=videos" in opening.shown(own)
    assert [] == execute(bare, "SELECT * FROM public.videos")
