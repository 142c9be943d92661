"""Limit new_job requests per period. Pure: time is an argument.

The API documents no limit (worker/api/README.md, section 15, line 11); this is a likely one.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_LIMIT = re.compile(r"([0-9]+)/([0-9]+(?:\.[0-9]+)?)?([smh])")
_SECONDS_GIVEN = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Limit:
    """At most `count` requests in any period of `period_seconds`."""

    count: int
    period_seconds: float

    def __post_init__(self) -> None:
        if self.count < 1 or not self.period_seconds > 0:
            raise ValueError(f"{self.count} per {self.period_seconds} s lets nothing through")


def parse_limit(text: str) -> Limit:
    """Read `20/1s`, `100/m` or `5/s`; raise ValueError naming the value and the way out."""
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no limit; write COUNT/PERIOD, for example 20/1s or 100/m")
    count, number, unit = match.groups()
    try:
        return Limit(int(count), float(number or 1) * _SECONDS[unit])
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; write for example 20/1s or 100/m") from None


@dataclass(frozen=True)
class Change:
    """A limit that holds from `after_seconds` after the first request on."""

    after_seconds: float
    limit: Limit


def parse_change(text: str) -> Change:
    """Read `60=5/1s`; raise ValueError naming the value and the way out."""
    seconds, sign, limit = text.partition("=")
    if not sign or _SECONDS_GIVEN.fullmatch(seconds) is None:
        raise ValueError(
            f"{text!r} is no change of the limit; write SECONDS=LIMIT, such as 60=5/1s"
        )
    return Change(float(seconds), parse_limit(limit))


def limit_at(first: Limit | None, changes: Sequence[Change], seconds: float) -> Limit | None:
    """Return the limit in force that many seconds after the first request, or None."""
    begun = [change for change in changes if change.after_seconds <= seconds]
    return max(begun, key=lambda change: change.after_seconds).limit if begun else first


class Window:
    """The times (seconds, ascending) of the requests that count against a limit."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def wait_seconds(self, limit: Limit, now: float) -> float:
        """Return 0 if one more request fits at `now`, else the seconds until one does."""
        while self._times and self._times[0] <= now - limit.period_seconds:
            self._times.popleft()
        if len(self._times) < limit.count:
            return 0.0
        return self._times[-limit.count] + limit.period_seconds - now

    def count(self, now: float) -> None:
        """Count a request that came at `now`."""
        self._times.append(now)
