import os
import time
from pathlib import Path

import pytest

from worker.cli import run


def health(path: Path) -> int:
    """Type the command."""
    return run(["health", "--database", str(path)], {})


def test_a_daemon_that_turned_just_now_is_alive(path: Path) -> None:
    """A healthy container would be restarted."""
    path.with_name("videos.db.alive").touch()
    assert 0 == health(path)


def test_a_daemon_that_hangs_is_not(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A loop that stands still would look healthy."""
    sign = path.with_name("videos.db.alive")
    sign.touch()
    os.utime(sign, (time.time() - 61, time.time() - 61))
    assert 1 == health(path)
    assert "no turn for 61 s" in capsys.readouterr().err


def test_no_daemon_is_no_health(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A container whose daemon never began would look healthy."""
    assert 1 == health(path)
    assert "no daemon has run here" in capsys.readouterr().err


def test_a_database_of_another_kind_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong setting would look like a dead daemon."""
    assert 78 == run(["health", "--database", "mysql://x/y"], {})
    assert "no SQLite file" in capsys.readouterr().err
