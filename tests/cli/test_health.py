import os
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.plain import execute
from worker import wiring
from worker.cli import run


def health(path: Path) -> int:
    """Run the command and return its exit code."""
    return run(["health", "--database", str(path)], {})


def turned(path: Path, seconds_ago: float) -> None:
    """Make a heartbeat file of this age."""
    sign = path.with_name("videos.db.alive")
    sign.touch()
    os.utime(sign, (time.time() - seconds_ago, time.time() - seconds_ago))


DAEMON = "INSERT INTO workers VALUES ('w', 'h', 7, 'run', ?, ?, 1, 1, 'default', NULL)"
"""A row of a daemon, begun and seen at these moments."""


def stamp(seconds: float) -> str:
    """Return a moment so far from now, as SQLite keeps it."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"


def test_a_daemon_that_turned_just_now_is_alive(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A daemon whose loop has just turned is alive, and the verdict says how its queue is."""
    turned(path, 0)
    assert 0 == health(path)
    assert "alive, 0 s ago; idle: nothing is due\n" == capsys.readouterr().out


def test_a_stalled_queue_is_not_well(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that turns and moves nothing that is due is exit 2, with the way out."""
    turned(path, 0)
    execute(str(path), DAEMON, stamp(-900), stamp(0))
    url = "https://example.org/1.mp4"
    execute(str(path), "INSERT INTO videos (url, due_at) VALUES (?, ?)", url, stamp(-900))
    execute(str(path), "UPDATE account SET next_start_at = ?", stamp(-900))
    assert 2 == health(path)
    said = capsys.readouterr()
    assert ("", True) == (said.out, " s ago; stalled: 1 due, 0 in flight" in said.err)
    assert "see their settings and log (valossa-ingest workers says where)" in said.err


def test_a_file_that_no_one_can_read_hides_no_living_daemon(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program that locks the file against readers leaves a daemon alive, without a verdict."""
    turned(path, 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
            other.execute(statement)
        assert 0 == health(path)
    assert ["alive", " 0 s ago\n"] == capsys.readouterr().out.split(",")


def test_a_daemon_that_is_held_by_a_cool_down_says_so(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A living daemon that sends nothing names the end of the cool-down and its reason."""
    turned(path, 0)
    execute(str(path), DAEMON, stamp(-9), stamp(0))
    execute(str(path), "INSERT INTO videos (url) VALUES ('https://example.org/1.mp4')")
    held = "cool_down_until = '2099-01-02 03:04:05', cool_down_reason = 'HTTP 429'"
    execute(str(path), f"UPDATE account SET {held}")
    assert 0 == health(path)
    told = "waiting: a cool-down until 2099-01-02 03:04:05 UTC (HTTP 429) holds all"
    assert f"alive, 0 s ago; {told}\n" == capsys.readouterr().out


def test_a_daemon_that_waits_is_alive(path: Path) -> None:
    """A heartbeat of 55 s ago is alive."""
    turned(path, 55)
    assert 0 == health(path)


def test_a_daemon_that_hangs_is_not(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A heartbeat of 61 s ago is exit 1."""
    turned(path, 61)
    assert 1 == health(path)
    assert "no turn for 61 s: see its log" in capsys.readouterr().err


def test_a_clock_that_was_set_back_hides_no_dead_daemon(path: Path) -> None:
    """A heartbeat far in the future is exit 1."""
    turned(path, -3600)
    assert 1 == health(path)


def test_no_daemon_is_no_health(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No heartbeat file is exit 1."""
    assert 1 == health(path)
    expected = f"valossa-ingest: no daemon has run here: {path}.alive is missing: start valossa"
    assert expected in capsys.readouterr().err


def test_a_database_that_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing database is exit 78 with its path."""
    missing = tmp_path / "videos.db"
    assert 78 == health(missing)
    expected = f"valossa-ingest: no database at {missing} (database_url: --database): name the"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"no database" * 99])
def test_a_database_that_is_lost_is_no_health(
    path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    """A daemon that turns beside a lost or damaged database is exit 78."""
    turned(path, 0)
    path.unlink()
    if content:
        path.write_bytes(content)
    assert 78 == health(path)
    assert f"database at {path}" in (said := capsys.readouterr().err) or "no SQLite" in said


def test_a_folder_that_is_a_file_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that cannot be read is exit 78 with the reason."""
    assert 78 == health(path / "videos.db")
    expected = f"{path}/videos.db.alive cannot be looked at: Not a directory: ask as the daemon's"
    assert expected in capsys.readouterr().err


def test_a_database_of_another_kind_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A URL of another kind of database is exit 78."""
    assert 78 == run(["health", "--database", "mysql://x/y"], {})
    assert "is no database of this program" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "code", "told"),
    [
        ("", 1, "no daemon has run on"),
        ("'{host}', 'run', clock_timestamp()", 0, "alive, "),
        ("'{host}', 'drain', clock_timestamp()", 1, "no daemon has run on"),
        ("'elsewhere', 'run', clock_timestamp()", 1, "no daemon has run on"),
        ("'{host}', 'run', clock_timestamp() - interval '90 s'", 1, "made no turn for 90 s"),
    ],
)
def test_a_server_knows_the_daemon_of_this_machine(
    served: str, capsys: pytest.CaptureFixture[str], row: str, code: int, told: str
) -> None:
    """On PostgreSQL a heartbeat of a daemon on this machine decides."""
    if row:
        columns = "(id, pid, started_at, host, command, seen_at)"
        values = f"('w', 1, clock_timestamp(), {row.format(host=wiring.host())})"
        execute(served, f"INSERT INTO workers {columns} VALUES {values}")
    assert code == run(["health", "--database", served], {})
    assert told in "".join(capsys.readouterr())


def test_a_daemon_whose_key_is_refused_is_not_well(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A living daemon that the API refuses is exit 1 while videos wait, until a better answer."""
    turned(path, 0)
    execute(str(path), DAEMON, stamp(-9), stamp(0))
    execute(str(path), "INSERT INTO videos (url) VALUES ('https://example.org/1.mp4')")
    known = {
        "account_refused": "the API refuses the key",
        "wrong_address": "what answers at api_url",
    }
    for attempt, fact in enumerate(known):
        columns = "(video_id, attempt, at, who, fact, message)"
        values = f"(1, {attempt}, CURRENT_TIMESTAMP, 'w', '{fact}', 'HTTP 401: Bad key')"
        execute(str(path), f"INSERT INTO history {columns} VALUES {values}")
        assert 1 == health(path)
        said = capsys.readouterr()
        assert "" == said.out
        assert f" s ago; needs a person: {known[fact]}" in said.err
        assert "(HTTP 401: Bad key): " in said.err
    execute(str(path), "UPDATE history SET fact = 'accepted', job_id = 'j' WHERE attempt = 1")
    assert 0 == health(path)
