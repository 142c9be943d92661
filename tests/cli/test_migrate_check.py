import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.cli.conftest import CHECKOUT, Beside, Cli, Said, Screen, surroundings
from worker.cli.catalogue import COMMANDS
from worker.db.address import address_of, shown_url
from worker.db.schema import SCHEMA
from worker.log import Event, logger
from worker.settings import NAMES
from worker.simulator import Options, Simulator

KEY = "sk-0123456789abcdef"
LOOPBACK = "http://127.0.0.1:9/core/1.0"


def check(cli: Cli, *words: object, **environment: str) -> Said:
    """Run ``check`` with an address that needs no network."""
    return cli("check", *words, **{"WORKER_API_URL": LOOPBACK, **environment})


# migrate


def test_migrate_makes_the_database_and_can_be_repeated(fresh: Cli) -> None:
    """``migrate`` makes the file with this schema, and a second run changes nothing."""
    fresh.path.parent.mkdir()
    for _ in range(2):
        said = fresh("migrate")
        assert (0, f"{fresh.path} is at schema {SCHEMA}\n", "") == (said.code, said.out, said.err)
    assert [0] == fresh.sql("SELECT count(*) FROM videos")


def test_migrate_fills_an_empty_database_and_can_be_repeated(empty: Cli) -> None:
    """``migrate`` makes the tables in an empty database of a server."""
    for _ in range(2):
        said = empty("migrate")
        assert (0, f"{empty.shown} is at schema {SCHEMA}\n", "") == (said.code, said.out, said.err)
    assert [0] == empty.sql("SELECT count(*) FROM videos")


