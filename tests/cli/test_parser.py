import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import shtab

from tests.cli.conftest import CHECKOUT, Cli, surroundings
from worker import __version__
from worker.cli.catalogue import COMMANDS
from worker.cli.parser import FLAG_SETTINGS, SHELLS, parser
from worker.core.model import State

pytestmark = pytest.mark.usefixtures("path")
"""The command line is parsed in the same way for every database."""

NAMES = [command.name for command in COMMANDS]
SLOW = ("aiohttp", "sqlalchemy", "alembic", "rich", "structlog", "shtab")


def python(
    *arguments: object, stdout: int = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env={**surroundings(), **variables},
        timeout=60,
        check=False,
    )


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return dict(commands.choices)


def test_the_commands_of_the_first_issue_are_there() -> None:
    """The commands that people and programs outside use keep their names."""
    expected = ["migrate", "check", "add", "import", "drain", "run"]
    expected += ["status", "list", "show", "retry", "simulate", "demo"]
    assert expected == [name for name in expected if name in NAMES]


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_program_introduces_itself(cli: Cli, arguments: tuple[str, ...]) -> None:
    """The program without a command prints three first steps and the exit codes."""
    said = cli.bare(*arguments)
    assert (0, "") == (said.code, said.err)
    words = ["demo", "import videos.csv", "drain", "VALOSSA_API_KEY", "77 the key was refused"]
    assert words == [word for word in words if word in said.out]
    assert "three things to begin with:" in said.out


@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_what_it_is_for_and_how(cli: Cli, name: str) -> None:
    """The help of a command states its purpose in one line, and shows an example."""
    said = cli.bare(name, "--help")
    assert (0, "") == (said.code, said.err)
    (command,) = (each for each in COMMANDS if each.name == name)
    lines = said.out.splitlines()
    assert command.purpose[0].upper() + command.purpose[1:] + "." in lines
    assert f"  valossa-ingest {command.example}" == lines[lines.index("example:") + 1]
    codes = [int(line.split()[0]) for line in lines[lines.index("exits:") + 1 :]]
    assert {0, 2, 78} - ({0} if name == "run" else set()) <= set(codes)
    assert sorted(codes) == codes
    assert command.name == command.example.split()[0]
    assert {"--config", "--database"} <= set(said.out.replace(",", " ").split())


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("drain", {0, 1, 2, 75, 77, 78, 129, 130, 143}),
        ("run", {2, 78, 129, 130, 143}),
        ("results", {0, 1, 2, 75, 77, 78}),
        ("move", {0, 2, 78, 129, 130, 143}),
    ],
)
def test_the_help_of_what_takes_long_names_every_exit_code(name: str, codes: set[int]) -> None:
    """The help of ``drain``, ``run``, ``results`` and ``move`` lists every exit code."""
    (command,) = (each for each in COMMANDS if each.name == name)
    told = command.epilog.split("exits:\n")[1]
    assert codes == {int(line.split()[0]) for line in told.splitlines()}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "prune",
            "1    nothing was pruned, or another program keeps rows back: the log names them",
        ),
        ("move", "129  its terminal was closed; the same command goes on"),
        ("move", "130  stopped by Ctrl-C; the same command goes on"),
        ("move", "143  stopped by SIGTERM; the same command goes on"),
    ],
)
def test_the_help_says_what_an_exit_code_leaves(cli: Cli, name: str, line: str) -> None:
    """A prune may have pruned beside a 1, and a move that was stopped is none that has failed."""
    assert f"  {line}" in cli.bare(name, "--help").out.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_says_what_it_is_for(name: str) -> None:
    """Every flag has a help text."""
    assert [] == [a.dest for a in subparsers()[name]._actions if not a.help]  # noqa: SLF001


def test_help_loads_nothing_that_is_slow() -> None:
    """The help of every command loads no slow library."""
    code = f"""
import contextlib, io, json, sys
from worker.cli import run
codes = []
for name in {[[], *([n] for n in NAMES)]!r}:
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            run([*name, "--help"], {{}})
        except SystemExit as ended:
            codes.append(ended.code)
print(json.dumps([codes, [name for name in {SLOW!r} if name in sys.modules]]))
"""
    assert [[0] * (len(NAMES) + 1), []] == json.loads(python("-c", code).stdout)


def test_a_drain_off_a_terminal_loads_what_it_uses_alone(path: Path) -> None:
    """A drain off a terminal loads nothing for terminals, migrations, the simulator or shells."""
    idle = ["rich.progress", "worker.cli.terminal", "alembic", "shtab", "worker.simulator"]
    idle += ["prometheus_client", "worker.web"]
    code = f"""
import json, sys
from worker.cli import run
code = run(["drain", "--json", "--database", sys.argv[1]], {{"VALOSSA_API_KEY": "demo-key"}})
print(json.dumps([code, [name for name in {idle!r} if name in sys.modules]]))
"""
    assert [0, []] == json.loads(python("-c", code, path).stdout.splitlines()[-1])


