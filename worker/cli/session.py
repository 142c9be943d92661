"""What the commands share that ask the database one thing: opening, filtering, who asks."""

import argparse
import asyncio
import getpass
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from worker import log, opening, wiring
from worker.cli import exits
from worker.cli.argument_types import Ago
from worker.core.model import State
from worker.core.redact import clean
from worker.db.database import Database, DatabaseProblem
from worker.settings import Settings
from worker.settings_sources import Loaded
from worker.store import search
from worker.store.search import Filter

T = TypeVar("T")


def ask(
    loaded: Loaded, question: Callable[[Database], Awaitable[T]], tell: Callable[[T], int]
) -> int:
    """Ask a database that is worked on one thing, then tell the answer; the exit code."""
    return _asked(loaded, opening.existing_database, question, tell)


def look(
    loaded: Loaded, work: Callable[[Connection, datetime], T], tell: Callable[[T], int]
) -> int:
    """Look at a database, also at one that has moved, then tell what was seen; the exit code.
    ``work`` gets the time of the queue (UTC), as ``change``'s does.
    """
    return _asked(
        loaded, opening.readable_database, lambda d: d.read(lambda c: work(c, d.now())), tell
    )


def change(
    loaded: Loaded,
    work: Callable[[Connection, datetime], T],
    purpose: str,
    tell: Callable[[T], int],
) -> int:
    """Change something in a database that is worked on, then tell what; the exit code."""
    return ask(loaded, lambda database: opening.change(database, work, purpose), tell)


def _asked(
    loaded: Loaded,
    opened: Callable[[Settings], AbstractAsyncContextManager[Database]],
    question: Callable[[Database], Awaitable[T]],
    tell: Callable[[T], int],
) -> int:
    log.configure(loaded.settings.log_level, loaded.settings.log_format)

    async def asked() -> T:
        async with opened(loaded.settings) as database:
            return await question(database)

    try:
        answer = asyncio.run(asked())
    except DatabaseProblem as problem:
        return exits.no_database(problem, loaded)
    return tell(answer)


def filter_of(args: argparse.Namespace) -> Filter:
    """The shared filters as they were typed."""
    now = wiring.CLOCK.now()
    return replace(
        search.called(map(clean, args.references)),
        states=tuple(State(state) for state in args.state),
        error_like=args.error_like and clean(args.error_like),
        since=_moment(args.since, now),
        until=_moment(args.until, now),
    )


def _moment(typed: datetime | Ago | None, now: datetime) -> datetime | None:
    return typed.at(now) if isinstance(typed, Ago) else typed


def missing(connection: Connection, args: argparse.Namespace) -> list[str]:
    """Which of the references that were typed no video has."""
    named = search.named(connection, map(clean, args.references))
    return [reference for reference, ids in named.items() if not ids]


def nobody(names: Sequence[str]) -> list[str]:
    """What to say of names that no video has."""
    return [f"no video has {name!r} as id, media id, request id or job id" for name in names]


def doubtful(ambiguous: Mapping[str, Sequence[int]]) -> list[str]:
    """What to say of numbers that name one video by its id and others otherwise."""
    return [
        f"{name!r} is the id of one video and another name of others: say which, "
        + " or ".join(f"{search.ONLY_ID}{number}" for number in ids)
        for name, ids in ambiguous.items()
    ]


def person() -> str:
    """Who is asking, as the history names people."""
    try:
        return f"person:{getpass.getuser()}"
    except (KeyError, OSError):
        return "person"
