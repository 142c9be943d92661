import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select

from tests.conftest import open_database
from tests.parts import add
from tests.plain import execute
from worker.db import migrate
from worker.db.address import DatabaseProblem
from worker.db.database import Database, schema_of, schema_problem
from worker.db.schema import SCHEMA, jobs, metadata

MIGRATIONS = Path(__file__).parents[2] / "migrations"


async def downgrade(database: Database, revision: str) -> None:
    """Take the database down to a revision ("base" for nothing) in one transaction."""
    await database.write(lambda c: command.downgrade(migrate.config_of(c), revision), "migrate")


COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity,
       identity_generation
FROM information_schema.columns WHERE table_schema = current_schema()
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
"""
INDEXES = (
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
)
TRIGGERS = """
SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
FROM pg_trigger WHERE NOT tgisinternal
"""
FUNCTIONS = """
SELECT '', proname, prosrc FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
"""


def catalogue(connection: Connection) -> dict[str, tuple[object, ...]]:
    """Everything that is made in a schema of PostgreSQL."""
    return {
        f"{each[0]}.{each[1]}": tuple(each[2:])
        for query in (COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS, FUNCTIONS)
        for each in connection.exec_driver_sql(query)
    }


def schema(connection: Connection) -> dict[str, object]:
    """Return everything made in the database with its definition: for a file, the SQL without extra
    space.
    """
    if connection.dialect.name == "postgresql":
        return dict(catalogue(connection))
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: _normalised(sql) for name, sql in rows if not name.startswith("sqlite_")}


def _normalised(sql: str) -> str:
    spaced = re.sub(r"\s+", " ", sql).strip()
    return re.sub(r"\s*([(),])\s*", r"\1", spaced)


def content(connection: Connection) -> list[object]:
    """Return the rows of the tables."""
    tables = ("videos", "history", "account", "workers", "pruned", "alembic_version")
    return [connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in tables]


def ours(found: dict[str, object]) -> dict[str, object]:
    """Without the mark that alembic leaves."""
    return {name: made for name, made in found.items() if not name.startswith("alembic_version")}


async def test_up_from_nothing_down_to_nothing_and_up_again(new: str) -> None:
    """Every revision can be taken and taken back."""
    tables = {
        "videos",
        "history",
        "account",
        "workers",
        "pruned",
        "jobs",
        "hosts",
        "results",
        "uploads",
    }
    async with open_database(new) as database:
        await migrate.upgrade(database)
        first = await database.read(schema)
        assert tables <= {name.split(".")[0] for name in first}
        assert await database.read(schema_problem) is None
        await downgrade(database, "base")
        assert {} == ours(await database.read(schema))
        problem = await database.read(schema_problem)
        assert problem is not None
        assert "run valossa-ingest migrate" in problem
    async with open_database(new) as database:
        await migrate.upgrade(database)
        assert first == await database.read(schema)
        assert await database.read(schema_problem) is None


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005", "0006", "0007"])
async def test_each_revision_takes_back_what_it_made(new: str, revision: str) -> None:
    """A step down takes back everything that the steps up made."""
    async with open_database(new) as database:
        await migrate.upgrade(database, revision)
        before = await database.read(schema)
        await migrate.upgrade(database)
        await downgrade(database, revision)
        assert before == await database.read(schema)


async def test_links_that_are_there_are_known_without_their_signature(new: str) -> None:
    """An upgrade to 0005 fills in the unsigned form of signed links, and leaves other rows."""
    signed = "https://e.org/{}.mp4?Signature=S&Expires=1"
    async with open_database(new) as database:
        await migrate.upgrade(database)
        await downgrade(database, "0004")
        urls = [signed.format(number) for number in range(1_001)]
        for url in (*urls, "https://e.org/a?v=1", "https://e.org/b", "no link?"):
            execute(new, "INSERT INTO videos (url) VALUES (?)", url)
        await migrate.upgrade(database)
        found = execute(new, "SELECT unsigned_url FROM videos ORDER BY id")
    assert [(url.partition("?")[0],) for url in urls] + [(None,)] * 3 == found


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


WAKING = {
    "account.account_freed",
    "videos.videos_added",
    "videos.videos_due_again",
    ".valossa_ingest_wake",
    ".valossa_ingest_bought",
    "videos.videos_job_inserted",
    "videos.videos_job_updated",
    ".valossa_ingest_job",
    "videos.videos_job_brought",
    "videos.videos_job_made",
    ".valossa_ingest_mended",
    "videos.videos_link_mended",
}
"""The things that only a server has and only the migrations make, beside its table ``commits``."""

NORMALISING = {
    *("videos_due_at_inserted", "videos_due_at_updated"),
    *("videos_job_inserted", "videos_job_came", "videos_job_went"),
    *("videos_job_brought", "videos_job_made", "videos_link_mended"),
}
"""The triggers that bring a ``due_at`` into SQLite's one form, count second jobs, give each job its
row, and let a corrected link go.
"""


async def test_migrated_and_declared_tables_are_the_same(
    database: Database, new: str, dialect: str
) -> None:
    """The tables that the program believes in are those that it makes, to the last CHECK: columns,
    types, defaults, constraints and indexes.
    """
    async with open_database(new) as other:
        await other.write(metadata.create_all, "test")
        declared = await other.read(schema)
    migrated = ours(await database.read(schema))
    more = {name for name in migrated.keys() - declared.keys() if not name.startswith("commits")}
    assert (WAKING if dialect == "postgresql" else NORMALISING) == more
    assert declared == {name: migrated.get(name) for name in declared}


async def test_an_upgrade_counts_the_jobs_of_addresses_that_have_several(new: str) -> None:
    """Law 17: jobs from before the count are counted by the upgrade, beyond one an address."""
    async with open_database(new) as database:
        await migrate.upgrade(database, "0004")
        for url, job in (("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("c", "5"), ("c", None)):
            state = "failed" if job is None else "submitted"
            sql = "INSERT INTO videos (url, state, job_id) VALUES (?, ?, ?)"
            execute(new, sql, url, state, job)
        await migrate.upgrade(database)
        assert [(2,)] == execute(new, "SELECT bought_twice FROM account")


async def test_an_upgrade_follows_the_jobs_that_are_there(new: str) -> None:
    """Jobs from before the table are in it after the upgrade, to be asked about by and by."""
    async with open_database(new) as database:
        await migrate.upgrade(database, "0006")
        for url, job in (("a", "1"), ("b", None), ("c", "2")):
            state = "pending" if job is None else "submitted"
            execute(
                new, "INSERT INTO videos (url, state, job_id) VALUES (?, ?, ?)", url, state, job
            )
        await migrate.upgrade(database)
        found = "SELECT job_id, video_id, next_poll_at, ended_as FROM jobs ORDER BY job_id"
        assert [("1", 1, None, None), ("2", 3, None, None)] == execute(new, found)
        ((secret,),) = execute(new, "SELECT callback_secret FROM account")
        assert re.fullmatch("[0-9a-f]{64}", str(secret))


async def test_each_job_has_a_row_whoever_writes_its_id(new: str) -> None:
    """A job that comes to a video is asked about after a while; one that comes with it, later."""
    async with open_database(new) as database:
        await migrate.upgrade(database)
        execute(new, "INSERT INTO videos (url, state, job_id) VALUES ('a', 'submitted', '1')")
        execute(new, "INSERT INTO videos (url, claims) VALUES ('b', 3)")
        made = (
            "UPDATE videos SET job_id = '2', state = 'submitted', "
            "submitted_at = '2026-01-01 08:00:00' WHERE id = 2"
        )
        execute(new, made)
        found = execute(new, "SELECT job_id, video_id, attempt FROM jobs ORDER BY job_id")
        assert [("1", 1, 0), ("2", 2, 3)] == found
        due = {*await database.read(lambda c: c.scalars(select(jobs.c.next_poll_at)).all())}
        assert {None, datetime(2026, 1, 1, 8, 1, tzinfo=UTC)} == due
        execute(new, "UPDATE videos SET job_id = NULL, state = 'pending' WHERE id = 2")
        execute(new, made)
        assert [(2,)] == execute(new, "SELECT count(*) FROM jobs")


async def test_a_corrected_link_leaves_the_brake_of_its_host(new: str) -> None:
    """A held row is due as soon as anybody gives it another link; the same link leaves it held."""
    async with open_database(new) as database:
        await migrate.upgrade(database)
        later = (
            "INSERT INTO videos (url, held_host, due_at) VALUES (?, 'e.org', '2090-01-01 00:00:00')"
        )
        for url in ("https://e.org/a", "https://e.org/b"):
            execute(new, later, url)
        execute(new, "UPDATE videos SET url = replace(url, '/a', '/c')")
        held = "SELECT url, held_host FROM videos WHERE due_at < '2090-01-01' OR id = 2 ORDER BY id"
        assert [("https://e.org/c", None), ("https://e.org/b", "e.org")] == execute(new, held)


async def test_an_upgrade_of_what_is_up_to_date_changes_nothing(database: Database) -> None:
    """An upgrade of an up-to-date database changes nothing."""
    await add(database, "u")
    before = [await database.read(schema), await database.read(content)]
    await migrate.upgrade(database)
    assert before == [await database.read(schema), await database.read(content)]


async def test_an_upgrade_that_fails_leaves_nothing_half_made(new: str) -> None:
    """After a failure in the middle the database is as it was, with other people's tables in it."""
    execute(new, "CREATE TABLE account (balance INTEGER)")
    async with open_database(new) as database:
        before = await database.read(schema)
        with pytest.raises(DatabaseProblem, match=r"account\W* already exists"):
            await migrate.upgrade(database)
        assert before == await database.read(schema)
        execute(new, "DROP TABLE account")
        await migrate.upgrade(database)
        assert await database.read(schema_problem) is None


