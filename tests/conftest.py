"""Share a migrated database, a clock that a test sets, and a simulator."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis
import pytest
import structlog

from tests import postgres
from tests.plain import Plain, session
from worker.clock import Clock
from worker.db import migrate
from worker.db.database import Database
from worker.simulator import Options, Simulator
from worker.wiring import CLOCK

hypothesis.settings.register_profile("patient", deadline=None)  # on a busy machine too
hypothesis.settings.load_profile("patient")

# Programs that tests start inherit what is ignored: SIGHUP under nohup, SIGINT in the background.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@dataclass
class Hands:
    """A clock's hands, moved by the test: the wall clock and the monotonic one."""

    wall: datetime = START
    seconds: float = 1_000.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(now=lambda: self.wall, monotonic=lambda: self.seconds)

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass on both."""
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds


def open_database(url: Path | str, waiting: Callable[[str], None] = lambda _: None) -> Database:
    """Return the database of a path or an address; the dice always show a half."""
    return Database(str(url), dice=lambda: 0.5, now=CLOCK.now, waiting=waiting)


HOUR = timedelta(hours=1)


def database_of_an_hour_ago(path: Path) -> Database:
    """Return a database whose time is not that of this machine, as a server's may be."""
    return Database(
        str(path), dice=lambda: 0.5, now=lambda: CLOCK.now() - HOUR, waiting=lambda _: None
    )


KINDS = ("sqlite", "postgresql")

SERVERS = frozenset({"server", "own"})
"""Fixtures that start a PostgreSQL server: one for all tests, or one that a module may stop."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with a database on each kind, or only on the kind that its fixtures need."""
    if "dialect" in metafunc.fixturenames:
        alone = {"path": KINDS[:1], "served": KINDS[1:]}
        kinds = next((alone[name] for name in alone if name in metafunc.fixturenames), KINDS)
        metafunc.parametrize("dialect", kinds, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that needs a PostgreSQL server, so that ``make test`` can leave it out."""
    for item in items:
        assert isinstance(item, pytest.Function)
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if params.get("dialect") == "postgresql" or SERVERS & set(item.fixturenames):
            item.add_marker("postgresql")


@pytest.fixture
def dialect(request: pytest.FixtureRequest) -> str:
    """Return the kind of database that this test runs on."""
    found: str = request.param
    return found


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one migrated file; tests copy it."""
    path = tmp_path_factory.mktemp("migrated") / "videos.db"
    asyncio.run(migrate_to(str(path)))
    return path


async def migrate_to(url: str) -> None:
    """Bring a database to the schema of this program."""
    async with open_database(url) as database:
        await migrate.upgrade(database)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Yield a PostgreSQL server."""
    with postgres.served() as url:
        yield url


@pytest.fixture(scope="session")
def shared(server: str) -> str:
    """Return one migrated database of it, which tests use one after the other."""
    return migrated_on(server)


def migrated_on(server: str) -> str:
    """Return the address of a new, migrated database of a server."""
    url = asyncio.run(postgres.made(server))
    asyncio.run(migrate_to(url))
    return url


@pytest.fixture
def remade() -> None:
    """For tests that change the schema: their database is not used by any other test."""


@pytest.fixture
def served(server: str, shared: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield a migrated, empty PostgreSQL database of this test alone."""
    if "remade" not in request.fixturenames:
        asyncio.run(postgres.emptied(shared))
        yield shared
        return
    copy = asyncio.run(postgres.copied(server, shared))
    yield copy
    asyncio.run(postgres.dropped(server, copy))


@pytest.fixture
def bare(server: str) -> Iterator[str]:
    """Yield an empty PostgreSQL database of this test alone."""
    made = asyncio.run(postgres.made(server))
    yield made
    asyncio.run(postgres.dropped(server, made))


@pytest.fixture
def guarded(served: str) -> Iterator[str]:
    """Yield that database, as a user who owns nothing, and whose password is asked for."""
    with postgres.user(served) as address:
        yield address


@pytest.fixture
def new(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an unmigrated database, or of a file that does not exist yet."""
    return str(tmp_path / "new.db" if dialect == "sqlite" else request.getfixturevalue("bare"))


@pytest.fixture
def plain(url: str) -> Iterator[Plain]:
    """Yield another program on the database."""
    with session(url) as opened:
        yield opened


@pytest.fixture
def path(migrated: Path, tmp_path: Path) -> Path:
    """Return a migrated SQLite file of this test's own."""
    return Path(shutil.copy(migrated, tmp_path / "videos.db"))


@pytest.fixture
def url(dialect: str, request: pytest.FixtureRequest) -> str:
    """Return the address of a migrated database of this test's own."""
    return str(request.getfixturevalue("path" if dialect == "sqlite" else "served"))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """Yield that database, open."""
    async with open_database(url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _log_of_this_test() -> Iterator[None]:
    """Yield a command configures the log of the process; the next test begins without it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def hands() -> Hands:
    """Return a clock that stands still until the test moves it."""
    return Hands()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Yield the imitation of the API on a free loopback port; its book is the judge."""
    async with Simulator(Options()) as running:
        yield running
