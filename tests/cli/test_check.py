"""Hold what ``check`` says of this machine, and of an API that gives no list."""

import os
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Said, refusing
from worker.cli.commands.check import local_problems
from worker.runner.result_files import ROOM
from worker.settings_sources import load

pytestmark = pytest.mark.usefixtures("path")
"""What is looked at is the same for every database."""

KEY = "sk-0123456789abcdef"
LOOPBACK = "http://127.0.0.1:9/core/1.0"
TOO_FULL = (
    "results_dir = /tmp (WORKER_RESULTS_DIR): nothing can be fetched: less than 256 MiB are free: "
    "make room"
)


def check(cli: Cli, *words: object, **environment: str) -> Said:
    """Run ``check`` with a key, and an address that needs no network."""
    return cli(
        "check", *words, **{"WORKER_API_URL": LOOPBACK, "VALOSSA_API_KEY": KEY} | environment
    )


def test_missing_folders_and_a_missing_program_are_named_at_once(cli: Cli, tmp_path: Path) -> None:
    """Each is a line with its setting, its source and a way out; a command may hold a secret."""
    given = {"RESULTS_DIR": "/nodir", "UPLOAD_ROOTS": f"{tmp_path}:/no1:/no2", "FOLLOW": "results"}
    given |= {"NOTIFY_COMMAND": "nosuchprogram s3cr3t"}
    said = check(cli, **{f"WORKER_{name}": value for name, value in given.items()})
    results = (
        "results_dir = /nodir (WORKER_RESULTS_DIR): nothing can be written there (No such file "
    )
    roots = f"upload_roots = {tmp_path}:/no1:/no2 (WORKER_UPLOAD_ROOTS)"
    program = "notify_command (WORKER_NOTIFY_COMMAND): its first word is no program that is found: "
    assert [
        f"valossa-ingest: {results}or directory): make the folder for this user, or name another",
        f"valossa-ingest: {roots}: '/no1' is not there: name folders that this user may read",
        f"valossa-ingest: {roots}: '/no2' is not there: name folders that this user may read",
        f"valossa-ingest: {program}write the whole path of one; no shell reads the line",
    ] == said.err.splitlines()
    assert (78, True) == (said.code, "nosuchprogram" not in said.out)


def test_a_file_is_no_folder(cli: Cli, tmp_path: Path) -> None:
    """A file in the place of a folder is a problem, and so is a root that is a link."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    names = {"FOLLOW": "results", "RESULTS_DIR": f"{tmp_path}/file"}
    names |= {"UPLOAD_ROOTS": f"{tmp_path}/file:{tmp_path}/link"}
    said = check(cli, **{f"WORKER_{name}": value for name, value in names.items()})
    words = ["(Not a directory): make the folder", "file': Not a directory", "link' is a link"]
    assert words == [w for line, w in zip(said.err.splitlines(), words, strict=True) if w in line]


@pytest.mark.parametrize("command", ["{folder}/tell --now", "./tell", "tell x", "sh -c 'tell'"])
def test_folders_and_a_program_that_are_there_are_no_problem(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A program is found as a run finds it: by its path, or in PATH. The folder stays empty."""
    (tmp_path / "tell").write_text("#!/bin/sh\n")
    (tmp_path / "tell").chmod(0o755)
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    said = check(
        cli,
        PATH=f"{tmp_path}:/bin:/usr/bin",
        WORKER_FOLLOW="results",
        WORKER_RESULTS_DIR="results",
        WORKER_UPLOAD_ROOTS=f"{tmp_path}/",
        WORKER_NOTIFY_COMMAND=command.format(folder=tmp_path),
    )
    assert (0, "") == (said.code, said.err)
    assert [] == os.listdir(tmp_path / "results")  # noqa: PTH208 - a look at it afterwards


@pytest.mark.parametrize(("free", "problems"), [(ROOM, []), (ROOM - 1, [TOO_FULL])])
def test_a_disk_without_room_for_results_is_named(free: int, problems: list[str]) -> None:
    """A folder is a problem if its disk has less room than a fetch asks for."""
    loaded = load({}, {"WORKER_FOLLOW": "results", "WORKER_RESULTS_DIR": "/tmp"}, None)
    assert problems == [*local_problems(loaded, [], lambda _: free)]


def test_a_name_that_no_folder_can_have_is_one_line(cli: Cli, tmp_path: Path) -> None:
    """A settings file may hold what no path can."""
    (tmp_path / "worker.toml").write_text('follow = "results"\nresults_dir = "a\\u0000b"\n')
    said = check(cli, "--config", tmp_path / "worker.toml")
    assert (78, 1) == (said.code, len(said.err.splitlines()))
    assert "nothing can be written there (embedded null byte): make" in said.err


def test_a_folder_of_results_that_are_not_fetched_is_not_looked_at(cli: Cli) -> None:
    """With ``follow = status`` nothing is written to ``results_dir``."""
    assert 0 == check(cli, WORKER_RESULTS_DIR="/nodir").code


ADDRESS = ": correct the address"
AGAIN = ": ask again later"
ANOTHER_KEY = ": put the right key in VALOSSA_API_KEY, or settle it with Valossa"
NETWORK = ": check the network, api_url and proxy"


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, ANOTHER_KEY),
        (402, ANOTHER_KEY),
        (403, ANOTHER_KEY),
        (404, ADDRESS),
        (302, ADDRESS),
        (400, ADDRESS),
        (429, AGAIN),
        (502, AGAIN),
        (503, AGAIN),
    ],
)
def test_check_online_says_what_helps(cli: Cli, status: int, remedy: str) -> None:
    """The way out depends on what the API answers: the key, the address, or time."""
    with refusing(500, "", {"errors": [{"message": "no"}]}, get=status) as url:
        said = check(cli, "--online", WORKER_API_URL=url)
    assert (78, f"{remedy}\n") == (said.code, said.err[-len(remedy) - 1 :])
    assert 1 == sum(each in said.err for each in (ADDRESS, AGAIN, ANOTHER_KEY, NETWORK))


def test_check_online_without_an_answer_names_the_network(cli: Cli) -> None:
    """Where nobody answers, neither the key nor the account is to blame."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/core"
        said = check(cli, "--online", WORKER_API_URL=url)
    assert (78, f"{NETWORK}\n") == (said.code, said.err[-len(NETWORK) - 1 :])