def test_migrate_takes_a_relative_path_and_names_the_absolute_one(
    fresh: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``migrate`` prints the absolute path of the file."""
    monkeypatch.chdir(tmp_path)
    said = fresh.bare("migrate", "--database", "sqlite:///here.db")
    assert (0, f"{tmp_path}/here.db is at schema {SCHEMA}\n") == (said.code, said.out)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("{folder}/missing/videos.db", "it cannot be opened: check the path, its folder"),
        ("{folder}", "it cannot be opened: check the path, its folder"),
        ("{folder}/text", "it is no SQLite database: name another file"),
        ("mysql://host/db", "is no database of this program: write sqlite:///videos.db or a path"),
        ("sqlite://", "is no database of this program: write sqlite:///videos.db or a path"),
        ("postgresql:///db?host={folder}", "cannot be reached: start it, or correct database_url"),
        ("postgresql://a:b@c@d/db", "an @ in a password is written %40"),
    ],
)
@pytest.mark.parametrize("command", ["migrate", "status", "check"])
def test_what_is_no_database_is_one_sentence(
    fresh: Cli, tmp_path: Path, command: str, place: str, why: str
) -> None:
    """A path that is no database is named with the remedy and exit 78, and is not changed."""
    text = tmp_path / "text"
    text.write_text("this is not a database, and long enough to be told from one\n" * 99)
    before = text.read_bytes()
    words = (command, "--database", place.format(folder=tmp_path))
    said = fresh.bare(*words, WORKER_API_URL=LOOPBACK, VALOSSA_API_KEY=KEY)
    missing = command != "migrate" and place == "{folder}/missing/videos.db"
    expected = "no database at " if missing else why
    assert (78, 1) == (said.code, len(said.err.splitlines()))
    assert expected in said.err
    assert before == text.read_bytes()


@pytest.mark.usefixtures("remade")
def test_a_newer_schema_is_left_alone(cli: Cli) -> None:
    """Every command refuses a newer schema, and names the remedy."""
    cli.sql("UPDATE alembic_version SET version_num = '9999'")
    for command in ("migrate", "status", "list"):
        said = cli(command)
        expected = f"has schema 9999, newer than this program's {SCHEMA}: install the newer program"
        told = f"valossa-ingest: database {cli.shown} {expected} (database_url: --database)\n"
        assert (78, told) == (said.code, said.err)


@pytest.mark.usefixtures("remade")
@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("list",),
        ("show", "1"),
        ("retry", "1"),
        ("add", "https://e.org/a"),
        ("check",),
        ("drain",),
    ],
)
def test_an_old_schema_is_refused_with_the_command_to_run(cli: Cli, words: tuple[str, ...]) -> None:
    """Every command refuses an old schema, and names ``migrate``."""
    cli.sql("UPDATE alembic_version SET version_num = '0000'")
    said = cli(*words, WORKER_API_URL=LOOPBACK, VALOSSA_API_KEY=KEY)
    why = f"has schema 0000, this program needs {SCHEMA}: run valossa-ingest migrate"
    source = "(database_url: --database, for that command too)"
    told = f"valossa-ingest: database {cli.shown} {why} {source}"
    assert (78, True) == (said.code, told in said.err.splitlines())


@pytest.mark.parametrize(
    "words", [("status",), ("list",), ("show", "1"), ("retry", "1"), ("drain",), ("check",)]
)
def test_a_missing_database_is_named_and_not_made(fresh: Cli, words: tuple[str, ...]) -> None:
    """A missing database is named with exit 78, and is not made."""
    said = fresh(*words, WORKER_API_URL=LOOPBACK, VALOSSA_API_KEY=KEY)
    expected = f"valossa-ingest: no database at {fresh.path}: run valossa-ingest migrate"
    assert 78 == said.code
    assert expected in said.err
    assert not fresh.path.exists()


@pytest.mark.parametrize(
    "words",
    [("status",), ("list",), ("show", "1"), ("retry", "1"), ("drain",), ("run",), ("check",)],
)
def test_an_empty_database_is_named_and_left_empty(empty: Cli, words: tuple[str, ...]) -> None:
    """A database without our tables is named with exit 78, and stays empty."""
    said = empty(*words, WORKER_API_URL=LOOPBACK, VALOSSA_API_KEY=KEY)
    what = f"database {empty.shown} has no tables of this program: run valossa-ingest migrate"
    told = f"valossa-ingest: {what} (database_url: --database, for that command too)"
    assert (78, [told]) == (said.code, said.err.splitlines())
    assert [0] == empty.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")


@pytest.mark.parametrize("command", ["migrate", "status", "check"])
def test_the_log_never_mixes_with_results(
    cli: Cli, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Log lines go to stderr, and only results go to stdout."""
    cli(command, WORKER_API_URL=LOOPBACK)
    logger().warning(Event.DATABASE_WAITED_FOR, purpose="to test")
    out, err = capsys.readouterr()
    assert ("", "database_waited_for") == (out, json.loads(err)["event"])


# check


def test_check_shows_every_setting_and_where_it_comes_from(cli: Cli, tmp_path: Path) -> None:
    """``check`` prints every setting with its value and its source."""
    config = tmp_path / "worker.toml"
    config.write_text("max_attempts = 3\n")
    said = check(cli, "--config", config, VALOSSA_API_KEY=KEY, WORKER_RATE="5")
    assert (0, "") == (said.code, said.err)
    rows = [row for row in said.rows() if len(row) == 3]
    assert ["setting", *NAMES] == [row[0] for row in rows]
    shown = {name: (value, source) for name, value, source in rows}
    assert {
        "rate": ("5", "WORKER_RATE"),
        "max_attempts": ("3", str(config)),
        "database_url": (shown_url(cli.url), "--database"),
        "timeout_seconds": ("60.0", "default"),
        "default_language": ("", "default"),
    } == {name: shown[name] for name in shown if name in WANTED}
    assert {
        "database": f"{cli.shown}, schema {SCHEMA}",
        "address": f"{LOOPBACK} resolves",
        "key": "from VALOSSA_API_KEY",
    } == {name: value for name, value in said.pairs().items() if "\t" not in name}


WANTED = ("rate", "max_attempts", "database_url", "timeout_seconds", "default_language")


def test_check_is_json_where_it_is_asked_for(cli: Cli) -> None:
    """``check --json`` prints the same facts as one document."""
    said = check(cli, "--json", VALOSSA_API_KEY=KEY)
    told = said.json()
    assert (0, "", []) == (said.code, said.err, told["problems"])
    assert set(NAMES) == set(told["settings"]) == set(told["sources"])
    assert ("WORKER_API_URL", LOOPBACK) == (told["sources"]["api_url"], told["settings"]["api_url"])
    assert ["address", "database", "key"] == sorted(told["found"])


EVERYTHING_WRONG = {
    "WORKER_RATE": "0",
    "WORKER_TIMEOUT": "5",
    "WORKER_API_URL": "https://a..b/core",
    "WORKER_PAGE_TOKEN": "short",
}


def test_check_finds_every_problem_at_once(fresh: Cli) -> None:
    """``check`` prints every problem at once, and exits with 78."""
    said = fresh("check", **EVERYTHING_WRONG)
    assert 78 == said.code
    beginnings = [
        "WORKER_TIMEOUT is no setting: did you mean WORKER_TIMEOUT_SECONDS?",
        "rate = '0' (WORKER_RATE): must be 1 or more",
        f"no database at {fresh.path}: run valossa-ingest migrate",
        "api_url https://a..b/core (WORKER_API_URL): the host does not resolve (it is no host",
        "WORKER_PAGE_TOKEN is shorter than 16 characters",
        "no API key: set VALOSSA_API_KEY, or VALOSSA_API_KEY_FILE",
    ]
    lines = [line.removeprefix("valossa-ingest: ") for line in said.err.splitlines()]
    assert beginnings == [line[: len(start)] for line, start in zip(lines, beginnings, strict=True)]
    assert ["rate", "", "WORKER_RATE"] in said.rows()
    told = fresh("check", "--json", **EVERYTHING_WRONG)
    assert (78, "", lines) == (told.code, told.err, told.json()["problems"])
    assert told.json()["settings"]["rate"] is None


def test_a_drain_without_key_and_address_names_both(cli: Cli) -> None:
    """A drain that tells of its end, and cannot open its database for that, loses no problem."""
    said = cli.bare("drain", WORKER_DATABASE_URL="mysql://x/y")
    assert 78 == said.code
    assert "'mysql://x/y' is no database of this program" in said.err
    assert "no API key" in said.err


def test_check_shows_no_default_for_a_setting_that_is_wrong(cli: Cli, tmp_path: Path) -> None:
    """``check`` shows a wrong setting as empty, not as the default that stands for it."""
    config = tmp_path / "worker.toml"
    config.write_text("grace_seconds = -1\ndatabase_url = 3\nproxy = 3\nnotify_url = 3\n")
    shown = cli.bare("check", "--json", "--config", config, WORKER_API_URL=LOOPBACK).json()
    names = ("grace_seconds", "database_url", "proxy", "notify_url")
    assert [(None, str(config))] * 4 == [
        (shown["settings"][name], shown["sources"][name]) for name in names
    ]


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"WORKER_DATABASE_URL": ""}, "database_url = '' (WORKER_DATABASE_URL): must be text"),
        ({"WORKER_API_URL": "http://a.example/"}, "api_url = 'http://a.example/' (WORKER_API_URL)"),
        ({"VALOSSA_API_KEY": ""}, "VALOSSA_API_KEY is empty: put the API key in it"),
        ({"VALOSSA_API_KEY_FILE": "/x"}, "VALOSSA_API_KEY and VALOSSA_API_KEY_FILE are both set"),
    ],
)
def test_check_looks_at_nothing_else_for_a_setting_that_is_wrong(
    cli: Cli, variables: dict[str, str], problem: str
) -> None:
    """``check`` does not test the default that stands for a wrong setting."""
    given = {
        "WORKER_API_URL": LOOPBACK,
        "WORKER_DATABASE_URL": cli.url,
        "VALOSSA_API_KEY": KEY,
    }
    said = cli.bare("check", "--json", **{**given, **variables})
    told = said.json()
    (only,) = told["problems"]
    assert (78, problem) == (said.code, only[: len(problem)])
    (wrong,) = {"database", "address", "key"} - set(told["found"])
    assert wrong in {"WORKER_DATABASE_URL": "database", "WORKER_API_URL": "address"}.get(
        next(iter(variables)), "key"
    )


