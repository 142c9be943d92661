"""Hold ``page``, ``run --listen`` and ``status --html`` as a person starts them."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from worker.cli import run
from worker.settings_sources import SettingsError, read_page_token

PROGRAM = (sys.executable, "-m", "worker")
PAGE = re.compile(r"(http://[^/]+)/ \(to act on it, once: (\S+)\)")


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a process of the program that is ended by SIGTERM."""
    kept = (name for name in os.environ if not name.startswith(("WORKER_", "PYTHONUNBUFFERED")))
    known = {name: os.environ[name] for name in kept}
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        env={**known, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def address_in(process: subprocess.Popen[str]) -> str:
    """Return the address that the process has announced."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := PAGE.search(line):
            assert found[2].startswith(f"{found[1]}/sign-in?code=")
            return found[1]
    raise AssertionError("no page was announced")


def fetched(url: str) -> str:
    """Return what an address answers."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def test_page_serves_a_queue_without_a_daemon(path: Path) -> None:
    """``page`` prints its address and a link to sign in with, serves, and ends with 0."""
    with started("page", "--listen", "127.0.0.1:0", "--database", str(path)) as process:
        assert "Idle: nothing is due" in fetched(address_in(process))
    assert 0 == process.returncode


def test_a_daemon_serves_its_page(path: Path) -> None:
    """``run --listen`` logs its page, whose health is the turn of its loop."""
    arguments = ("run", "--listen", "127.0.0.1:0", "--database", str(path))
    with started(*arguments, VALOSSA_API_KEY="key", WORKER_LOG_FORMAT="json") as process:
        address = address_in(process)
        assert "idle: nothing is due" in fetched(f"{address}/").lower()
        assert fetched(f"{address}/healthz").startswith("idle: nothing is due")
    assert 143 == process.returncode


@pytest.mark.parametrize("command", ["page", "run"])
def test_an_address_for_others_needs_a_token(
    command: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that other machines reach is refused without a token, with the way out."""
    environment = {"WORKER_LISTEN": "0.0.0.0:8787", "VALOSSA_API_KEY": "key"}

    assert 78 == run([command, "--database", str(path)], environment)

    told = capsys.readouterr().err
    assert "listen = 0.0.0.0:8787 can be reached from other machines" in told
    assert "WORKER_PAGE_TOKEN" in told


@pytest.mark.parametrize("command", ["page", "run"])
def test_a_taken_port_is_named(
    command: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port that is in use ends the command with 78 and its name."""
    with started("page", "--listen", "127.0.0.1:0", "--database", str(path)) as process:
        port = address_in(process).rpartition(":")[2]
        listen = f"127.0.0.1:{port}"
        arguments = [command, "--listen", listen, "--database", str(path)]

        assert 78 == run(arguments, {"VALOSSA_API_KEY": "key"})

    assert f"listen = {listen} cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("listen", ["8787", "127.0.0.1", "http://x:1", "a b:1", "[::1]:x"])
def test_a_wrong_address_is_refused(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that is no address and port is refused with an example."""
    assert 78 == run(["page", "--listen", listen], {})
    assert "must be like 127.0.0.1:8787" in capsys.readouterr().err


@pytest.mark.parametrize("listen", ["a..b:8787", f"{'a' * 64}:8787"])
def test_a_name_that_no_host_can_have_is_named(
    path: Path, listen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with an empty or a long part ends the command with 78 and the name."""
    token = {"WORKER_PAGE_TOKEN": "0123456789abcdef"}
    assert 78 == run(["page", "--listen", listen, "--database", str(path)], token)
    told = f"listen = {listen} cannot be used: it is no host name: name another with --listen"
    assert told in capsys.readouterr().err


def test_a_token_comes_from_its_variable_or_file(tmp_path: Path) -> None:
    """The token is read as the key is; a short one, and both at once, are refused."""
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n", encoding="utf-8")

    assert read_page_token({}, "127.0.0.1:1") is None
    found = read_page_token({"WORKER_PAGE_TOKEN_FILE": str(file)}, "0.0.0.0:1")
    assert found is not None
    assert "0123456789abcdef" == found.value
    for wrong in (
        {"WORKER_PAGE_TOKEN": "short"},
        {"WORKER_PAGE_TOKEN": "x" * 16, "WORKER_PAGE_TOKEN_FILE": str(file)},
        {"WORKER_PAGE_TOKEN_FILE": str(tmp_path / "none")},
    ):
        with pytest.raises(SettingsError, match="WORKER_PAGE_TOKEN"):
            read_page_token(wrong, None)


def test_status_writes_the_page_to_a_file(cli: Cli, tmp_path: Path) -> None:
    """``status --html`` replaces a file, and the metrics beside it; one that cannot be written is
    named, and the other is written all the same.
    """
    file = tmp_path / "queue.html"
    file.write_text("old", encoding="utf-8")

    metrics = tmp_path / "queue.prom"

    said = cli("status", "--html", file, "--metrics-file", metrics)
    assert (0, "", "") == (said.code, said.out, said.err)
    assert 'state="idle"} 1.0' in metrics.read_text(encoding="utf-8")
    assert "Idle: nothing is due" in file.read_text(encoding="utf-8")
    assert [file.name] == [each.name for each in tmp_path.glob("*.html*")]

    none = tmp_path / "none"
    for flag, other in (("--html", "--metrics-file"), ("--metrics-file", "--html")):
        written = tmp_path / f"beside{flag}"
        done = cli("status", flag, none / "queue", other, written)
        problem = f"{none}/queue cannot be written: No such file or directory: name another {flag}"
        assert (78, f"valossa-ingest: {problem}\n") == (done.code, done.err)
        assert written.exists()


@pytest.mark.parametrize("words", [("--watch",), ("--check",), ("--json",)])
def test_a_page_in_a_file_is_no_status_that_is_printed(
    cli: Cli, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Beside ``--html`` what would print, or exit by the verdict, is refused."""
    file = tmp_path / "queue.html"
    said = cli("status", "--html", file, *words)
    assert (2, "", False) == (said.code, said.out, file.exists())
    assert words[0] in said.err
