"""Compute the wait before a video's next attempt. Knows no clock and rolls no dice."""


def backoff(attempt: int, dice: float, base: float, limit: float) -> float:
    """Return the seconds to wait after the ``attempt``-th spent attempt (from 1), full jitter. That
    is the share ``dice`` (0 to 1) of ``base`` doubled with each attempt, at most ``limit``
    (seconds). The exponent is bounded, so that no attempt number overflows.
    """
    ceiling = min(limit, base * 2.0 ** min(attempt - 1, 64))
    return dice * ceiling
