"""A worker that sends, follows jobs and fetches their results, with a clock ahead, to be killed.

`python -m tests.proof.following SECONDS [POINT]` works on the database of the settings until it is
killed. At the point it stops dead: around the commit of a purpose, or around a step on the disk.
"""

import asyncio
import random
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection

from tests.proof.ahead import clock_ahead, configured, work
from tests.proof.pausing import REACHED
from worker import wiring
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database

T = TypeVar("T")

LIST = ("before the list is asked", "the list is chosen, not asked")
ASK = ("before a job is asked about", "the job is chosen, not asked about")
LISTED = ("before the ends of a list are committed", "after they are")
TOLD = ("before the end of a job is committed", "after it is")
MISSED = "a job is not known"
GONE = ("before jobs that are gone are committed", "after they are gone")
FETCH = ("before a result is asked for", "the result is chosen, not asked for")
STORED = ("before a result is written down", "after it is written down")
PART, RENAME, RENAMED = "a part is begun", "a part is whole, not renamed", "the file is renamed"

COMMITS: Final[Mapping[str, tuple[str, str]]] = {
    "to follow a job": TOLD,
    "to follow jobs by a list": LISTED,
    "to find jobs that are gone": GONE,
    "to choose a result": FETCH,
    "to write a result down": STORED,
}
"""The points around the commit of each purpose."""

CHOICE = "to choose a question about jobs"


def stop(point: str) -> None:
    """Print the point and do nothing more, nor does any other thread that comes here."""
    sys.stdout.write(f"{REACHED}{point}\n")
    sys.stdout.flush()
    if threading.current_thread() is not threading.main_thread():
        threading.Event().wait()
    while True:
        signal.pause()


class StoppingDatabase(Database):
    """A database whose writing stops at ``point``."""

    def __init__(self, url: str, point: str | None) -> None:
        super().__init__(url, dice=random.random, now=wiring.CLOCK.now, waiting=lambda _: None)
        self._point = point

    async def write(self, work: Callable[[Connection], T], purpose: str) -> T:
        """Commit as the worker does, up to the point."""

        def written(connection: Connection) -> T:
            result = work(connection)
            self._pass(points(purpose, result)[:1])
            return result

        result = await super().write(written, purpose)
        self._pass(points(purpose, result)[1:])
        return result

    def _pass(self, points: tuple[str, ...]) -> None:
        if self._point is not None and self._point in points:
            stop(self._point)


def points(purpose: str, result: object) -> tuple[str, ...]:
    """Return the points before and after a commit, none where it chose or changed nothing."""
    changes = result[1] if isinstance(result, tuple) else result
    if isinstance(result, datetime) or changes == []:
        return ("", MISSED) if purpose == "to follow a job" else ()
    if purpose == CHOICE:
        return LIST if result is None else ASK
    return COMMITS.get(purpose, ())


def watch_disk(point: str, folder: Path) -> None:
    """Stop at a step on the disk: Python tells of it before it is taken."""
    renamed = threading.Event()

    def step(event: str, arguments: tuple[object, ...]) -> None:
        # 1. The first part is opened. 2. It is renamed. 3. What is opened next, to sync the folder.
        path = str(arguments[0]) if event in {"open", "os.rename"} else ""
        if not path.startswith(str(folder)):
            return
        if event == "os.rename":
            if point == RENAME:
                stop(point)
            renamed.set()
        elif (point == PART and path.endswith(".part")) or (point == RENAMED and renamed.is_set()):
            stop(point)

    sys.addaudithook(step)


async def _work(seconds: float, point: str | None) -> None:
    settings, key = configured()
    if point in {PART, RENAME, RENAMED}:
        assert settings.results_dir is not None
        watch_disk(point, Path(settings.results_dir))
    async with StoppingDatabase(settings.database_url, point) as database:
        await work(settings, key, database, RunOptions(drain=False), clock=clock_ahead(seconds))


if __name__ == "__main__":
    asyncio.run(_work(float(sys.argv[1]), sys.argv[2] if sys.argv[2:] else None))