@pytest.mark.usefixtures("remade")
async def test_an_upgrade_that_fails_late_leaves_nothing_half_made(
    url: str, database: Database
) -> None:
    """Of several revisions all are taken or none: a worker of the version before can go on."""
    await add(database, "u")
    await downgrade(database, "0001")
    execute(url, "CREATE TABLE workers (name TEXT)")
    before = await database.read(schema)
    async with open_database(url) as another:
        with pytest.raises(DatabaseProblem, match=r"workers\W* already exists"):
            await migrate.upgrade(another)
        assert (before, "0001") == (await another.read(schema), await another.read(schema_of))
        execute(url, "DROP TABLE workers")
        await migrate.upgrade(another)
    assert ["u"] == await database.read(
        lambda c: c.exec_driver_sql("SELECT url FROM videos").scalars().all()
    )


async def test_two_programs_that_make_one_database_make_it_once(new: str) -> None:
    """Two programs that migrate at once both succeed."""
    async with open_database(new) as first, open_database(new) as second:
        await asyncio.gather(migrate.upgrade(first), migrate.upgrade(second))
        assert await first.read(schema_problem) is None


@pytest.mark.usefixtures("remade")
async def test_a_revision_that_nobody_knows_is_named(url: str, database: Database) -> None:
    """A database with an unknown revision is left as it is, and the error says the way out."""
    execute(url, "UPDATE alembic_version SET version_num = '0000'")
    before = [await database.read(schema), await database.read(content)]
    with pytest.raises(DatabaseProblem, match=re.escape(str(database.address))) as told:
        await migrate.upgrade(database)
    assert before == [await database.read(schema), await database.read(content)]
    assert "'0000'" in str(told.value)
    assert str(told.value).endswith(": restore a backup")


async def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A missing folder is reported with the path that was meant."""
    path = tmp_path / "absent" / "videos.db"
    async with open_database(path) as database:
        with pytest.raises(DatabaseProblem, match=re.escape(str(path))):
            await migrate.upgrade(database)
