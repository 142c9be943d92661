"""Share the yardstick's server, long queues and measured processes."""

import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

HERE = Path(__file__).parent
KEY = "abcdef0123456789abcdef0123456789"
FASTEST = 100_000
"""The highest ``rate`` there is: no pace."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``server.py``."""

    port: int

    @property
    def url(self) -> str:
        """Return the ``api_url`` of it."""
        return f"http://127.0.0.1:{self.port}/core/1.0"

    def book(self) -> list[float]:
        """Return the times of the jobs made since the last call, in seconds of its clock."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/book") as answer:
            moments: list[float] = json.load(answer)
        return moments


@contextmanager
def server(latency_seconds: float = 0.0) -> Iterator[Server]:
    """Yield a server of its own process, which answers at once, or after that long."""
    with serving("server.py", str(latency_seconds)) as at:
        yield at


@contextmanager
def serving(*program: str) -> Iterator[Server]:
    """Yield a server of this folder, with its arguments, until the block ends."""
    command = [sys.executable, str(HERE / program[0]), *program[1:]]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()))
        process.stdin.close()


def rate(moments: Sequence[float]) -> float:
    """Return jobs per second, from the first to the last."""
    return (len(moments) - 1) / (moments[-1] - moments[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The cost of a process: processor seconds, and peak memory in bytes."""

    cpu_seconds: float
    peak_bytes: int


def run(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Usage:
    """Run a command to its end, with its output in ``log``. Raises AssertionError if it fails."""
    with NamedTemporaryFile() as usage, log.open("wb") as output:
        measured = [sys.executable, "-I", "-S", str(HERE / "usage.py"), usage.name, *command]
        code = subprocess.call(measured, env=environment, stdout=output, stderr=output)
        assert code == 0, log.read_text()[-2000:]
        return Usage(**json.load(usage))


def settings(**told: object) -> dict[str, str]:
    """Return the environment of this process, with these settings of the program."""
    named = {f"WORKER_{name.upper()}": str(value) for name, value in told.items()}
    return {**os.environ, **named}


def program_command(*arguments: str) -> list[str]:
    """Return the command line of the program."""
    return [sys.executable, "-m", "worker", *arguments]


def program(arguments: Sequence[str], log: Path, **told: object) -> Usage:
    """Run a command of the program, with settings."""
    return run(program_command(*arguments), log, {**settings(**told), "VALOSSA_API_KEY": KEY})


def drain(queue: Path, at: Server, *arguments: str, slots: int, **settings: object) -> Usage:
    """Drain a queue as a person would, with all that is recorded and logged."""
    return program(
        ["drain", *arguments],
        queue.with_suffix(".log"),
        **{
            "database_url": queue,
            "api_url": at.url,
            "concurrency": slots,
            "rate": FASTEST,
            **settings,
        },
    )


def bare_loop(at: Server, count: int, slots: int, log: Path) -> Usage:
    """Return the yardstick: the same POSTs by aiohttp alone."""
    command = [sys.executable, str(HERE / "bare.py"), f"{at.url}/new_job", str(count), str(slots)]
    return run(command, log)


def make_queue(path: Path, count: int) -> Path:
    """Return a database with ``count`` due videos, as a list of an archive has them."""
    program(["migrate"], path.with_suffix(".log"), database_url=path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO videos (url, media_id, title, description, language) "
            "VALUES (?, ?, ?, ?, 'en-US')",
            (
                (
                    f"https://example.com/videos/{number}.mp4",
                    f"media-{number}",
                    f"The news of day {number}",
                    f"All that was said and shown on day {number}, from the archive",
                )
                for number in range(count)
            ),
        )
    return path
