"""Decide how old a video must be to be pruned, and when a daemon prunes. Moments are UTC."""

from datetime import datetime, timedelta

DAY = timedelta(days=1)
"""The longest window of a cap."""


def horizon(now: datetime, asked: datetime) -> datetime:
    """Return the moment before which videos are pruned: at most ``asked``, and none that a cap by
    the day or this month's numbers still count.
    """
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return min(asked, month, now - DAY)


def kept(before: datetime, asked: datetime, now: datetime) -> str | None:
    """Return why videos stay that have changed since ``before``; None if ``asked`` says so."""
    if before == asked:
        return None
    if before < horizon(now, asked):
        return "what was accepted around a doubt stays until it is settled"
    if before == now - DAY:
        return "the last 24 hours stay, since max_per_day counts them"
    return "this month's videos stay, since status counts them"


def next_night(now: datetime) -> datetime:
    """Return the next 2 o'clock after ``now``, at which a daemon prunes."""
    tonight = now.replace(hour=2, minute=0, second=0, microsecond=0)
    return tonight if tonight > now else tonight + DAY
