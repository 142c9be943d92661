"""Time as an argument: the wall clock for the table, a monotonic one for waiting."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """``now`` gives UTC; ``monotonic`` gives the seconds that the event loop sleeps by."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]

    def until(self, moment: datetime) -> float:
        """The monotonic second at which the wall clock will show ``moment``."""
        return self.monotonic() + (moment - self.now()).total_seconds()
