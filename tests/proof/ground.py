"""Set up a scenario: databases, processes, the book, and the table for its verdicts."""

import asyncio
import os
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from tests.plain import insert_all
from tests.processes.programs import Ended, Program, Programs
from tests.proof.databases import Databases
from tests.proof.judge import Tried, Verdict, judge

T = TypeVar("T")

FULL = os.environ.get("PROOF") == "full"
"""True if the counts are those of `make proof`."""

ROOT = Path(__file__).parents[2]
"""The folder of every process, so that a changed copy of the project proves the copy."""

HOUR_SECONDS = 3600

_NOTHING: Mapping[str, str] = MappingProxyType({})

FINISH_SECONDS = 180.0
"""For a drain of what two hundred killed workers left, at a pace that refusals have lowered."""
"""Longer than any lease and any backoff of a scenario."""


def times(quick: T, full: T) -> T:
    """Return how often to try: seconds of it, or minutes."""
    return full if FULL else quick


def addresses(kind: str, count: int) -> list[str]:
    """Return that many addresses of videos that tell what they are for."""
    return [f"https://videos.example/{kind}/{number}.mp4" for number in range(count)]


def among_served(urls: Iterable[str]) -> list[str]:
    """Return each address behind one that meets no trouble.

    So the worker goes on trusting the API (law 13), and each request finds a kept connection.
    """
    return [each for url in urls for each in (served(url), url)]


def served(url: str) -> str:
    """Return the address of its neighbour that meets no trouble."""
    return url.replace("videos.example/", "videos.example/served/")


def hand_in(database: str, urls: Collection[str], **columns: object) -> None:
    """Put videos in the queue with plain SQL, in this order, all with these columns."""
    if urls:
        insert_all(database, "videos", [{"url": url, **columns} for url in urls])


async def together(*parts: Awaitable[T]) -> list[T]:
    """Return what all of them came to; the failure of one is told when the others have ended."""
    ended = await asyncio.gather(*parts, return_exceptions=True)
    results: list[T] = []
    for each in ended:
        if isinstance(each, BaseException):
            raise each
        results.append(each)
    return results


class Ground:
    """One scenario's files, databases and processes. ``book`` is the file of every job that was
    accepted, ``made`` are the addresses of the databases.
    """

    def __init__(
        self, folder: Path, databases: Databases, programs: Programs, tried: list[Tried]
    ) -> None:
        self.folder = folder
        self.book = folder / "book.jsonl"
        self.databases = databases
        self._programs = programs
        self._tried = tried
        self.made: list[str] = []

    def database(self, name: str, urls: Collection[str] = (), **columns: object) -> str:
        """Return the address of a new database that holds these videos."""
        made = self.databases.new(name)
        hand_in(made, urls, **columns)
        self.made.append(made)
        return made

    async def imitate(self, *arguments: str) -> str:
        """Start `simulate` with the book; its address."""
        program = await self.start("simulate", "--port", "0", "--book", str(self.book), *arguments)
        printed = await program.printed("use it with: ")
        return printed.split("imitating the API at ")[1].split()[0]

    async def start(
        self, *arguments: str, program: Sequence[str] = ("-m", "worker"), **settings: object
    ) -> Program:
        """Start a process of the program, or another, with these settings."""
        if arguments[:1] == ("drain",):  # whose first request is then that of a video
            arguments += ("--yes",)
        return await self._programs.start(
            *arguments,
            program=program,
            cwd=ROOT,
            measured=False,
            **settings,  # type: ignore[arg-type]
        )

    async def run(self, *arguments: str, **more: object) -> Ended:
        """Start a process and wait for its end."""
        started = await self.start(*arguments, **more)  # type: ignore[arg-type]
        return await started.ended()

    async def finish(self, *databases: str, seconds: int = HOUR_SECONDS, **more: object) -> Ended:
        """Drain these databases by a worker whose clock is so far ahead: every lease is over."""
        program = ("-m", "tests.proof.ahead")
        started = await self.start(str(seconds), *databases, program=program, **more)
        done = await started.ended(patience=FINISH_SECONDS)
        assert 0 == done.code, done.err
        return done

    def judged(
        self,
        scenario: int,
        what: str,
        handed_in: Collection[str],
        *,
        count: int = 0,
        uploaded: Mapping[str, str] = _NOTHING,
    ) -> Verdict:
        """Enter what the book says of these videos in the table, ``count`` times tried (once for
        each video if not told); fails where a promise was broken. ``uploaded``: the video behind
        the address of each upload.
        """
        verdict = judge(self.book, handed_in, self.made, uploaded)
        tries = count or len(handed_in)
        self._tried.append(
            Tried(
                scenario=scenario,
                what=what,
                kind=self.databases.kind,
                times=tries,
                verdict=verdict,
            )
        )
        assert [] == verdict.broken, what
        return verdict
