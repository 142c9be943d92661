from datetime import UTC, datetime, timedelta

import pytest

from worker.core.pruning import horizon, kept, next_night


def at(text: str) -> datetime:
    """Return a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "days", "before"),
    [
        ("2026-11-29 12:00", 90, "2026-08-31 12:00"),
        ("2026-11-29 12:00", 7, "2026-11-01 00:00"),
        ("2026-11-01 00:30", 0, "2026-10-31 00:30"),
        ("2026-11-02 12:00", 0, "2026-11-01 00:00"),
    ],
)
def test_what_is_still_counted_is_younger_than_the_horizon(
    now: str, days: int, before: str
) -> None:
    """Nothing of this month or of the last 24 hours is pruned, however young it may be."""
    assert at(before) == horizon(at(now), at(now) - timedelta(days=days))


@pytest.mark.parametrize(
    ("now", "before", "why"),
    [
        ("2026-11-29 12:00", "2026-11-29 11:59", None),
        ("2026-11-29 12:00", "2026-11-01 00:00", "this month's videos stay, since status counts"),
        ("2026-11-01 00:30", "2026-10-31 00:30", "the last 24 hours stay, since max_per_day"),
        ("2026-11-29 12:00", "2026-10-31 23:59", "around a doubt stays until it is settled"),
    ],
)
def test_what_stays_has_a_reason(now: str, before: str, why: str | None) -> None:
    """An earlier date than the one asked for has the reason that set it."""
    said = kept(at(before), at(now) - timedelta(minutes=1), at(now))
    assert said is None if why is None else why in str(said)


@pytest.mark.parametrize(
    ("now", "night"),
    [
        ("2026-11-29 01:59", "2026-11-29 02:00"),
        ("2026-11-29 02:00", "2026-11-30 02:00"),
        ("2026-12-31 23:00", "2027-01-01 02:00"),
    ],
)
def test_a_night_begins_at_two(now: str, night: str) -> None:
    """A daemon prunes at the next 2 o'clock UTC, once a day."""
    assert at(night) == next_night(at(now))
