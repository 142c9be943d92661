import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from tests.conftest import open_database
from worker import migrate
from worker.db import Database, DatabaseProblem, schema_problem
from worker.tables import SCHEMA, metadata

MIGRATIONS = Path(__file__).parent.parent / "migrations"


def names(path: Path) -> set[str]:
    """What a file holds beside SQLite's own."""
    with closing(sqlite3.connect(path)) as plain:
        rows = plain.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
        return {name for (name,) in rows}


def schema(connection: Connection) -> dict[str, str]:
    """Each table and index with the SQL that made it, and with no more space than needed."""
    rows = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'"
    )
    return {name: _normalised(sql) for name, sql in rows}


def _normalised(sql: str) -> str:
    spaced = re.sub(r"\s+", " ", sql).strip()
    return re.sub(r"\s*([(),])\s*", r"\1", spaced)


async def test_up_from_nothing_down_to_nothing_and_up_again(tmp_path: Path) -> None:
    """Every revision can be taken and taken back."""
    path = tmp_path / "new.db"
    tables = {"videos", "history", "account"}
    async with open_database(path) as database:
        await migrate.upgrade(database)
        first = names(path)
        assert tables | {"alembic_version"} <= first
        assert await database.read(schema_problem) is None
        await migrate.downgrade(database, "base")
        assert {"alembic_version"} == names(path)
        problem = await database.read(schema_problem)
        assert problem is not None
        assert "run valossa-ingest migrate" in problem
        await migrate.upgrade(database)
        assert first == names(path)
        assert await database.read(schema_problem) is None


def test_there_is_one_head_and_the_program_works_on_it() -> None:
    """The revisions are one line that ends where the program's tables are."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert [SCHEMA] == script.get_heads()
    assert [None] == [r.down_revision for r in script.walk_revisions() if r.is_base]


def test_files_are_numbered_as_their_revisions() -> None:
    """The folder shows the revisions in their order."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    revisions = list(ScriptDirectory.from_config(config).walk_revisions("base", "heads"))
    files = sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))
    assert [f"{n:04}" for n in range(1, len(files) + 1)] == [name[:4] for name in files]
    assert [name[:4] for name in files] == sorted(revision.revision for revision in revisions)
    assert [] == [name for name in files if not re.fullmatch(r"\d{4}_[a-z0-9_]+\.py", name)]


async def test_migrated_and_declared_tables_are_the_same(database: Database) -> None:
    """The tables that the program believes in are those that it makes, to the last CHECK."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        declared = schema(connection)
    engine.dispose()
    migrated = await database.read(schema)
    assert sorted(declared) == sorted(migrated)
    for name, sql in declared.items():
        assert sql == migrated[name]


async def test_an_upgrade_of_what_is_up_to_date_changes_nothing(path: Path) -> None:
    """Whoever runs ``migrate`` at each start loses nothing by it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("INSERT INTO videos (url) VALUES ('u')")
        before = list(plain.iterdump())
        async with open_database(path) as database:
            await migrate.upgrade(database)
        assert before == list(plain.iterdump())


async def test_an_upgrade_that_fails_leaves_nothing_half_made(tmp_path: Path) -> None:
    """After a failure in the middle the file is as it was, with other people's tables in it."""
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("CREATE TABLE account (balance INTEGER)")
        before = list(plain.iterdump())
        async with open_database(path) as database:
            with pytest.raises(DatabaseProblem, match="table account already exists"):
                await migrate.upgrade(database)
            assert before == list(plain.iterdump())
            plain.execute("DROP TABLE account")
            await migrate.upgrade(database)
            assert await database.read(schema_problem) is None


async def test_a_revision_that_nobody_knows_is_named(path: Path) -> None:
    """A file that something else has marked is left as it is, and the way out is said."""
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("UPDATE alembic_version SET version_num = '0000'")
        before = list(plain.iterdump())
        async with open_database(path) as database:
            with pytest.raises(DatabaseProblem, match=re.escape(str(path))) as told:
                await migrate.upgrade(database)
        assert before == list(plain.iterdump())
    assert "'0000'" in str(told.value)
    assert str(told.value).endswith(": restore a backup")


async def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A folder that is not there is told as such, with the path that was meant."""
    path = tmp_path / "absent" / "videos.db"
    async with open_database(path) as database:
        with pytest.raises(DatabaseProblem, match=re.escape(str(path))):
            await migrate.upgrade(database)
