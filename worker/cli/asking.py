"""What the commands share that ask the database one thing: opening, filtering, who asks."""

import argparse
import asyncio
import getpass
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from worker import log, wiring
from worker.cli import exits
from worker.cli.values import Ago, is_number
from worker.core.model import State
from worker.core.redact import clean
from worker.db import Database, DatabaseProblem
from worker.settings import Loaded
from worker.store.desk import Filter

T = TypeVar("T")


def ask(
    loaded: Loaded, question: Callable[[Database], Awaitable[T]], tell: Callable[[T], int]
) -> int:
    """Ask the database one thing, then tell the answer; the exit code."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)

    async def asked() -> T:
        async with wiring.existing_database(loaded.settings) as database:
            return await question(database)

    try:
        answer = asyncio.run(asked())
    except DatabaseProblem as problem:
        return exits.no_database(problem, loaded)
    return tell(answer)


def filter_of(args: argparse.Namespace) -> Filter:
    """The shared filters as they were typed."""
    now = wiring.CLOCK.now()
    numbers = [text for text in args.references if is_number(text)]
    return Filter(
        states=tuple(State(state) for state in args.state),
        error_like=args.error_like and clean(args.error_like),
        since=_moment(args.since, now),
        until=_moment(args.until, now),
        ids=tuple(map(int, numbers)),
        names=tuple(clean(text) for text in args.references if text not in numbers),
    )


def _moment(typed: datetime | Ago | None, now: datetime) -> datetime | None:
    return typed.at(now) if isinstance(typed, Ago) else typed


def nobody(names: Sequence[str]) -> list[str]:
    """What to say of names that no video has."""
    return [f"no video has {name!r} as id, media id, request id or job id" for name in names]


def person() -> str:
    """Who is asking, as the history names people."""
    try:
        return f"person:{getpass.getuser()}"
    except (KeyError, OSError):
        return "person"
