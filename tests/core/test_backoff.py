import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.backoff import backoff

ATTEMPTS = st.integers(1, 100_000)
DICE = st.floats(0, 1)
SECONDS = st.floats(0, 1_000_000)


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [(1, 15), (2, 30), (3, 60), (4, 120), (5, 240), (6, 480), (7, 900), (8, 900), (10_000, 900)],
)
def test_the_longest_wait_doubles_up_to_the_limit(attempt: int, expected: float) -> None:
    """With the highest roll each wait is twice the one before, until the limit holds it."""
    assert expected == backoff(attempt, 1.0, 15, 900)


@pytest.mark.parametrize(("dice", "expected"), [(0.0, 0.0), (0.25, 15.0), (0.5, 30.0), (1.0, 60.0)])
def test_the_dice_choose_a_share_of_the_ceiling(dice: float, expected: float) -> None:
    """Jitter is full: the roll picks the share of the ceiling, from nothing to all of it."""
    assert expected == backoff(3, dice, 15, 900)


@given(ATTEMPTS, DICE, SECONDS, SECONDS)
def test_no_wait_leaves_its_bounds(attempt: int, dice: float, base: float, limit: float) -> None:
    """Whatever is asked, the wait is neither negative nor longer than the limit."""
    assert 0 <= backoff(attempt, dice, base, limit) <= limit


@given(ATTEMPTS, DICE, SECONDS, SECONDS)
def test_a_later_attempt_never_waits_less(
    attempt: int, dice: float, base: float, limit: float
) -> None:
    """For the same roll, the wait after one attempt more is at least as long."""
    assert backoff(attempt, dice, base, limit) <= backoff(attempt + 1, dice, base, limit)


@given(st.integers(1, 60), DICE, st.floats(0.001, 1000))
def test_jitter_stays_inside_its_band(attempt: int, dice: float, base: float) -> None:
    """The roll moves the wait between nothing and the base doubled with each attempt."""
    ceiling = base * 2 ** (attempt - 1)
    waits = [backoff(attempt, roll, base, ceiling * 2) for roll in (0.0, dice, 1.0)]
    assert [0.0, dice * ceiling, ceiling] == pytest.approx(waits)


@given(st.floats(0.001, 900), st.floats(0, 900))
def test_a_huge_attempt_number_is_the_limit(base: float, limit: float) -> None:
    """The ten-thousandth attempt waits for the limit and does not overflow."""
    assert limit == backoff(10_000, 1.0, base, limit)
