"""Hold each request until its start.

The starts were reserved in the shared pace; asyncio-throttle behind them is this process's own hard
limit. Knows no database and no request.
"""

import asyncio
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
        self._at_limit: asyncio.Task[object] | None = None

    @property
    def is_shut(self) -> bool:
        """Return True if no request may begin any more."""
        return self._shut.is_set()

    def shut(self) -> None:
        """Let no request begin any more, and end the waits at once."""
        if not self._shut.is_set():
            self._shut.set()
            if self._at_limit is not None:
                self._at_limit.cancel()

    async def begin(self, at: float) -> bool:
        """Wait for the start at the monotonic second ``at``, then for the hard limit. Return False
        if the limiter was shut before. One waits at the limit: more would poll it.
        """
        await self.wait_until(at)
        async with self._line:
            return not self._shut.is_set() and await self._within_limit()

    async def _within_limit(self) -> bool:
        """Wait for the hard limit, unless the limiter is shut meanwhile: a period may be long."""
        self._at_limit = task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        try:
            await self._throttle.acquire()
        except asyncio.CancelledError:
            if not self._shut.is_set() or task.uncancel():
                raise
            return False
        finally:
            self._at_limit = None
        return not self._shut.is_set()

    async def wait_until(self, at: float) -> bool:
        """Wait for the monotonic second ``at``. Return False if the limiter was shut before."""
        seconds = at - self._monotonic()
        if seconds > 0:
            await sleep_or_event(self._shut, seconds)
        return not self._shut.is_set()
