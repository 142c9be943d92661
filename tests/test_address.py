import re
from pathlib import Path

import pytest

from worker.address import DatabaseProblem, File, Server, address_of, shown_url

HERE = Path.cwd()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("videos.db", HERE / "videos.db"),
        ("./some/videos.db", HERE / "some/videos.db"),
        ("/var/lib/videos.db", Path("/var/lib/videos.db")),
        ("~/videos.db", Path.home() / "videos.db"),
        ("sqlite:///videos.db", HERE / "videos.db"),
        ("sqlite:////var/lib/videos.db", Path("/var/lib/videos.db")),
        ("sqlite+aiosqlite:///videos.db", HERE / "videos.db"),
        ("sqlite:///~/videos.db", Path.home() / "videos.db"),
    ],
)
def test_a_url_or_a_path_names_a_file(url: str, path: Path) -> None:
    """Every way to write the setting means one absolute path."""
    assert File(path) == address_of(url)
    assert str(path) == str(address_of(url))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://host/videos", "is no database of this program: write sqlite:///videos.db or a"),
        ("sqlite://", "is no database of this program"),
        ("sqlite:///", "is no database of this program"),
        ("sqlite://var/videos.db", "is no database of this program"),
        ("sqlite:///videos.db?mode=ro", "is no database of this program"),
        ("nonsense://videos.db", "is no database of this program"),
        ("://videos.db", "cannot be read"),
        ("sqlite://host:port/videos.db", "cannot be read"),
    ],
)
def test_what_names_no_file_is_refused(url: str, why: str) -> None:
    """A mistyped setting is told with what was written, and makes no file elsewhere."""
    with pytest.raises(DatabaseProblem, match=re.escape(why)) as raised:
        address_of(url)
    assert repr(url) in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:secret@host:5433/videos", "postgresql://ann@host:5433/videos"),
        ("postgres://ann:secret@host/videos", "postgresql://ann@host/videos"),
        ("postgresql+asyncpg://ann:secret@host/videos", "postgresql://ann@host/videos"),
        (
            "postgresql:///videos?host=/run/pg&password=secret",
            "postgresql:///videos?host=%2Frun%2Fpg",
        ),
    ],
)
def test_a_url_names_a_server_and_shows_no_password(url: str, shown: str) -> None:
    """Every way to write it is one that the driver takes; no text of it has the password."""
    address = address_of(url)
    assert isinstance(address, Server)
    assert address.dsn == "postgresql://" + url.split("://", 1)[1]
    assert shown == str(address)
    assert "secret" not in repr(address) + shown_url(url)


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_a_password_in_a_wrong_url_is_not_told(kind: str) -> None:
    """It would stand in a mail of cron."""
    with pytest.raises(DatabaseProblem) as raised:
        address_of(f"{kind}://user:secret@host:port/videos")
    assert "secret" not in str(raised.value)
    assert "//…@host:port" in str(raised.value)
