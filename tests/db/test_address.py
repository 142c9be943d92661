import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy.engine import make_url

from worker.db.address import DatabaseProblem, File, Server, address_of, shown_url

HERE = Path.cwd()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("videos.db", HERE / "videos.db"),
        ("./some/videos.db", HERE / "some/videos.db"),
        ("/var/lib/videos.db", Path("/var/lib/videos.db")),
        ("postgres.db", HERE / "postgres.db"),
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
    """A mistyped setting is reported as it was written, and makes no file elsewhere."""
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
    assert "secret" == _password(address)
    assert shown == str(address)
    assert "secret" not in repr(address) + shown_url(url)


def _password(address: Server) -> object:
    parsed = make_url(address.dsn)
    return parsed.password or parsed.query["password"]


@pytest.mark.parametrize("sign", "/?#:%+ &=")
def test_a_password_may_hold_any_sign_but_one(sign: str) -> None:
    """A password may hold any sign but @, and the driver reads it as we do."""
    address = address_of(f"postgresql://ann:sec{sign}ret@host:5433/videos")
    assert isinstance(address, Server)
    assert f"sec{sign}ret" == unquote(urlsplit(address.dsn).password or "")
    assert ("host", 5433) == (urlsplit(address.dsn).hostname, urlsplit(address.dsn).port)
    assert "postgresql://ann@host:5433/videos" == str(address)


SECRETS = [
    "postgresql://ann:sec@ret@host/videos",
    "postgresql://ann:sec@r:et@host/videos",
    "postgresql:///videos?user=ann&passwd=secret",
    "postgresql:///videos?user=ann&Password=secret&sslpassword=secret",
    "postgresql+psycopg2://ann:sec/ret@host:port/videos",
    "postgresql:/ann:secret@host/videos",
    "postgres:ann:secret@host/videos",
    "POSTGRESQL://ann:secret@host/videos",
    "sqlite+pysqlcipher://:secret@/videos.db",
    "host=db.example user=ann password=secret dbname=videos",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_password_is_shown_nowhere_however_it_is_written(url: str) -> None:
    """No part of a password is shown, however the address is written."""
    try:
        told = str(address_of(url))
    except DatabaseProblem as problem:
        told = str(problem)
    for part in ("secret", "ret@", "sec@", "r:et", "sec/", "secret@"):
        assert part not in told + shown_url(url)
    assert str(HERE) not in told


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://ann:s@cret@host/videos", "an @ in a password is written %40"),
        ("postgresql://host:0/videos", "cannot be read"),
        ("postgresql://host:65536/videos", "cannot be read"),
        ("postgresql:///videos?host=host&port=x", "cannot be read"),
        ("postgresql:/host/videos", "cannot be read"),
        ("POSTGRES://host/videos", "is no database of this program"),
    ],
)
def test_what_the_driver_could_not_read_is_refused(url: str, why: str) -> None:
    """An address that the driver could not read is refused in a sentence."""
    with pytest.raises(DatabaseProblem, match=re.escape(why)):
        address_of(url)


@pytest.mark.parametrize(
    "url", ["/a@b/c=d.db", "sqlite:////a@b/c=d.db", "sqlite+aiosqlite:////a@b.db", "x=1.db"]
)
def test_a_path_is_shown_as_it_is(url: str) -> None:
    """The path of a file is shown as it is written."""
    assert url == shown_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:secret@host:5433/videos", "postgresql://…@host:5433/videos"),
        (
            "postgresql:///videos?host=/run/pg&port=5433",
            "postgresql:///videos?host=/run/pg&port=5433",
        ),
        (
            "postgresql://host/videos?sslmode=require&x=y",
            "postgresql://host/videos?sslmode=require&x=…",
        ),
    ],
)
def test_of_a_url_everything_is_shown_that_helps(url: str, shown: str) -> None:
    """A shown URL keeps server, port and harmless options."""
    assert shown == shown_url(url)


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_a_password_in_a_wrong_url_is_not_told(kind: str) -> None:
    """The password in an unreadable URL is not shown."""
    with pytest.raises(DatabaseProblem) as raised:
        address_of(f"{kind}://user:secret@host:port/videos")
    assert "secret" not in str(raised.value)
    assert "//…@host:port" in str(raised.value)


