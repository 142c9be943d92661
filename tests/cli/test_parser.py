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
from worker.cli.parser import COMMANDS, FLAG_SETTINGS, SHELLS, parser
from worker.core.model import State

pytestmark = pytest.mark.usefixtures("path")
"""The words of a command line are the same on every database."""

NAMES = [command.name for command in COMMANDS]
SLOW = ("aiohttp", "sqlalchemy", "alembic", "rich", "structlog", "shtab")


def python(
    *arguments: object, stdout: int = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own."""
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
    """Each command's own parser."""
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return dict(commands.choices)


def test_the_commands_of_the_first_issue_are_there() -> None:
    """People and programs outside use these names."""
    expected = ["migrate", "check", "add", "import", "drain", "run"]
    expected += ["status", "list", "show", "retry", "simulate", "demo"]
    assert expected == [name for name in expected if name in NAMES]


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_program_introduces_itself(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Whoever types the bare name learns three things to begin with, and what exit codes mean."""
    said = cli.bare(*arguments)
    assert (0, "") == (said.code, said.err)
    words = ["demo", "import videos.csv", "drain", "VALOSSA_API_KEY", "77 the key was refused"]
    assert words == [word for word in words if word in said.out]
    assert "three things to begin with:" in said.out


@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_what_it_is_for_and_how(cli: Cli, name: str) -> None:
    """Asked for help, a command says its purpose in a line and shows itself in use."""
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
    ("name", "codes"), [("drain", {0, 1, 2, 75, 77, 78, 130, 143}), ("run", {2, 78, 130, 143})]
)
def test_the_help_of_a_run_names_every_exit_code(name: str, codes: set[int]) -> None:
    """Whoever writes a cron line would have to find the codes elsewhere."""
    (command,) = (each for each in COMMANDS if each.name == name)
    told = command.epilog.split("exits:\n")[1]
    assert codes == {int(line.split()[0]) for line in told.splitlines()}


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_says_what_it_is_for(name: str) -> None:
    """A flag without a word of help has to be guessed."""
    assert [] == [a.dest for a in subparsers()[name]._actions if not a.help]  # noqa: SLF001


def test_help_loads_nothing_that_is_slow() -> None:
    """A person who asks how waits for nothing: no library is loaded to say it."""
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
    """A cron job pays each minute for what draws on terminals, migrates, imitates or completes."""
    idle = ("rich.progress", "worker.cli.drawn", "alembic", "shtab", "worker.simulator")
    code = f"""
import json, sys
from worker.cli import run
code = run(["drain", "--json", "--database", sys.argv[1]], {{"VALOSSA_API_KEY": "demo-key"}})
print(json.dumps([code, [name for name in {idle!r} if name in sys.modules]]))
"""
    assert [0, []] == json.loads(python("-c", code, path).stdout.splitlines()[-1])


def test_every_shell_can_complete_the_command_line(cli: Cli) -> None:
    """A shell is offered that shtab does not know, or one that it knows is kept back."""
    assert set(shtab.SUPPORTED_SHELLS) == set(SHELLS)
    for shell in SHELLS:
        said = cli.bare("--print-completion", shell)
        assert (0, "") == (said.code, said.err)
        assert "max-seconds" in said.out


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    """A report of a fault can name the version."""
    said = cli.bare("--version")
    assert (0, f"valossa-ingest {__version__}\n") == (said.code, said.out)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_the_database_and_a_settings_file(name: str) -> None:
    """No command works on another queue than the rest."""
    flags = {flag for action in subparsers()[name]._actions for flag in action.option_strings}  # noqa: SLF001
    assert {"--config", "--database"} <= flags


def test_states_are_those_of_the_life_of_a_video() -> None:
    """Whatever state a video can be in can be asked for."""
    (action,) = (a for a in subparsers()["list"]._actions if a.dest == "state")  # noqa: SLF001
    assert [state.value for state in State] == list(action.choices or ())


def test_flags_that_are_settings_are_settings() -> None:
    """A flag that no setting knows would have no effect."""
    assert {"database_url", "rate", "concurrency"} == set(FLAG_SETTINGS)
    parsed = parser().parse_args(["drain", "--rate", "5", "--concurrency", "3", "--database", "q"])
    assert (5, 3, "q") == (parsed.rate, parsed.concurrency, parsed.database_url)


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
        (("import",), "the following arguments are required: FILE"),
        (("drain", "--rate", "fast"), "invalid int value: 'fast'"),
    ],
)
def test_wrong_usage_is_said_and_costs_2(cli: Cli, words: tuple[str, ...], why: str) -> None:
    """What cannot be meant is refused before anything is touched, with the word that is wrong."""
    said = cli.bare(*words)
    assert (2, "") == (said.code, said.out)
    assert why in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "text", ["2026-01-31", "2026-01-31 00:00", "2026-01-31T02:00+02:00", "2026-01-30T19:00-05:00"]
)
def test_a_moment_is_utc_unless_it_says_otherwise(text: str) -> None:
    """Nobody's time zone moves a filter."""
    since = parser().parse_args(["list", "--since", text]).since
    assert "2026-01-31T00:00:00+00:00" == since.isoformat()


def test_a_wrong_setting_stops_every_command_with_78(cli: Cli) -> None:
    """All problems come at once, a line each, before anything starts."""
    said = cli("status", WORKER_RATE="0", WORKER_RATES="1")
    assert (78, "") == (said.code, said.out)
    assert [
        "valossa-ingest: WORKER_RATES is no setting: did you mean WORKER_RATE?",
        "valossa-ingest: rate = '0' (WORKER_RATE): must be 1 or more",
    ] == said.err.splitlines()


def test_the_module_is_the_program(path: Path) -> None:
    """``python -m worker`` does what ``valossa-ingest`` does."""
    done = python("-m", "worker", "list", "--database", path)
    assert (0, "id\tstate\t") == (done.returncode, done.stdout[:9])


@pytest.mark.parametrize("rows", [1, 2_000])
def test_a_reader_that_has_enough_is_no_error(cli: Cli, rows: int) -> None:
    """``list | head -1`` ends well, however much is left to say."""
    cli.insert_many({"url": f"https://e.org/{number}"} for number in range(rows))
    read, write = os.pipe()
    os.close(read)
    done = python("-m", "worker", "list", "--database", cli.path, stdout=write)
    os.close(write)
    assert (0, "") == (done.returncode, done.stderr)


def test_a_locale_without_the_letters_is_no_error(cli: Cli) -> None:
    """A cron job in an old locale prints what it can, and marks what it cannot."""
    cli.insert(title="Ä 🎬")
    done = python("-m", "worker", "list", "--database", cli.path, PYTHONIOENCODING="ascii")
    assert (0, "") == (done.returncode, done.stderr)
    assert "\\xc4 \\U0001f3ac" in done.stdout


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "soon"])
def test_a_time_that_never_ends_is_no_limit(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A drain that was given an end would go on for ever."""
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(["drain", "--max-seconds", text])
    assert 2 == raised.value.code
    assert "--max-seconds" in capsys.readouterr().err
