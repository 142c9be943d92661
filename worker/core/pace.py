"""Decide when starts may happen: at an even spacing that all processes share, slower after a 429.

Knows no clock and no table: the times of the shared state go in as values (UTC), a grant or a wait
comes out. A 429 cuts the rate once for all requests in flight: mildly after a calm time, hard soon
after another cut. The rate then climbs back along a square root.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

LEAD = timedelta(milliseconds=100)
"""Starts are reserved so far ahead; well inside the 250 ms of law 12."""

MARGIN_SECONDS = 0.020
"""Added to each period, so that network jitter does not push a start into the window before."""

STEP = timedelta(seconds=1)
"""A clock this far behind the shared state has stepped back; a smaller gap is waited out."""

CALM_SECONDS = 3.0
RECOVERY_SECONDS = 35.0
DOUBLING_SECONDS = 10.0
FLOOR_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """The slowing after a 429: from ``low``, the rate after the last cut, back up to ``ceiling``
    (starts per period), in a climb that began or begins at ``cut_at`` (UTC).
    """

    low: float
    ceiling: float
    cut_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Permission for ``room`` starts: at ``first``, then one every ``spacing``."""

    first: datetime
    room: int
    spacing: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """No start before ``until``.

    ``repair``: a new value for the shared next start, which lies further ahead than any reservation
    can; None if it is right.
    """

    until: datetime
    repair: datetime | None = None


def rate_in_force(rate: float, brake: Brake | None, now: datetime) -> float:
    """Return the starts per period allowed at ``now``, never above the setting ``rate``."""
    if brake is None:
        return rate
    calm = max(0.0, (now - brake.cut_at).total_seconds())
    if calm < RECOVERY_SECONDS:
        climb = math.sqrt(calm / RECOVERY_SECONDS)
        return min(rate, brake.low + (brake.ceiling - brake.low) * climb)
    doublings = min(64.0, (calm - RECOVERY_SECONDS) / DOUBLING_SECONDS)
    return min(rate, brake.ceiling * math.exp2(doublings))


def full_at(rate: float, brake: Brake) -> datetime:
    """Return when ``rate_in_force`` is ``rate`` again, if no 429 comes."""
    calm = 0.0
    if rate > brake.ceiling:
        calm = RECOVERY_SECONDS + DOUBLING_SECONDS * min(64.0, math.log2(rate / brake.ceiling))
    elif rate > brake.low:
        calm = RECOVERY_SECONDS * ((rate - brake.low) / (brake.ceiling - brake.low)) ** 2
    return brake.cut_at + timedelta(seconds=calm)


def cut(rate: float, brake: Brake | None, started_at: datetime, hold_until: datetime) -> Brake:
    """Return the brake after a 429 to a request that began at ``started_at``. The climb begins at
    ``hold_until``. A request from before the last cut causes no further cut.
    """
    if brake is not None and started_at <= brake.cut_at:
        return replace(brake, cut_at=max(brake.cut_at, hold_until))
    before = rate_in_force(rate, brake, started_at)
    floor = rate * FLOOR_SHARE
    calm = brake is None or (started_at - brake.cut_at).total_seconds() > CALM_SECONDS
    low, ceiling = (0.9 * before, 0.9 * before) if calm else (0.7 * before, 0.85 * before)
    return Brake(low=max(floor, low), ceiling=max(floor, ceiling), cut_at=hold_until)


def resume(brake: Brake | None, next_start: datetime, now: datetime) -> Brake | None:
    """Return the brake when starts go on at ``now``; the climb excludes time without starts."""
    if brake is None:
        return None
    idle = now - max(next_start, brake.cut_at)
    return replace(brake, cut_at=brake.cut_at + idle) if idle > timedelta(seconds=1) else brake


def spacing(rate: float, period_seconds: float) -> timedelta:
    """Return the distance between two starts, in whole microseconds, rounded up."""
    return timedelta(microseconds=math.ceil(1e6 * (period_seconds + MARGIN_SECONDS) / rate))


def moved(now: datetime, written_at: datetime | None, step: timedelta) -> timedelta:
    """Return how far to move the times of the shared state after the clock was set. They were
    written when it showed ``written_at``; ``step`` is the jump that this process saw. After a step
    back their age is unknown and counts as zero: a cool-down may last longer, never shorter. A step
    forward that is in ``written_at`` was already applied by another process.
    """
    if written_at is None:
        return timedelta(0)
    if now < written_at - STEP:
        return now - written_at
    return step if step > LEAD and written_at <= now - step else timedelta(0)


def plan(
    now: datetime, next_start: datetime, cool_down_until: datetime | None, gap: timedelta
) -> Grant | Wait:
    """Return the starts that may be reserved at ``now``: at least half of a full lead, or a wait.
    Starts reserved before a repair begin within a lead, so the next one follows a ``gap`` later.
    """
    # 1. The next start is impossibly far ahead: repair it. 2. A cool-down: wait for its end.
    # 3. Less than half a lead is free: wait for that. 4. Grant all that is free in the lead.
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
