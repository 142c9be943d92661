"""How long a video waits before its next attempt. Knows no clock and rolls no dice."""


def backoff(attempt: int, dice: float, base: float, limit: float) -> float:
    """Seconds to wait after the ``attempt``-th spent attempt (from 1), full jitter: a share of
    ``base`` doubled with each attempt, never over ``limit``.

    ``dice`` is a roll from 0 to 1; ``base`` and ``limit`` are seconds. The exponent is bounded, so
    that no attempt number overflows.
    """
    ceiling = min(limit, base * 2.0 ** min(attempt - 1, 64))
    return dice * ceiling
