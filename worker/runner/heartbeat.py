"""Show the other processes that this run is alive. Knows no SQL, and never holds a run up.

Its rows go through the one writing task, and the run does not wait for them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from worker.clock import Clock
from worker.db.address import DatabaseProblem
from worker.log import Event
from worker.runner.reporter import Reporter
from worker.store import workers

HEARTBEAT_SECONDS = 20.0
"""Between two rows."""

Enqueue = Callable[[Callable[[Connection], None], str], asyncio.Future[None]]
"""Puts work down for a transaction of its own, with its purpose; returns the future of its end."""


@dataclass(slots=True)
class Heartbeat:
    """The heartbeat of one run, for the task of its loop. ``beat`` is called at each turn."""

    row: workers.WorkerRow
    beat: Callable[[], None]
    enqueue: Enqueue
    clock: Clock
    reporter: Reporter
    _next_at: float = float("-inf")
    _writing: asyncio.Future[None] | None = None
    _is_known: bool = False

    def turned(self) -> None:
        """Show that the loop has turned, unless it was shown just now."""
        self.beat()
        self.reporter.observe("turn", self.clock.now().timestamp())
        waits = self._writing is not None and not self._writing.done()
        if waits or self.clock.monotonic() < self._next_at:
            return
        self._next_at = self.clock.monotonic() + HEARTBEAT_SECONDS
        now = self.clock.now()
        self._writing = self.enqueue(lambda c: self._show(c, now), "to write a heartbeat")
        self._writing.add_done_callback(self._written)

    def leave(self) -> None:
        """Take the row away: a run that ended in order is not to pass for one that died."""
        gone = self.enqueue(lambda c: workers.leave(c, self.row.id), "to end the heartbeat")
        gone.add_done_callback(self._written)

    def _show(self, connection: Connection, now: datetime) -> None:
        if not self._is_known:
            workers.forget(connection, now)
        workers.show(connection, self.row, now)

    def _written(self, writing: "asyncio.Future[None]") -> None:
        """Note that the row was committed, or log why not; the next heartbeat tries again."""
        if writing.cancelled():
            return
        if (problem := writing.exception()) is None:
            self._is_known = True
        elif isinstance(problem, DatabaseProblem):
            self.reporter.database(problem)
        else:
            reason = str(getattr(problem, "orig", f"{type(problem).__name__}: {problem}"))
            self.reporter.log.warning(Event.HEARTBEAT_FAILED, reason=reason)
