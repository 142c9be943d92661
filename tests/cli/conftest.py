"""Share what the tests of the commands need: a command line, SQL on the tables, a server.

Commands are called as the program calls them, and each makes and ends its own event loop; so the
imitation of the API runs in a thread of its own.
"""

import asyncio
import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.plain import execute, insert_all, session
from worker.cli import run
from worker.db.address import address_of
from worker.simulator import Options, Simulator

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Said:
    """The result of a command: its exit code and its text on stdout and on stderr."""

    code: int
    out: str
    err: str

    def json(self) -> Any:  # noqa: ANN401 - as free as JSON is
        """Return the JSON document on stdout."""
        return json.loads(self.out)

    def pairs(self) -> dict[str, str]:
        """Names and values on stdout, as ``output.pairs`` writes them."""
        lines = (line.rsplit("  ", 1) for line in self.out.splitlines() if "  " in line)
        return {name.strip(): value.strip() for name, value in lines}

    def rows(self) -> list[list[str]]:
        """Return the table on stdout, with its head."""
        return [line.split("\t") for line in self.out.splitlines()]


@dataclass
class Cli:
    """The command line on one database. ``environment`` is all that it sees of variables."""

    url: str
    capsys: pytest.CaptureFixture[str]
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, command: str, *arguments: object, **environment: str) -> Said:
        """One command on this database."""
        given = [command, *map(str, arguments)]
        return self.bare(*given, "--database", self.url, **environment)

    @property
    def path(self) -> Path:
        """The file, where it is one."""
        return Path(self.url)

    @property
    def shown(self) -> str:
        """The database as people are told of it."""
        return str(address_of(self.url))

    def bare(self, *arguments: object, **environment: str) -> Said:
        """Run the command line as it is written."""
        self.capsys.readouterr()
        try:
            code = run([*map(str, arguments)], {**self.environment, **environment})
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        out, err = self.capsys.readouterr()
        return Said(code, out, err)

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Plain SQL, as anybody may say it; one column comes as values."""
        rows = execute(self.url, statement, *values)
        return [row[0] if len(row) == 1 else row for row in rows]

    def insert(self, **columns: object) -> int:
        """Insert a row as any program may, and return its id."""
        (number,) = self.sql("SELECT coalesce(max(id), 0) + 1 FROM videos")
        self.insert_many([{"url": f"https://example.org/{number}.mp4", **columns}])
        assert isinstance(number, int)
        return number

    def insert_many(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Many rows, all with the same columns."""
        given = list(rows)
        insert_all(self.url, "videos", given)

    def row(self, video_id: int) -> dict[str, Any]:
        """One video as it stands."""
        with session(self.url) as plain:
            (found,) = plain.rows("SELECT * FROM videos WHERE id = ?", video_id)
        return found


@pytest.fixture
def cli(url: str, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return the command line on a migrated database."""
    return Cli(url, capsys)


@pytest.fixture
def fresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return the command line where no file is yet."""
    return Cli(str(tmp_path / "fresh" / "videos.db"), capsys)


@pytest.fixture
def empty(bare: str, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return the command line on a server's database that is still empty."""
    return Cli(bare, capsys)


ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "worker", *sys.argv[1:]])
"""
"""Python that becomes the program, with its standard input for the terminal that signals it."""

PATIENCE_SECONDS = 120.0


class Screen:
    """The program on a terminal of its own; ``shown`` is everything that stood on it so far."""

    def __init__(self, arguments: Sequence[object], columns: int = 200) -> None:
        self._master, slave = pty.openpty()
        self.shown = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            cwd=CHECKOUT,
            env={**surroundings(), "TERM": "xterm-256color", "COLUMNS": str(columns)},
        )
        os.close(slave)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> None:
        """Return as soon as ``text`` stands there."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while text not in self.shown:
            assert time.monotonic() < give_up, self.shown
            assert self._read(), self.shown

    def interrupt(self) -> int:
        """Press Ctrl-C until it ends, as people do: one that comes just before a read is heard
        only after it. Not so soon again that it hits a busy machine's process in its ending. The
        exit code.
        """
        give_up = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < give_up:
            self.type("\x03")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        return self.ended()

    def ended(self) -> int:
        """Its exit code, as soon as it has ended."""
        while self._read():
            pass
        return self._process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """Leave no process and no open file behind."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        """Take what stands there; False when nobody writes to it any more."""
        ready, _, _ = select.select([self._master], [], [], PATIENCE_SECONDS)
        try:
            data = os.read(self._master, 65_536) if ready else b""
        except OSError:
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


def surroundings() -> dict[str, str]:
    """Return the variables of this process, without those that change the program or its Python."""
    ours = ("WORKER_", "VALOSSA_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture
def screen() -> Iterator[Callable[..., Screen]]:
    """Yield a function that starts the program on a terminal."""
    with ExitStack() as stack:

        def start(*arguments: object, columns: int = 200) -> Screen:
            return stack.enter_context(closing(Screen(arguments, columns)))

        yield start


class Beside:
    """The imitation of the API in a thread with its own event loop."""

    def __init__(self, options: Options) -> None:
        self.simulator = Simulator(options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Simulator:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.simulator.start(), self._loop).result()
        return self.simulator

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.simulator.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def beside() -> Callable[[Options], Beside]:
    """Return a context manager that runs an imitation of the API beside a command."""
    return Beside


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a list from lines of text and bytes, and returns its path."""

    def write(*lines: str | bytes, name: str = "list.csv") -> Path:
        file = tmp_path / name
        file.write_bytes(
            b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines)
        )
        return file

    return write


@contextmanager
def refusing(
    status: int, message: str, listed: Mapping[str, object], get: int = 200
) -> Iterator[str]:
    """Serve an API whose list is as given, with the status ``get``, and which answers every POST
    so; yield its address.
    """

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(get, listed)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.say(status, {"errors": [{"message": message}]})

        def say(self, code: int, document: object) -> None:
            body = json.dumps(document, ensure_ascii=False).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing on stderr."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/core/1.0"
        server.shutdown()
        serving.join()
