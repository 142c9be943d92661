"""``backup``: a copy that is whole, made while a drain writes, and never over another file."""

import os
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from tests.cli.conftest import CHECKOUT, Beside, Cli
from worker.simulator import Options

Start = Callable[[Options], Beside]

VIDEOS = 300


def rows(path: object, table: str = "videos") -> list[tuple[object, ...]]:
    """Return a table of a file."""
    with closing(sqlite3.connect(str(path))) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()


@pytest.mark.usefixtures("path")
def test_a_backup_holds_all(cli: Cli, tmp_path: Path) -> None:
    """The copy is the queue as it was, for its owner alone, and can be worked on in its place."""
    cli.insert_many({"url": f"https://v.example/{n}.mp4"} for n in range(VIDEOS))
    cli.sql("INSERT INTO pruned (id, url, job_id, pruned_at) VALUES (900, 'u', 'j', '2026-01-01')")
    copy = tmp_path / "copy's.db"
    said = cli("backup", copy, "--json")
    assert (0, VIDEOS, 1, 1) == (
        said.code,
        *(said.json()[name] for name in ("videos", "pruned", "account")),
    )
    assert 0o600 == stat.S_IMODE(copy.stat().st_mode)
    before = rows(cli.url)
    cli.sql("DELETE FROM videos")
    shutil.copy(copy, cli.url)
    assert before == rows(cli.url)
    assert VIDEOS == cli("status", "--json").json()["pending"]
    assert ["copy's.db"] == [each.name for each in tmp_path.glob("*copy*")]


@pytest.mark.usefixtures("path")
def test_a_backup_while_a_drain_writes_is_one_moment(
    cli: Cli, beside: Start, tmp_path: Path
) -> None:
    """In a copy made amid a drain each submitted video has its fact."""
    cli.insert_many({"url": f"https://v.example/{n}.mp4"} for n in range(VIDEOS))
    with beside(Options()) as simulator:
        variables = {
            "WORKER_API_URL": simulator.url,
            "VALOSSA_API_KEY": "demo-key",
            "WORKER_RATE": "100000",
            "WORKER_DATABASE_URL": cli.url,
        }
        command = [sys.executable, "-m", "worker", "drain"]
        drain = subprocess.Popen(
            command, env={**os.environ, **variables}, cwd=CHECKOUT, stderr=subprocess.DEVNULL
        )
        copies: list[Path] = []
        while drain.poll() is None or not copies:
            copies.append(tmp_path / f"copy-{len(copies)}.db")
            assert 0 == cli("backup", copies[-1]).code
        assert 0 == drain.returncode
    assert VIDEOS == len([each for each in rows(cli.url) if "submitted" in each])
    for copy in copies:
        with closing(sqlite3.connect(copy)) as connection:
            count = "SELECT count(*) FROM {}".format
            bought = connection.execute(count("videos WHERE state = 'submitted'")).fetchone()
            facts = connection.execute(count("history WHERE fact = 'accepted'")).fetchone()
        assert bought == facts


@pytest.mark.usefixtures("path")
def test_a_backup_overwrites_nothing(cli: Cli, tmp_path: Path) -> None:
    """A file that is there, whole or in the making, stays as it is, and is named."""
    for name in ("copy.db", "other.db.part"):
        (tmp_path / name).write_text("mine")
        said = cli("backup", tmp_path / name.removesuffix(".part"))
        assert (1, True) == (said.code, str(tmp_path / name) in said.err)
        assert "mine" == (tmp_path / name).read_text()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("length", [300, 252])
def test_a_backup_of_a_name_that_is_too_long_is_refused(
    cli: Cli, tmp_path: Path, length: int
) -> None:
    """A name that is too long, if only for the copy in the making, is reported with its path."""
    copy = tmp_path / ("x" * length)
    said = cli("backup", copy)
    assert (1, f"valossa-ingest: {copy}: File name too long\n") == (said.code, said.err)


@pytest.mark.usefixtures("path")
def test_a_backup_into_no_folder_is_named(cli: Cli, tmp_path: Path) -> None:
    """A folder that is missing is reported with the path that was meant."""
    said = cli("backup", tmp_path / "absent" / "copy.db")
    assert (1, True) == (said.code, f"{tmp_path}/absent/copy.db" in said.err)


@pytest.mark.usefixtures("path")
def test_a_damaged_queue_is_no_backup(cli: Cli, tmp_path: Path) -> None:
    """A copy that cannot be read as a whole is refused, and does not stay."""
    cli.insert_many({"url": f"https://v.example/{n}.mp4"} for n in range(2_000))
    cli.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(cli.url, "rb+") as file:  # noqa: PTH123 - as other programs open it
        file.seek(60 * 4_096)
        file.write(b"\xff" * 4_096)
    said = cli("backup", tmp_path / "copy.db")
    assert (78, True) == (said.code, "damaged" in said.err)
    assert [] == [each.name for each in tmp_path.glob("*copy*")]


def test_on_a_server_the_line_to_run_is_printed(served: str, cli: Cli, tmp_path: Path) -> None:
    """On PostgreSQL nothing is copied, and the line of pg_dump has no password."""
    assert served
    secret = cli.url.replace("postgres:@", f"postgres:{quote('s3cret')}@", 1)
    said = Cli(secret, cli.capsys)("backup", tmp_path / "a copy")
    assert (1, True) == (said.code, "nothing was copied" in said.err)
    words = shlex.split(said.out)
    assert ["pg_dump", "--format=custom", '--schema="public"'] == words[:3]
    assert f"--file={tmp_path}/a copy" == words[3]
    assert words[4].startswith("postgresql://postgres@")
    assert "s3cret" not in said.out + said.err


@pytest.mark.usefixtures("remade")
def test_the_line_to_run_names_the_schema_in_which_the_queue_is(
    served: str, cli: Cli, tmp_path: Path
) -> None:
    """A role's, or a database's, search path decides it as well as the address: with another schema
    pg_dump would write an empty backup.
    """
    name = make_url(served).database
    cli.sql('ALTER SCHEMA public RENAME TO "My videos"')
    cli.sql(f'ALTER DATABASE "{name}" SET search_path = other, "My videos"')
    said = Cli(f"{served}&sslmode=disable", cli.capsys)("backup", tmp_path / "copy.dump")
    assert '--schema="My videos"' == shlex.split(said.out)[2]
    assert "sslmode=disable" in said.out
