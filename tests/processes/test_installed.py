import asyncio
import os
import sqlite3
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path

import pytest

from tests.plain import PATIENCE_SECONDS
from tests.processes.programs import Programs
from worker.db.schema import SCHEMA

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Return the Python of a fresh environment with the built wheel, and its variables.

    With them it finds the wheel's dependencies, but not the checkout.
    """
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    site, wheels = str(folder / "site"), str(folder / "wheels")
    install = ("install", "--no-index", "--find-links", wheels, "--target", site, "valossa-ingest")
    for command in (
        [*pip, "wheel", str(CHECKOUT), "--no-deps", "--wheel-dir", wheels],
        [*pip, *install, "--no-deps"],
        [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")],
    ):
        subprocess.run(command, check=True, timeout=2 * PATIENCE_SECONDS, capture_output=True)
    paths = (site, sysconfig.get_path("purelib"))
    return folder / "venv" / "bin" / "python", {"PYTHONPATH": os.pathsep.join(paths)}


def objects(path: Path) -> list[tuple[str, str]]:
    """Return the tables and indexes with the SQL that made them."""
    with closing(sqlite3.connect(path)) as plain:
        return plain.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


@pytest.mark.usefixtures("path")
async def test_migrate_makes_what_is_missing_and_leaves_what_is_there(
    worker: Programs, tmp_path: Path
) -> None:
    """`migrate` makes a database from any folder, and a second run changes nothing."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = elsewhere / "videos.db"
    first = await worker.run("migrate", cwd=elsewhere, database_url=None)
    assert (0, f"{path} is at schema {SCHEMA}\n", "") == (first.code, first.out, first.err)
    made = objects(path)
    assert {"videos", "history", "account"} <= {name for name, _ in made}
    second = await worker.run("migrate", cwd=elsewhere, database_url=None)
    assert (0, first.out, "") == (second.code, second.out, second.err)
    assert made == objects(path)


@pytest.mark.slow
async def test_an_installed_wheel_needs_no_checkout(
    worker: Programs, installed: tuple[Path, dict[str, str]], path: Path, tmp_path: Path
) -> None:
    """The wheel has its migrations and its sample: it makes the same schema and runs the demo."""
    python, variables = installed
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    started = [
        await worker.start(
            *command,
            python=python,
            cwd=elsewhere,
            variables=variables,
            database_url=None,
            measured=False,
        )
        for command in (["migrate"], ["demo", "--keep", str(elsewhere / "demo")])
    ]
    migrated, shown = await asyncio.gather(*(program.ended() for program in started))
    assert (0, "") == (migrated.code, migrated.err)
    assert objects(path) == objects(elsewhere / "videos.db")
    assert (0, "") == (shown.code, shown.err)
    assert "submitted" in shown.out
    asked = await worker.run(
        program=("-c", "import worker; print(worker.__file__)"),
        python=python,
        cwd=elsewhere,
        variables=variables,
        measured=False,
    )
    assert str(variables["PYTHONPATH"].split(os.pathsep)[0]) in asked.out
