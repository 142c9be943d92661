"""Pass time as an argument: a wall clock for the table, a monotonic one for waiting."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """``now`` gives UTC; ``monotonic`` gives the seconds that the event loop sleeps by."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]

    def until(self, moment: datetime) -> float:
        """Return the monotonic second at which the wall clock will show ``moment``."""
        return self.monotonic() + (moment - self.now()).total_seconds()


async def sleep_or_event(event: asyncio.Event, seconds: float) -> None:
    """Wait for ``seconds``, or until ``event`` is set if that is earlier."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def ended(task: asyncio.Task[Any], seconds: float | None, *events: asyncio.Event) -> None:
    """Wait until ``task`` has ended, an event is set or ``seconds`` are over; None: no such end."""
    called = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait({task, *called}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for waiting in called:
        waiting.cancel()


@dataclass(slots=True)
class Steps:
    """The lead of the wall clock over the monotonic one when last noted, to detect a clock that was
    set. A machine that slept looks like one whose clock was set forward.
    """

    apart: timedelta | None = None
    _followed: tuple[datetime, timedelta] | None = None

    def since(self, now: datetime, monotonic: float) -> timedelta | None:
        """Return the step of the wall clock since it was noted, None if it never was."""
        return None if self.apart is None else _apart(now, monotonic) - self.apart

    def note(self, now: datetime, monotonic: float) -> None:
        """Note this reading of both clocks."""
        self.apart = _apart(now, monotonic)

    def follow(self, now: datetime, monotonic: float) -> None:
        """Note that the table is moved by this reading, which may be rolled back."""
        self._followed = now, _apart(now, monotonic)

    def see(self, written_at: datetime | None) -> None:
        """Take the last move for done if the table was written at its time, or later."""
        if self._followed is not None and written_at is not None:
            moved_at, apart = self._followed
            if written_at >= moved_at:
                self.apart, self._followed = apart, None


def _apart(now: datetime, monotonic: float) -> timedelta:
    return now - datetime.fromtimestamp(monotonic, UTC)
