"""What many tests need: a migrated database file, a clock that a test sets, a simulator."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from worker import migrate
from worker.clock import Clock
from worker.db import Database
from worker.simulator import Options, Simulator

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


def open_database(path: Path, waiting: Callable[[str], None] = lambda _: None) -> Database:
    """A database on ``path``; the dice always show a half."""
    return Database(str(path), dice=lambda: 0.5, waiting=waiting)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated file; tests copy it."""
    path = tmp_path_factory.mktemp("migrated") / "videos.db"

    async def make() -> None:
        async with open_database(path) as database:
            await migrate.upgrade(database)

    asyncio.run(make())
    return path


@pytest.fixture
def path(migrated: Path, tmp_path: Path) -> Path:
    """A migrated database file of this test's own."""
    return Path(shutil.copy(migrated, tmp_path / "videos.db"))


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    """That file, open."""
    async with open_database(path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _log_of_this_test() -> Iterator[None]:
    """A command configures the log of the process; the next test begins without it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def hands() -> Hands:
    """A clock that stands still until the test moves it."""
    return Hands()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """The imitation of the API on a free loopback port; its book is the judge."""
    async with Simulator(Options()) as running:
        yield running
