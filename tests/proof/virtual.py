"""A fleet and its API in virtual time: the pace's own functions against a hidden sliding limit.

What is shared is a row, and what all processes do with it is one loop; nothing waits, so hours of
it are a matter of a second. The limit's window is the API's own, not the worker's idea of it.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from random import Random

from worker.core import pace

BEGIN = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """From ``after`` seconds on, the API lets ``limit`` requests a second through."""

    after: float
    limit: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request at the API: when, in seconds from the beginning, and whether it was too many."""

    at: float
    limited: bool


@dataclass
class Fleet:
    """Workers that always have videos, at ``rate`` a second, and an API that takes ``latency``
    seconds, give or take a half of it, for an answer.
    """

    rate: int
    stages: Sequence[Stage]
    latency: float
    dice: Random
    retry_after: bool = True
    arrivals: list[Arrival] = field(default_factory=list)
    _window: deque[float] = field(default_factory=deque)
    _events: list[tuple[float, int, float]] = field(default_factory=list)
    _next_start: datetime = BEGIN
    _cool_down: datetime = BEGIN
    _brake: pace.Brake | None = None

    def work(self, seconds: float) -> list[Arrival]:
        """Return what arrives in so many seconds."""
        look = 0.0
        while look < seconds:
            for_now = self._events and self._events[0][0] <= look
            if for_now:
                self._receive(*heapq.heappop(self._events))
                continue
            look = max(self._claim(look), look + 1e-6)
        return [each for each in self.arrivals if each.at < seconds]

    def _claim(self, look: float) -> float:
        """Reserve the allowed starts; return when to try again, after their arrivals."""
        now = BEGIN + timedelta(seconds=look)
        brake = pace.resume(self._brake, self._next_start, now)
        gap = pace.spacing(pace.rate_in_force(self.rate, brake, now), 1.0)
        planned = pace.plan(now, self._next_start, self._cool_down, gap)
        if isinstance(planned, pace.Wait):
            until = (planned.until - BEGIN).total_seconds()
            return min(until, self._events[0][0]) if self._events else until
        self._brake = brake
        self._next_start = planned.first + planned.room * gap
        for place in range(planned.room):
            began = (planned.first + place * gap - BEGIN).total_seconds()
            heapq.heappush(self._events, (began + 0.01 * self.dice.random(), 0, began))
        return look

    def _receive(self, at: float, wait: int, began: float) -> None:
        """Let a request arrive, or read its 429 with a wait of ``wait`` seconds."""
        if wait:
            now = BEGIN + timedelta(seconds=at)
            until = now + timedelta(seconds=wait * (1 + self.dice.random() / 10))
            self._cool_down = max(self._cool_down, until)
            started = BEGIN + timedelta(seconds=began)
            self._brake = pace.cut(self.rate, self._brake, started, until)
            return
        told = self._judge(at)
        if told:
            answer = at + self.latency * (0.5 + self.dice.random())
            heapq.heappush(self._events, (answer, told, began))

    def _judge(self, at: float) -> int:
        """Let a request through, or the whole seconds that it is told to wait."""
        limit = [stage.limit for stage in self.stages if stage.after <= at][-1]
        while self._window and self._window[0] <= at - 1.0:
            self._window.popleft()
        limited = len(self._window) >= limit
        self.arrivals.append(Arrival(at, limited))
        if not limited:
            self._window.append(at)
            return 0
        return ceil(self._window[-limit] + 1.0 - at) or 1
