"""The proof: real workers against `simulate`, judged by its book, told in one table.

`pytest tests/proof` tries everything a few times; PROOF=full tries it as often as `make proof`.
"""

import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

from tests.conftest import migrated_on
from tests.processes.programs import Programs
from tests.proof.databases import Databases, Files, Served
from tests.proof.ground import FULL, Ground
from tests.proof.judge import Tried, as_table

TRIED = pytest.StashKey[list[Tried]]()


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """Return a migrated database of the server, to make others like it."""
    return migrated_on(server)


@pytest.fixture
def served_databases(server: str, template: str) -> Iterator[Served]:
    """Yield databases of the server, for as long as the scenario lasts."""
    databases = Served(server, template)
    yield databases
    databases.close()


@pytest.fixture
def databases(
    dialect: str, tmp_path: Path, migrated: Path, request: pytest.FixtureRequest
) -> Databases:
    """Return the source of the scenario's databases; a test of SQLite's own file uses ``path``."""
    if dialect == "sqlite":
        return Files(tmp_path, migrated)
    served: Served = request.getfixturevalue("served_databases")
    return served


@pytest.fixture
async def ground(
    tmp_path: Path, databases: Databases, pytestconfig: pytest.Config
) -> AsyncIterator[Ground]:
    """Yield a place for one scenario, with a worker that is fast, and leaves its doubts alone."""
    async with played(tmp_path, databases, pytestconfig) as ground:
        yield ground


@asynccontextmanager
async def played(
    folder: Path, databases: Databases, config: pytest.Config
) -> AsyncIterator[Ground]:
    """Yield that place; what is left of its processes is put away."""
    programs = Programs(
        folder,
        {"VALOSSA_API_KEY": "demo-key"},
        rate=1_000,
        concurrency=4,
        connect_timeout_seconds=1,
        timeout_seconds=20,
        backoff_base_seconds=900,
        on_doubt="hold",
    )
    yield Ground(folder, databases, programs, config.stash.setdefault(TRIED, []))
    await programs.put_away()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the verdicts of a test process to the process that started it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["tried"] = pickle.dumps(session.config.stash.get(TRIED, []))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    """Collect the verdicts of a test process."""
    tried = node.config.stash.setdefault(TRIED, [])
    tried += pickle.loads(node.workeroutput["tried"])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table, whether all promises were kept or not."""
    tried = config.stash.get(TRIED, [])
    if tried:
        terminalreporter.section(f"the proof, {'in full' if FULL else 'quick'}")
        terminalreporter.write_line("\n".join(as_table(tried)))
