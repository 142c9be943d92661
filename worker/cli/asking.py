"""What the commands share that ask the database one thing: opening, filtering, who asks."""

import argparse
import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker import log, wiring
from worker.cli import exits
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
        return exits.complain([str(problem)])
    return tell(answer)


def filter_of(args: argparse.Namespace) -> Filter:
    """The shared filters as they were typed."""
    return Filter(
        states=tuple(State(state) for state in args.state),
        error_like=args.error_like and clean(args.error_like),
        since=args.since,
        ids=tuple(args.ids),
    )


def person() -> str:
    """Who is asking, as the history names people."""
    try:
        return f"person:{getpass.getuser()}"
    except (KeyError, OSError):
        return "person"
