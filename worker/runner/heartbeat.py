"""Tells the others that this run is alive. Knows no SQL, and keeps no run from working or ending.

What it has to write goes through the one writing task, and nobody waits for it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection

from worker.clock import Clock
from worker.db.database import DatabaseProblem
from worker.log import Event
from worker.runner.reporter import Reporter
from worker.store import workers

SIGN_SECONDS = 20.0
"""Between two signs of life."""


class Put(Protocol):
    """Where work is put down for a transaction of its own."""

    def __call__(
        self, work: Callable[[Connection], None], purpose: str, /
    ) -> "asyncio.Future[None]":
        """The future of its result."""


@dataclass(frozen=True, slots=True)
class HeartbeatSource:
    """What a run shows of itself: its row among the workers, and a ``beat`` at each turn."""

    member: workers.WorkerRow
    beat: Callable[[], None] = lambda: None


class Heartbeat:
    """One run, as the others see it. To be used in the task of the run's loop."""

    def __init__(
        self, *, signs: HeartbeatSource, put: Put, clock: Clock, reporter: Reporter
    ) -> None:
        self._member = signs.member
        self._beat = signs.beat
        self._put = put
        self._clock = clock
        self._reporter = reporter
        self._next_at = float("-inf")
        self._sign: asyncio.Future[None] | None = None
        self._known = False

    def turned(self) -> None:
        """The loop has turned: show it, where it was not shown just now."""
        self._beat()
        waits = self._sign is not None and not self._sign.done()
        if waits or self._clock.monotonic() < self._next_at:
            return
        self._next_at = self._clock.monotonic() + SIGN_SECONDS
        now = self._clock.now()
        self._sign = self._put(lambda c: self._show(c, now), "to show a sign of life")
        self._sign.add_done_callback(self._shown)

    def leave(self) -> None:
        """The run ends in order: nobody is to take it for one that has died."""
        gone = self._put(lambda c: workers.leave(c, self._member.id), "to take leave")
        gone.add_done_callback(self._told)

    def _show(self, connection: Connection, now: datetime) -> None:
        if not self._known:
            workers.forget(connection, now)
        workers.show(connection, self._member, now)

    def _shown(self, sign: "asyncio.Future[None]") -> None:
        self._known = self._told(sign) or self._known

    def _told(self, written: "asyncio.Future[None]") -> bool:
        """Whether it is on disk; if not, one line says why, and the next sign is another try."""
        if written.cancelled():
            return False
        problem = written.exception()
        if isinstance(problem, DatabaseProblem):
            self._reporter.database(problem)
        elif problem is not None:
            reason = f"{type(problem).__name__}: {problem}"
            self._reporter.log.warning(Event.HEARTBEAT_FAILED, reason=reason)
        return problem is None
