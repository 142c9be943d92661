"""Hold each request until its start.

The starts were reserved in the shared pace; asyncio-throttle behind them is this process's own hard
limit. Knows no database and no request.
"""

import asyncio
import sys
from collections.abc import Callable

from asyncio_throttle.throttler import Throttler

from worker.clock import sleep_or_event


class Limiter:
    """The starts of one process."""

    def __init__(self, *, rate: int, period_seconds: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._throttle = Throttler(rate, period_seconds, retry_interval=0.002)
        self._line = asyncio.Lock()
        self._shut = asyncio.Event()

    @property
    def is_shut(self) -> bool:
        """Return True if no request may begin any more."""
        return self._shut.is_set()

    def shut(self) -> None:
        """Let no request begin any more, and end the waits at once."""
        self._shut.set()
        self._throttle.rate_limit = sys.maxsize  # the one that waits there goes, and begins nothing

    async def begin(self, at: float) -> bool:
        """Wait for the start at the monotonic second ``at``, then for the hard limit. Return False
        if the limiter was shut before. One waits at the limit: more would poll it.
        """
        if at > self._monotonic():
            await self.wait_until(at)
        async with self._line:
            if not self._shut.is_set():
                await self._throttle.acquire()
        return not self._shut.is_set()

    async def wait_until(self, at: float) -> bool:
        """Wait for the monotonic second ``at``. Return False if the limiter was shut before."""
        seconds = at - self._monotonic()
        if seconds > 0:
            await sleep_or_event(self._shut, seconds)
        return not self._shut.is_set()
