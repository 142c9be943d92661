import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.conftest import open_database
from tests.parts import add, facts, row
from worker import wiring
from worker.core.decide import Policy
from worker.core.request import Defaults
from worker.db import DatabaseProblem, schema_problem
from worker.orders import End, Orders, Tally
from worker.settings import Key, Settings
from worker.simulator import Options, Simulator
from worker.tables import SCHEMA, videos
from worker.turn import Terms

KEY = Key("demo-key", "a test")


def settings(path: Path, **values: object) -> Settings:
    """Settings on one database file."""
    return Settings(database_url=str(path), **values)  # type: ignore[arg-type]


def set_schema(path: Path, revision: str) -> None:
    """Make the file look as if another version of the program had made it."""
    with closing(sqlite3.connect(path)) as plain, plain:
        plain.execute("UPDATE alembic_version SET version_num = ?", (revision,))


async def test_the_database_that_is_there_is_opened(path: Path) -> None:
    """What was migrated can be used as it is, by a bare path or by a URL."""
    for spelled in (str(path), f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}"):
        async with wiring.existing_database(Settings(database_url=spelled)) as database:
            assert path == database.path
            assert 0 == await database.read(lambda c: c.scalar(select(func.count(videos.c.id))))


async def test_a_missing_database_is_named_and_not_made(tmp_path: Path) -> None:
    """A cron job in the wrong folder learns the absolute path that it missed, and leaves no file."""
    path = tmp_path / "missing.db"
    with pytest.raises(DatabaseProblem) as caught:
        async with wiring.existing_database(settings(path)):
            raise AssertionError
    expected = (
        f"no database at {path}: run valossa-ingest migrate to make one, or name another with "
        "--database or WORKER_DATABASE_URL"
    )
    assert expected == str(caught.value)
    assert [] == list(tmp_path.iterdir())


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
    path: Path, revision: str, problem: str
) -> None:
    """No program works on tables that it does not know, whether it opens them or would make them."""
    set_schema(path, revision)
    for opened in (wiring.existing_database, wiring.made_database):
        with pytest.raises(DatabaseProblem) as caught:
            async with opened(settings(path)):
                raise AssertionError
        assert f"database {path} {problem}" == str(caught.value)


async def test_a_missing_database_can_be_made(tmp_path: Path) -> None:
    """``add`` and ``import`` are a newcomer's first commands: they need none before them."""
    path = tmp_path / "new.db"
    async with wiring.made_database(settings(path)) as database:
        assert await database.read(schema_problem) is None
        await add(database, "https://example.org/a.mp4")
    async with wiring.made_database(settings(path)) as database:
        assert "https://example.org/a.mp4" == (await row(database, 1))["url"]


async def test_an_empty_file_becomes_a_database_only_by_migrate(tmp_path: Path) -> None:
    """A file that somebody else put there is not filled by the way."""
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(DatabaseProblem) as caught:
        async with wiring.made_database(settings(path)):
            raise AssertionError
    expected = f"database {path} has no tables of this program: run valossa-ingest migrate"
    assert expected == str(caught.value)
    await wiring.migrate(settings(path))
    async with wiring.existing_database(settings(path)) as database:
        assert await database.read(schema_problem) is None


async def test_migrate_can_be_repeated(path: Path) -> None:
    """A deployment that migrates at every start loses nothing."""
    async with open_database(path) as database:
        await add(database, "https://example.org/a.mp4")
        before = await row(database, 1)
        await wiring.migrate(settings(path))
        assert before == await row(database, 1)


async def test_migrate_touches_no_newer_schema(path: Path) -> None:
    """An old program that is started by mistake does not take a newer database down."""
    set_schema(path, "9999")
    with pytest.raises(DatabaseProblem, match="newer than this program's"):
        await wiring.migrate(settings(path))
    with closing(sqlite3.connect(path)) as plain:
        assert [("9999",)] == plain.execute("SELECT * FROM alembic_version").fetchall()


@pytest.mark.parametrize("opened", [wiring.existing_database, wiring.made_database])
async def test_a_path_that_cannot_be_asked_for_is_a_problem(
    tmp_path: Path, opened: type[wiring.existing_database]
) -> None:
    """A name too long for the disk is a sentence, not a traceback."""
    path = tmp_path / (300 * "a")
    with pytest.raises(DatabaseProblem) as caught:
        async with opened(settings(path)):
            raise AssertionError
    assert f"database {path}: File name too long: name another with --database" == str(caught.value)


def test_every_setting_reaches_the_orders_of_a_run(path: Path) -> None:
    """What a person set for a run is what the loop is told."""
    chosen = settings(
        path,
        timeout_seconds=20,
        grace_seconds=3,
        poll_seconds=0.5,
        retry_after_max_seconds=7,
        default_language="fi-FI",
        default_callback_url="https://example.org/done",
        default_email_group="team",
    )
    expected = Orders(
        drain=True,
        wait=True,
        limit=5,
        max_seconds=9.0,
        timeout_seconds=20,
        grace_seconds=3,
        poll_seconds=0.5,
        retry_after_max_seconds=7,
        defaults=Defaults(
            language="fi-FI", callback_url="https://example.org/done", email_group="team"
        ),
    )
    assert expected == wiring.orders(chosen, drain=True, wait=True, limit=5, max_seconds=9.0)
    ours = wiring.orders(settings(path, timeout_seconds=20), drain=False)
    assert (False, None, None, 25) == (ours.wait, ours.limit, ours.max_seconds, ours.grace_seconds)


@pytest.mark.parametrize(("on_doubt", "repeats"), [("hold", None), ("retry", 60.0)])
def test_every_setting_reaches_the_terms_of_a_transaction(
    path: Path, on_doubt: str, repeats: float | None
) -> None:
    """What a person set for the queue is what is decided by; doubts are repeated only if told to."""
    chosen = settings(
        path,
        rate=5,
        period_seconds=2,
        timeout_seconds=20,
        url_margin_seconds=30,
        max_attempts=4,
        backoff_base_seconds=6,
        backoff_max_seconds=70,
        on_doubt=on_doubt,
        doubt_settle_seconds=60,
    )
    expected = Terms(
        worker="me",
        rate=5,
        period_seconds=2,
        timeout_seconds=20,
        url_margin_seconds=30,
        policy=Policy(max_attempts=4, backoff_base_seconds=6, backoff_max_seconds=70),
        repeat_doubts_after=repeats,
    )
    assert expected == wiring.terms(chosen, "me")


async def test_the_parts_run_together(path: Path) -> None:
    """Settings alone make a runner that submits what is due, with real clocks and dice."""
    tallies: list[Tally] = []
    async with Simulator(Options()) as simulator, open_database(path) as database:
        await add(database, *(f"https://example.org/{n}.mp4" for n in range(3)))
        chosen = settings(path, api_url=simulator.url, rate=1_000, default_language="fi-FI")
        orders = wiring.orders(chosen, drain=True)
        async with wiring.runner(chosen, KEY, database, orders, tallies.append) as runner:
            report = await runner.run()
        assert (End.EMPTY, 3) == (report.end, report.tally.submitted)
        assert 3 == tallies[-1].submitted
        assert [(1, "accepted")] == await facts(database, 2)
        assert ["fi-FI"] * 3 == [_language(each.body) for each in simulator.requests]


def _language(body: object) -> object:
    """The language in the body of a request."""
    assert isinstance(body, dict)
    return body["media"]["language"]


def test_the_clock_is_utc() -> None:
    """Times in the table mean the same wherever the worker runs."""
    assert timedelta(0) == wiring.CLOCK.now().utcoffset()