def test_a_host_without_an_address_is_named(cli: Cli) -> None:
    """``check`` names a host that does not resolve."""
    said = check(cli, WORKER_API_URL="https://no.invalid/core", VALOSSA_API_KEY=KEY)
    expected = "valossa-ingest: api_url https://no.invalid/core (WORKER_API_URL): the host does not"
    assert (78, expected) == (said.code, said.err[: len(expected)])


Start = Callable[[Options], Beside]


def book(simulator: Simulator, count: int) -> list[str]:
    """Return the ids of the jobs that a worker bought."""
    assert count == len(simulator.accepted)
    return [job.job_id for job in simulator.accepted]


def test_check_online_says_that_the_key_works(cli: Cli, beside: Start) -> None:
    """``check --online`` confirms the key and buys nothing."""
    with beside(Options(keys=frozenset({KEY}))) as simulator:
        variables = {"WORKER_API_URL": simulator.url, "VALOSSA_API_KEY": KEY}
        said = cli("check", "--online", "--json", **variables)
        assert (0, "the key works; no jobs yet, so nothing shows whether it lists our ids") == (
            said.code,
            said.json()["found"]["online"].replace("identifiers", "ids"),
        )
        cli.insert(media_id="talk-1")
        cli.insert(media_id="talk-2")
        assert 0 == cli("drain", WORKER_RATE="100", **variables).code
        said = cli("check", "--online", **variables)
        assert (0, "") == (said.code, said.err)
        expected = "the key works; it lists 2 jobs, 2 with an identifier"
        assert expected == said.pairs()["online"]
        assert 2 == len(book(simulator, 2))
    assert KEY not in said.out + said.err


