"""Time as an argument: the wall clock for the table, a monotonic one for waiting; and waiting."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """``now`` gives UTC; ``monotonic`` gives the seconds that the event loop sleeps by."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]

    def until(self, moment: datetime) -> float:
        """The monotonic second at which the wall clock will show ``moment``."""
        return self.monotonic() + (moment - self.now()).total_seconds()


async def sleep_or_event(event: asyncio.Event, seconds: float) -> None:
    """Wait so long, but no longer than until ``event``."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


@dataclass(slots=True)
class Steps:
    """Whether the wall clock was set: how far it was ahead of the monotonic one when last noted.
    A machine that slept looks like one whose clock was set forward.
    """

    apart: timedelta | None = None

    def since(self, now: datetime, monotonic: float) -> timedelta | None:
        """By how much the wall clock was set since it was noted, None if it never was."""
        return None if self.apart is None else _apart(now, monotonic) - self.apart

    def note(self, now: datetime, monotonic: float) -> None:
        """Take this reading of both clocks for the one to compare with."""
        self.apart = _apart(now, monotonic)


def _apart(now: datetime, monotonic: float) -> timedelta:
    return now - datetime.fromtimestamp(monotonic, UTC)
