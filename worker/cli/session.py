"""Open the queue of a command: each ``read`` and each ``write`` is one transaction.

Between two calls no event loop runs, so a command can ask a question there.
"""

import asyncio
import contextlib
import getpass
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from worker import opening, wiring
from worker.db.database import Database
from worker.runner.follower import Follower
from worker.runner.reconciler import Reconciler
from worker.settings import Key, Settings
from worker.store.jobs import JobChange

T = TypeVar("T")
Open = Callable[[Settings], contextlib.AbstractAsyncContextManager[Database]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The open queue of one command. ``worker.cli`` prints the DatabaseProblem of its methods."""

    settings: Settings
    database: Database
    runner: asyncio.Runner
    stack: contextlib.AsyncExitStack

    def read(self, work: Callable[[Connection, datetime], T]) -> T:
        """Run ``work`` with the time of the queue (UTC) on one consistent state."""
        return self.run(self.database.read(lambda c: work(c, self.database.now())))

    def write(self, work: Callable[[Connection, datetime], T], purpose: str) -> T:
        """Run ``work`` with the time of the queue (UTC), unless the queue has moved meanwhile."""
        return self.run(opening.change(self.database, work, purpose))

    def reconciler(self, key: Key) -> Reconciler:
        """Open a client of the API's job list. It is closed with the session."""
        opened = wiring.reconciler(self.settings, key, self.database, person())
        return self.run(self.stack.enter_async_context(opened))

    def follower(self, key: Key, told: Callable[[JobChange], None]) -> Follower:
        """Open the one who asks about jobs. It is closed with the session."""
        opened = wiring.follower(self.settings, key, self.database, person(), told)
        return self.run(self.stack.enter_async_context(opened))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.runner.run(work)


@contextlib.contextmanager
def _session(opened: Open, settings: Settings) -> Iterator[Session]:
    stack = contextlib.AsyncExitStack()
    with asyncio.Runner() as runner:
        database = runner.run(stack.enter_async_context(opened(settings)))
        try:
            yield Session(settings=settings, database=database, runner=runner, stack=stack)
        finally:
            runner.run(stack.aclose())


open_to_change = partial(_session, opening.existing_database)
"""Open a queue that is worked on. Raises DatabaseProblem, also if the queue has moved away."""

open_or_make = partial(_session, opening.made_database)
"""Open a queue that is worked on, made if it is missing. Raises DatabaseProblem."""

open_to_look = partial(_session, opening.readable_database)
"""Open a queue to read it, even if it has moved away. Raises DatabaseProblem."""


def person() -> str:
    """Return the name of the person at the terminal, as the history records it."""
    with contextlib.suppress(KeyError, OSError):
        return f"person:{getpass.getuser()}"
    return "person"