def test_check_online_asks_whatever_is_wrong_with_the_token(cli: Cli, beside: Start) -> None:
    """A token that is wrong keeps nobody from hearing that the key is refused."""
    with beside(Options(keys=frozenset({"another"}))) as simulator:
        given = {"WORKER_API_URL": simulator.url, "VALOSSA_API_KEY": KEY}
        said = cli("check", "--online", WORKER_PAGE_TOKEN="short", **given)
    token, key = said.err.splitlines()
    assert "WORKER_PAGE_TOKEN is shorter" in token
    assert "does not list the jobs of the key" in key


def test_check_online_says_that_the_key_does_not_work(cli: Cli, beside: Start) -> None:
    """``check --online`` reports a refused key, and does not print it."""
    with beside(Options(keys=frozenset({"another"}))) as simulator:
        said = cli("check", "--online", WORKER_API_URL=simulator.url, VALOSSA_API_KEY=KEY)
        assert [] == simulator.accepted
    told = f"valossa-ingest: api_url {simulator.url} (WORKER_API_URL) does not list the jobs of "
    expected = f"{told}the key from VALOSSA_API_KEY: HTTP 401: "
    assert (78, expected) == (said.code, said.err[: len(expected)])
    assert KEY not in said.out + said.err


def test_check_online_asks_though_the_database_is_missing(fresh: Cli, beside: Start) -> None:
    """``check --online`` asks the API also if the database is missing."""
    with beside(Options(keys=frozenset({"another"}))) as simulator:
        said = fresh("check", "--online", WORKER_API_URL=simulator.url, VALOSSA_API_KEY=KEY)
    words = ["no database at", "does not list the jobs of the key"]
    assert words == [
        word for line, word in zip(said.err.splitlines(), words, strict=True) if word in line
    ]