def test_every_shell_can_complete_the_command_line(cli: Cli) -> None:
    """Completion is offered for exactly the shells that shtab supports."""
    assert set(shtab.SUPPORTED_SHELLS) == set(SHELLS)
    for shell in SHELLS:
        said = cli.bare("--print-completion", shell)
        assert (0, "") == (said.code, said.err)
        assert "max-seconds" in said.out


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    """The flag --version prints the version of the package."""
    said = cli.bare("--version")
    assert (0, f"valossa-ingest {__version__}\n") == (said.code, said.out)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_the_database_and_a_settings_file(name: str) -> None:
    """Every command takes --database and --config."""
    flags = {flag for action in subparsers()[name]._actions for flag in action.option_strings}  # noqa: SLF001
    assert {"--config", "--database"} <= flags


def test_what_is_watched_is_not_exited_by() -> None:
    """``status --watch --check``, which would never exit by the verdict, is refused."""
    with pytest.raises(SystemExit):
        parser().parse_args(["status", "--watch", "--check"])


def test_states_are_those_of_the_life_of_a_video() -> None:
    """The filter --state accepts exactly the states of a video."""
    (action,) = (a for a in subparsers()["list"]._actions if a.dest == "state")  # noqa: SLF001
    assert [state.value for state in State] == list(action.choices or ())


def test_flags_that_are_settings_are_settings() -> None:
    """Every flag of a setting sets that setting."""
    assert {"database_url", "rate", "concurrency", "progress", "listen"} == set(FLAG_SETTINGS)
    parsed = parser().parse_args(["drain", "--rate", "5", "--concurrency", "3", "--database", "q"])
    assert (5, 3, "q") == (parsed.rate, parsed.concurrency, parsed.database_url)
    assert ":1" == parser().parse_args(["run", "--listen", ":1"]).listen


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("frobnicate",), "invalid choice: 'frobnicate'"),
        (("list", "--limit", "abc"), "'abc' is no number from 1 on"),
        (("list", "--limit", "٣"), "'٣' is no number from 1 on"),
        (("list", "--limit", "9" * 30), f"'{'9' * 30}' is no number from 1 on"),
        (("list", "--limit", "0"), "'0' is no number from 1 on"),
        (("list", "--state", "lost"), "invalid choice: 'lost'"),
        (("list", "--since", "tomorrow"), "'tomorrow' is no moment; write 2026-01-31"),
        (("list", "--until", "2w"), "'2w' is no moment; write 2026-01-31"),
        (("list", "--since", "0001-01-01T00:00+05:00"), "is no moment; write 2026-01-31"),
        (("show",), "the following arguments are required: ID"),
        (("add",), "the following arguments are required: URL"),
        (("import",), "name a list, or files with --files"),
        (("import", "a.csv", "--media-id", "{stem}"), "name a list, or files with --files"),
        (("drain", "--rate", "fast"), "invalid int value: 'fast'"),
    ],
)
def test_wrong_usage_is_said_and_costs_2(cli: Cli, words: tuple[str, ...], why: str) -> None:
    """Wrong usage is refused with exit 2, and the message names the wrong word."""
    said = cli.bare(*words)
    assert (2, "") == (said.code, said.out)
    assert why in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "text", ["2026-01-31", "2026-01-31 00:00", "2026-01-31T02:00+02:00", "2026-01-30T19:00-05:00"]
)
def test_a_moment_is_utc_unless_it_says_otherwise(text: str) -> None:
    """A moment without an offset is UTC."""
    since = parser().parse_args(["list", "--since", text]).since
    assert "2026-01-31T00:00:00+00:00" == since.isoformat()


def test_a_wrong_setting_stops_every_command_with_78(cli: Cli) -> None:
    """Wrong settings stop a command with 78, and every problem is one line."""
    said = cli("status", WORKER_RATE="0", WORKER_RATES="1")
    assert (78, "") == (said.code, said.out)
    assert [
        "valossa-ingest: WORKER_RATES is no setting: did you mean WORKER_RATE?",
        "valossa-ingest: rate = '0' (WORKER_RATE): must be 1 or more",
    ] == said.err.splitlines()


def test_the_module_is_the_program(path: Path) -> None:
    """``python -m worker`` runs the same program as ``valossa-ingest``."""
    done = python("-m", "worker", "list", "--database", path)
    assert (0, "id\tstate\t") == (done.returncode, done.stdout[:9])


@pytest.mark.parametrize("rows", [1, 2_000])
def test_a_reader_that_has_enough_is_no_error(cli: Cli, rows: int) -> None:
    """A command whose reader closes the pipe early exits with 0."""
    cli.insert_many({"url": f"https://e.org/{number}"} for number in range(rows))
    read, write = os.pipe()
    os.close(read)
    done = python("-m", "worker", "list", "--database", cli.path, stdout=write)
    os.close(write)
    assert (0, "") == (done.returncode, done.stderr)


def test_a_locale_without_the_letters_is_no_error(cli: Cli) -> None:
    """A character that the locale cannot encode is printed as an escape."""
    cli.insert(title="Ä 🎬")
    done = python("-m", "worker", "list", "--database", cli.path, PYTHONIOENCODING="ascii")
    assert (0, "") == (done.returncode, done.stderr)
    assert "\\xc4 \\U0001f3ac" in done.stdout


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "soon"])
def test_a_time_that_never_ends_is_no_limit(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A time that is not a finite number of seconds is refused with exit 2."""
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(["drain", "--max-seconds", text])
    assert 2 == raised.value.code
    assert "--max-seconds" in capsys.readouterr().err
