"""When starts may happen: the even spacing that all processes share, and how it yields to a 429.

Knows no clock and no table: the account's moments go in as values (UTC), a grant or a wait comes
out. design.md, section 8; research of the adaptive ceiling: one cut for each flight, a mild one
after a calm time, a hard one soon after another, then back along a square root.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

LEAD = timedelta(milliseconds=100)
"""How far ahead starts are reserved; well inside the 250 ms of law 12."""

MARGIN_SECONDS = 0.020
"""Added to each period, so that the wire's jitter does not push a start into the window before."""

STEP = timedelta(seconds=1)
"""A clock that shows so much less than the account has stepped back; less is waited out."""

CALM_SECONDS = 3.0
RECOVERY_SECONDS = 35.0
DOUBLING_SECONDS = 10.0
FLOOR_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """What 429s have taught: the rate after the last cut, the ceiling to climb back to (both in
    starts per period), and the moment from which the climb counts.
    """

    low: float
    ceiling: float
    cut_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Room for ``room`` starts: ``first``, then every ``spacing``."""

    first: datetime
    room: int
    spacing: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """No start before ``until``. ``repair``: what the account's next start must be set to, since
    it lies further ahead than any reservation could.
    """

    until: datetime
    repair: datetime | None = None


def rate_in_force(rate: float, brake: Brake | None, now: datetime) -> float:
    """Starts per period that are allowed at ``now``, never above the setting ``rate``."""
    if brake is None:
        return rate
    calm = max(0.0, (now - brake.cut_at).total_seconds())
    if calm < RECOVERY_SECONDS:
        climb = math.sqrt(calm / RECOVERY_SECONDS)
        return min(rate, brake.low + (brake.ceiling - brake.low) * climb)
    doublings = min(64.0, (calm - RECOVERY_SECONDS) / DOUBLING_SECONDS)
    return min(rate, brake.ceiling * math.exp2(doublings))


def cut(rate: float, brake: Brake | None, started_at: datetime, hold_until: datetime) -> Brake:
    """The brake after a 429 to a request that began at ``started_at``; the climb begins at
    ``hold_until``. A request from before the last cut says nothing new.
    """
    if brake is not None and started_at <= brake.cut_at:
        return replace(brake, cut_at=max(brake.cut_at, hold_until))
    before = rate_in_force(rate, brake, started_at)
    floor = rate * FLOOR_SHARE
    calm = brake is None or (started_at - brake.cut_at).total_seconds() > CALM_SECONDS
    low, ceiling = (0.9 * before, 0.9 * before) if calm else (0.7 * before, 0.85 * before)
    return Brake(low=max(floor, low), ceiling=max(floor, ceiling), cut_at=hold_until)


def resume(brake: Brake | None, next_start: datetime, now: datetime) -> Brake | None:
    """The brake when starts go on at ``now``: time without starts is no evidence, so the climb
    does not count it.
    """
    if brake is None:
        return None
    idle = now - max(next_start, brake.cut_at)
    return replace(brake, cut_at=brake.cut_at + idle) if idle > timedelta(seconds=1) else brake


def spacing(rate: float, period_seconds: float) -> timedelta:
    """The distance between two starts, in whole microseconds and never rounded down."""
    return timedelta(microseconds=math.ceil(1e6 * (period_seconds + MARGIN_SECONDS) / rate))


def moved(now: datetime, written_at: datetime | None, step: timedelta) -> timedelta:
    """By how much the account's moments, written when the clock showed ``written_at``, must be
    moved at ``now``, since the clock was set meanwhile. ``step``: how this process saw it jump.

    How long ago they were written nobody knows after a step back, so it counts as no time: a
    cool-down may last longer by that, and never ends before it was told to. A step forward that
    is in ``written_at`` already was followed by another process.
    """
    if written_at is None:
        return timedelta(0)
    if now < written_at - STEP:
        return now - written_at
    return step if step > LEAD and written_at <= now - step else timedelta(0)


def plan(
    now: datetime, next_start: datetime, cool_down_until: datetime | None, gap: timedelta
) -> Grant | Wait:
    """The starts that may be reserved at ``now``; at least half of a full lead, or a wait. What was
    reserved before a repair begins within a lead, so the next one is a distance behind that.
    """
    if next_start > now + max(LEAD, gap) + STEP:
        return Wait(until=now + LEAD + gap, repair=now + LEAD + gap)
    if cool_down_until is not None and cool_down_until > now:
        return Wait(until=cool_down_until)
    first = max(next_start, now)
    room = (now + LEAD - first) // gap + 1 if first <= now + LEAD else 0
    enough = max(1, LEAD // gap // 2)
    if room < enough:
        return Wait(until=next_start + (enough - 1) * gap - LEAD)
    return Grant(first=first, room=room, spacing=gap)