def test_check_online_says_that_nobody_answers(cli: Cli) -> None:
    """An address where nothing listens is named in one sentence, without the key."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/core"
        said = cli("check", "--online", WORKER_API_URL=url, VALOSSA_API_KEY=KEY)
    told = f"valossa-ingest: api_url {url} (WORKER_API_URL) does not list the jobs of the key "
    expected = f"{told}from VALOSSA_API_KEY: ClientConnectorError: Cannot connect to host 127.0.0.1"
    assert (78, expected) == (said.code, said.err[: len(expected)])
    assert KEY not in said.out + said.err


def test_the_key_stays_unseen_wherever_it_was_put(cli: Cli, tmp_path: Path) -> None:
    """``check`` never prints the key, from whatever setting it comes (law 11)."""
    file = tmp_path / "key"
    file.write_text(KEY)
    for variables in (
        {"VALOSSA_API_KEY": KEY},
        {"VALOSSA_API_KEY_FILE": str(file)},
        {"VALOSSA_API_KEY": f"{KEY} {KEY}"},
        {"VALOSSA_API_KEY": KEY, "VALOSSA_API_KEY_FILE": str(file)},
        {"WORKER_API_KEY": KEY},
        {"WORKER_API_URL": f"https://a.invalid/core?api_key={KEY}"},
        {"WORKER_API_URL": f"https://{KEY}@a.invalid/core"},
    ):
        for flag in ((), ("--json",), ("--online",)):
            said = check(cli, *flag, **variables)
            assert KEY not in said.out + said.err


def test_check_is_a_table_on_a_terminal(url: str, screen: Callable[..., Screen]) -> None:
    """On a terminal ``check`` prints a table."""
    program = screen("check", "--database", url)
    assert 78 == program.ended()
    assert "─────" in program.shown
    assert "retry_after_max_seconds" in program.shown
    assert "valossa-ingest: no API key: set VALOSSA_API_KEY" in program.shown


# a server's database


PASSWORD = "pa55word"
WHY = {
    "nobody": "it refuses the user or the password: correct database_url, or PGPASSWORD",
    "nowhere": "there is no such database: make it with CREATE DATABASE, or name another",
    "down": "cannot be reached: start it, or correct database_url",
}
EVERY = (
    ("migrate",),
    ("check",),
    ("check", "--json"),
    ("add", "https://e.org/a"),
    ("import", "LIST"),
    ("preflight",),
    ("drain",),
    ("run",),
    ("page",),
    ("status",),
    ("workers",),
    ("list",),
    ("show", "1"),
    ("why",),
    ("export",),
    ("retry", "1"),
    ("cancel", "1"),
    ("resolve", "1", "--give-up"),
    ("reconcile",),
    ("audit",),
    ("pause",),
    ("resume",),
    ("release", "--host", "videos.example"),
    ("follow", "--once"),
    ("results", "list"),
    ("prune", "--older-than", "90d", "--yes"),
    ("backup", "/dev/null/copy.db"),
)


def test_every_command_that_opens_a_database_is_tried() -> None:
    """Every command that opens a database is in these tests."""
    named = {command.name for command in COMMANDS}
    others = {"health", "simulate", "demo"}  # which open none, or one of their own
    assert named - others == {"move", *(words[0] for words in EVERY)}


@pytest.mark.parametrize("unusable", WHY, indirect=True)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_move_that_cannot_be_made_shows_no_password(
    cli: Cli, unusable: tuple[str, str], *, backwards: bool
) -> None:
    """A move from or to an unusable database prints no password (law 11)."""
    url, why = unusable
    ends = (url, cli.url) if backwards else (cli.url, url)
    said = cli.bare("move", "--from", ends[0], "--to", ends[1])
    assert (78, True) == (said.code, why in said.err)
    assert PASSWORD not in said.out + said.err


@pytest.fixture
def unusable(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> tuple[str, str]:
    """Return an unusable address with a password, and the expected reason."""
    address = make_url(server).set(password=PASSWORD)
    if request.param == "nobody":
        address = address.set(username="nobody")
    elif request.param == "nowhere":
        address = address.set(database="nowhere")
    else:
        address = address.set(query={"host": str(tmp_path)})
    return address.render_as_string(hide_password=False), WHY[request.param]


@pytest.mark.parametrize(
    ("words", "unusable"),
    [(words, why) for words in EVERY for why in WHY if (words, why) != (("run",), "down")],
    indirect=["unusable"],
)
def test_a_server_that_cannot_be_used_is_one_sentence(
    fresh: Cli, listed: Callable[..., Path], words: tuple[str, ...], unusable: tuple[str, str]
) -> None:
    """An unusable server is named with the remedy and exit 78, without the password (law 11)."""
    url, why = unusable
    given = [str(listed("url", "https://e.org/1")) if word == "LIST" else word for word in words]
    said = Cli(url, fresh.capsys)(*given, WORKER_API_URL=LOOPBACK, VALOSSA_API_KEY=KEY)
    told = said.json()["problems"] if "--json" in words else said.err.splitlines()
    assert (78, 1) == (said.code, len(told))
    assert f"database {address_of(url)}" in told[0]
    assert why in told[0]
    assert "(database_url: --database)" in told[0]
    assert PASSWORD not in said.out + said.err


@pytest.mark.parametrize("words", [words for words in EVERY if words[0] not in {"add", "import"}])
@pytest.mark.parametrize("right", [False, True])
def test_a_password_is_shown_nowhere(
    guarded: str, fresh: Cli, words: tuple[str, ...], *, right: bool
) -> None:
    """No command prints the password of the database, be it right or wrong (law 11)."""
    address = make_url(guarded) if right else make_url(guarded).set(password=PASSWORD)
    url = address.render_as_string(hide_password=False)
    why = "the user may not do this" if right else "it refuses the user or the password"
    variables = {"WORKER_API_URL": LOOPBACK, "VALOSSA_API_KEY": KEY, "WORKER_DATABASE_URL": url}
    for said in (
        fresh.bare(*words, "--database", url, **variables),
        fresh.bare(*words, **variables),
    ):
        assert 78 == said.code
        assert why in said.err + said.out
        assert str(address.password) not in said.out + said.err


def test_a_driver_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """A missing driver is named with the extra to install, in one sentence."""
    (tmp_path / "asyncpg.py").write_text("raise ModuleNotFoundError('no asyncpg', name='asyncpg')")
    done = subprocess.run(
        [sys.executable, "-m", "worker", "status", "--database", f"postgresql://u:{PASSWORD}@h/db"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**surroundings(), "PYTHONPATH": str(tmp_path)},
        timeout=60,
        check=False,
    )
    told = "asyncpg is not installed: pip install 'valossa-ingest[postgres]'"
    expected = f"valossa-ingest: database postgresql://u@h/db: {told} (database_url: --database)\n"
    assert (78, "", expected) == (done.returncode, done.stdout, done.stderr)


def test_check_shows_no_secret_of_a_callback(cli: Cli) -> None:
    """``check`` shows a default_callback_url without its password and its query."""
    given = {"WORKER_DEFAULT_CALLBACK_URL": "https://me:s3cr3t@hooks.example/done?token=s3cr3t"}
    told = check(cli, "--json", VALOSSA_API_KEY=KEY, **given)
    assert "https://…hooks.example/done?…" == told.json()["settings"]["default_callback_url"]
    assert "s3cr3t" not in told.out + check(cli, VALOSSA_API_KEY=KEY, **given).out


def test_check_shows_no_sink(cli: Cli) -> None:
    """Of a command or an address that may hold a secret, ``check`` says only that it is set."""
    sinks = {"NOTIFY_COMMAND": "tell s3cr3t", "NOTIFY_URL": "https://h/s3cr3t"}
    given = {f"WORKER_{name}": value for name, value in sinks.items()}
    told = check(cli, "--json", VALOSSA_API_KEY=KEY, **given).json()["settings"]
    names = ("notify_command", "notify_url", "ping_url")
    assert ["set", "set", None] == [told[name] for name in names]
    assert "s3cr3t" not in check(cli, VALOSSA_API_KEY=KEY, **given).out
