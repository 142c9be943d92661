"""How a command asks the database and the API's list of jobs together."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker import wiring
from worker.cli import exits
from worker.cli.session import ask, person
from worker.core.job_list import Unlisted
from worker.db.database import Database
from worker.runner.reconciler import Reconciler
from worker.settings import Key
from worker.settings_sources import Loaded

T = TypeVar("T")


def ask_listed(
    loaded: Loaded,
    key: Key,
    question: Callable[[Reconciler, Database], Awaitable[T]],
    tell: Callable[[T], int],
) -> int:
    """Ask one thing that needs the API's list, then tell the answer; the exit code."""

    async def asked(database: Database) -> T:
        async with wiring.reconciler(loaded.settings, key, database, person()) as reconciler:
            return await question(reconciler, database)

    return ask(loaded, asked, tell)


def no_list(why: Unlisted) -> int:
    """Say that there is no list, and where to look."""
    return exits.complain(
        [
            f"the API does not list this key's jobs: {why.reason}",
            "valossa-ingest check --online says whether key and address are right",
        ],
        exits.PROBLEMS,
    )
