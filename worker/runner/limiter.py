"""Slots and starts: how many requests may be in flight, and when the next may begin.

Never asks the database and knows nothing of what is sent: the starts that it is given were reserved
for everybody; asyncio-throttle behind them is this process's own hard limit.
"""

import asyncio
from collections.abc import Callable

from asyncio_throttle.throttler import Throttler


class Limiter:
    """The slots of one process. Its one claim loop takes them, each attempt gives its own back."""

    def __init__(
        self, *, slots: int, rate: int, period_seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self.slots = slots
        self.taken = 0
        self._monotonic = monotonic
        self._throttle = Throttler(rate, period_seconds, retry_interval=0.002)
        self._line = asyncio.Lock()
        self._shut = asyncio.Event()
        self._at_limit: asyncio.Task[object] | None = None

    def take(self, count: int) -> None:
        """Occupy ``count`` slots."""
        self.taken += count

    def give_back(self) -> None:
        """Free one slot."""
        self.taken -= 1

    @property
    def is_shut(self) -> bool:
        """Whether nobody may begin any more."""
        return self._shut.is_set()

    def shut(self) -> None:
        """Let nobody begin any more; who waits is told so at once."""
        if not self._shut.is_set():
            self._shut.set()
            if self._at_limit is not None:
                self._at_limit.cancel()

    async def begin(self, at: float) -> bool:
        """Wait for the start at the monotonic second ``at``, then for the hard limit; False if the
        gate was shut before. One at a time stands at the limit: more waiters would poll it.
        """
        if at > self._monotonic():
            await self.wait_until(at)
        async with self._line:
            return not self._shut.is_set() and await self._within_limit()

    async def _within_limit(self) -> bool:
        """Wait for the hard limit, unless the gate is shut meanwhile: a period may be long."""
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
        """Wait for the monotonic second ``at``; False if the gate was shut before."""
        seconds = at - self._monotonic()
        if seconds > 0:
            try:
                await asyncio.wait_for(self._shut.wait(), seconds)
            except TimeoutError:
                return True
        return not self._shut.is_set()