TYPED_WRONG = [
    "u:PW@host/db",
    "PW:@host/db",
    "PW@host/db",
    "u:PW@host",
    "user:p@PW@host:5432/db",
    "//u:PW@host/db",
    "//PW@host/db",
    "postgresql//u:PW@h/db",
    "postgresql:u:PW@h/db",
    "jdbc:postgresql://u:PW@h/db",
    " postgresql://u:PW@h/db",
    "'postgresql://u:PW@h/db'",
    "postgresql://PW@host/db",
    "postgresql://PW:@host/db",
    "postgresql://u:PW/db",
    "postgresql://u:PW@[::1/db",
    "postgresql://u:PW@h]/db",
    "postgresql://u:PW@#h/db",
    "postgresql://u:PW@ho st/db",
    "postgresql://u:PW@h:99999/db",
    "postgresql://u:PW@h\0/db",
    "postgresql://u:PW\udcff@h/db",
    "postgresql:///db?PW",
    "postgresql://h:x/db?sslmode=require;password=PW",
    "sqlite://u:PW@h/db",
    "sqlite:///u:PW@h/db",
    "sqlite:///x.db?password=PW",
    "sqlite:///x.db?PW",
    "sqlite:u:PW@h/db",
    "x.db?password=PW",
    "/folder/x.db?key=PW",
    "host=/run/pg user=ann password = PW",
    "https://u:PW@h/db",
    "redis://:PW@h",
]


@pytest.mark.parametrize("url", TYPED_WRONG)
def test_nothing_is_shown_before_an_at_and_after_a_question_mark(url: str) -> None:
    """A mistyped address shows nothing that may be a password, and names no file."""
    try:
        address = address_of(url)
    except DatabaseProblem as problem:
        told = str(problem)
    else:
        told = str(address)
        assert isinstance(address, Server)
    assert "PW" not in told + shown_url(url)


@pytest.mark.parametrize(
    ("url", "shown", "name"),
    [
        ("postgresql://ann@host/db", "postgresql://…@host/db", "postgresql://ann@host/db"),
        ("postgresql://ann:pw@host/db", "postgresql://ann@host/db", "postgresql://ann@host/db"),
        (
            "postgresql://ann@host/db?password=pw&search_path=own",
            "postgresql://ann@host/db?search_path=own",
            "postgresql://ann@host/db?search_path=own",
        ),
        ("postgresql://host/db", "postgresql://host/db", "postgresql://host/db"),
    ],
)
def test_a_user_alone_is_not_shown(url: str, shown: str, name: str) -> None:
    """A user without a password may be one. The name of a queue that was opened has its user."""
    address = address_of(url)
    assert isinstance(address, Server)
    assert (shown, name) == (str(address), address.name)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("~nosuchuser/v.db", "no such user, or no home folder"),
        ("sqlite:///~nosuchuser/v.db", "no such user, or no home folder"),
        ("a\0b.db", "it holds U+0000"),
    ],
)
def test_a_path_that_no_system_knows_is_told(url: str, why: str) -> None:
    """A path that cannot be one here is a sentence with the way out."""
    with pytest.raises(DatabaseProblem, match=re.escape(f"({why}): write an absolute one")):
        address_of(url)


def test_a_path_in_a_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path in a working folder that was deleted is a sentence."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(DatabaseProblem, match=r"\(No such file or directory\)"):
        address_of("v.db")


@pytest.mark.parametrize("url", ["./me@work/v.db", "sqlite:////a:b@c/v.db", "me@work.db"])
def test_a_path_that_holds_an_at_can_be_written(url: str) -> None:
    """The ways out that the refusal names lead to the file."""
    assert isinstance(address_of(url), File)
    assert url == shown_url(url)
