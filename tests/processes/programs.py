"""Real processes of the program: started, listened to, stopped, killed, and judged by the book."""

import asyncio
import fcntl
import json
import os
import pty
import secrets
import struct
import sys
import termios
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from tests.plain import session
from worker.simulator import book
from worker.simulator.book import Job

PATIENCE_SECONDS = 120.0
"""Longer than anything here may take; whoever waits longer has found a hang."""

T = TypeVar("T")
Line = Mapping[str, object]
Row = Mapping[str, object]

LIMIT_FILES = """\
import os, resource, sys
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""Python that becomes its further arguments, no file of which may grow beyond the first one."""

OBEY_MODES = """\
import ctypes, os, sys
if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) != 0:
    sys.exit("CAP_DAC_OVERRIDE cannot be dropped")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Python that becomes its arguments, for which the modes of files count even if it is root."""


TAKE_TERMINAL = """\
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Python that becomes its arguments, with its standard input for the terminal that signals it."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str
    lines: Sequence[Line]

    @property
    def told(self) -> Mapping[str, object]:
        """Return the JSON document on stdout."""
        document: Mapping[str, object] = json.loads(self.out)
        return document

    @property
    def sentences(self) -> list[str]:
        """Return the lines of stderr that are no log lines."""
        return [line for line in self.err.splitlines() if not line.startswith("{")]

    def events(self, name: str) -> list[Line]:
        """Return the log lines of one event."""
        return [line for line in self.lines if line["event"] == name]


class Program:
    """One running process. Without pipes, ``screen`` is the terminal's other end."""

    def __init__(self, process: asyncio.subprocess.Process, screen: int | None = None) -> None:
        self._process = process
        self._screen = screen
        self._changed = asyncio.Event()
        self._out = bytearray()
        self._err = bytearray()
        self._over = asyncio.create_task(process.wait())
        self._readers = [
            asyncio.create_task(self._keep(stream, kept))
            for stream, kept in ((process.stdout, self._out), (process.stderr, self._err))
            if stream is not None
        ]
        if screen is not None:
            os.set_blocking(screen, False)
            asyncio.get_running_loop().add_reader(screen, self._look)

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        return self._process.pid

    @property
    def stdin(self) -> asyncio.StreamWriter:
        """Return its standard input."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def out(self) -> str:
        """Return the output so far."""
        return self._out.decode(errors="replace")

    @property
    def lines(self) -> list[Line]:
        """Return the log lines so far."""
        whole = self._err.decode().split("\n")[:-1]
        return [json.loads(line) for line in whole if line.startswith("{")]

    def events(self, name: str, **facts: object) -> list[Line]:
        """Return the log lines of one event with these facts so far."""
        return [line for line in self.lines if {"event": name, **facts}.items() <= line.items()]

    async def logged(self, name: str, count: int = 1, **facts: object) -> list[Line]:
        """Wait for ``count`` log lines of one event, and return them."""
        await self._until(lambda: len(self.events(name, **facts)) >= count, f"{count} {name}")
        return self.events(name, **facts)

    async def printed(self, text: str) -> str:
        """Wait for ``text`` in the output, and return the output."""
        await self._until(lambda: text.encode() in self._out, text)
        return self._out.decode()

    async def said(self, text: str) -> str:
        """Wait for ``text`` on stderr, and return what is there."""
        await self._until(lambda: text.encode() in self._err, text)
        return self._err.decode()

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def type(self, keys: bytes) -> None:
        """Type keys on its terminal."""
        assert self._screen is not None
        os.write(self._screen, keys)

    def kill(self) -> None:
        """Kill the process, as a power cut does."""
        self._process.kill()

    async def ended(self, patience: float = PATIENCE_SECONDS) -> Ended:
        """Wait for the end, at most so many seconds; return it."""
        await self._until(self._over.done, "its end", patience)
        await within(asyncio.gather(*self._readers))
        self._look()
        return Ended(
            code=self._over.result(),
            out=self._out.decode(),
            err=self._err.decode(),
            lines=self.lines,
        )

    async def put_away(self) -> None:
        """Kill the process and close its files."""
        if not self._over.done():
            self._process.kill()
        await within(asyncio.gather(self._over, *self._readers))
        if self._process.stdin is not None:
            self._process.stdin.close()
            with suppress(ConnectionError):
                await self._process.stdin.wait_closed()
        if self._screen is not None:
            asyncio.get_running_loop().remove_reader(self._screen)
            os.close(self._screen)

    async def _until(
        self, reached: Callable[[], bool], what: str, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Wait until ``reached``; fail with the output so far if the process ends before."""
        clock = asyncio.get_running_loop()
        give_up = clock.time() + patience
        while not reached():
            over = self._over.done() and all(reader.done() for reader in self._readers)
            if over or clock.time() > give_up:
                said = f"{self._out.decode()}\n{self._err.decode()}"
                end = f"ended with {self._over.result()}" if over else "is still there"
                raise AssertionError(f"waited for {what}, but the process {end}:\n{said}")
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            await asyncio.wait(
                {changed, *(task for task in (self._over, *self._readers) if not task.done())},
                timeout=give_up - clock.time(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            changed.cancel()

    async def _keep(self, stream: asyncio.StreamReader, kept: bytearray) -> None:
        while data := await stream.read(65_536):
            kept += data
            self._changed.set()

    def _look(self) -> None:
        """Read the terminal; stop watching it after its last writer has gone."""
        if self._screen is None:
            return
        try:
            while data := os.read(self._screen, 65_536):
                self._out += data
                self._changed.set()
        except BlockingIOError:
            return
        except OSError:
            asyncio.get_running_loop().remove_reader(self._screen)


class Programs:
    """Starts processes in an environment made from scratch, and puts away what is left of them.

    ``settings`` are the worker's, without their prefix; ``variables`` is the rest.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], **settings: object) -> None:
        self._folder = folder
        self._variables = variables
        self._settings = settings
        self._started: list[Program] = []

    async def start(
        self,
        *arguments: str,
        program: Sequence[str] = ("-m", "worker"),
        python: Path = Path(sys.executable),
        cwd: Path | None = None,
        variables: Mapping[str, str | None] | None = None,
        measured: bool = True,
        **settings: object,
    ) -> Program:
        """Start ``python`` with ``program`` and ``arguments``. What is None in ``variables`` or
        ``settings`` is not set. Not ``measured``: no coverage, which writes files of its own, and
        under which a thread of Python 3.11 spins for ever if a signal is due to a main thread that
        is about to wait (issue 1626 of coverage.py has the same cause).
        """
        process = await asyncio.create_subprocess_exec(
            python,
            *program,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd or self._folder,
            env=self._environment(variables or {}, settings, measured=measured),
        )
        self._started.append(Program(process))
        return self._started[-1]

    async def start_on_terminal(
        self,
        *arguments: str,
        columns: int = 100,
        lines: int = 24,
        variables: Mapping[str, str | None] | None = None,
        **settings: object,
    ) -> Program:
        """Start the program on a terminal of this size."""
        screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", TAKE_TERMINAL, "-m", "worker"),
            *arguments,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=self._folder,
            env=self._environment(
                {"TERM": "xterm-256color", **(variables or {})}, settings, measured=True
            ),
        )
        os.close(terminal)
        self._started.append(Program(process, screen))
        return self._started[-1]

    async def run(self, *arguments: str, **more: object) -> Ended:
        """Start a process and wait for its end."""
        started = await self.start(*arguments, **more)  # type: ignore[arg-type]
        return await started.ended()

    async def put_away(self) -> None:
        """Kill the processes that still run."""
        for program in self._started:
            await program.put_away()

    def _environment(
        self, variables: Mapping[str, str | None], settings: Mapping[str, object], *, measured: bool
    ) -> dict[str, str]:
        chosen = {**self._settings, **settings}
        wanted: dict[str, str | None] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "error",
            **{name: value for name, value in os.environ.items() if _measures(name) and measured},
            **{
                f"WORKER_{name.upper()}": None if value is None else str(value)
                for name, value in chosen.items()
            },
            **self._variables,
            **variables,
        }
        return {name: value for name, value in wanted.items() if value is not None}


def _measures(name: str) -> bool:
    return name.startswith("COVERAGE_")


async def within(waiting: Awaitable[T]) -> T:
    """Return the result; fail if it does not come in time."""
    return await asyncio.wait_for(waiting, PATIENCE_SECONDS)


async def until(reached: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(seconds):
        while not reached():  # noqa: ASYNC110 - it is so elsewhere, by no event of this loop
            await asyncio.sleep(0.05)


def execute(url: Path | str, sql: str, *values: object) -> list[Row]:
    """Run one SQL statement and commit, as any program may; return the rows."""
    with session(str(url)) as other:
        return list(other.rows(sql, *values))


def add_videos(url: Path | str, count: int) -> None:
    """Insert so many videos, each with a URL of its own."""
    batch = secrets.token_hex(4)
    links = [f"https://videos.example/{batch}/{number}.mp4" for number in range(1, count + 1)]
    execute(url, f"INSERT INTO videos (url) VALUES {', '.join(['(?)'] * count)}", *links)


def videos(url: Path | str) -> list[Row]:
    """Return every video, in the order of the ids."""
    return execute(url, "SELECT * FROM videos ORDER BY id")


def states(url: Path | str) -> dict[str, int]:
    """Return the number of videos in each state."""
    return dict(Counter(str(row["state"]) for row in videos(url)))


def let_leases_end(url: Path | str) -> None:
    """Let the leases of all claims expire."""
    ended = moment(-1)
    execute(url, "UPDATE videos SET lease_until = ? WHERE state = 'submitting'", ended)


def moment(seconds: float) -> str:
    """Return a moment so far from now as SQL text (UTC)."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S.%f}"


def bought_twice(jobs: Iterable[Job]) -> list[str | None]:
    """Return the videos that are in the book more than once, by URL or by request id."""
    jobs = list(jobs)
    counted = (Counter(job.url for job in jobs), Counter(job.request_id for job in jobs))
    return [name for counts in counted for name, number in counts.items() if number > 1]


def unknown(url: Path | str, jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs in the book that the table neither knows nor doubts."""
    rows = videos(url)
    known = {row["job_id"] for row in rows}
    doubted = {row["url"] for row in rows if row["state"] == "in_doubt"}
    return [job for job in jobs if job.job_id not in known and job.url not in doubted]


def read_book(path: Path) -> list[Job]:
    """Return the jobs in a book's file."""
    return [entry for entry in book.read(path) if isinstance(entry, Job)]
