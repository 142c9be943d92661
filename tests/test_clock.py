from datetime import timedelta

from tests.conftest import Hands
from worker.clock import Steps

HOUR = timedelta(hours=1)


def test_a_first_reading_tells_nothing(hands: Hands) -> None:
    """The first reading of a clock shows no step."""
    assert Steps().since(hands.wall, hands.seconds) is None


def test_a_clock_that_goes_was_not_set(hands: Hands) -> None:
    """Time that passes on both clocks is no step."""
    steps = Steps()
    steps.note(hands.wall, hands.seconds)
    hands.pass_seconds(86_400)
    assert timedelta(0) == steps.since(hands.wall, hands.seconds)


def test_a_step_is_seen_until_it_is_noted(hands: Hands) -> None:
    """A step forward or back is returned with its length, again and again, until it is noted."""
    steps = Steps()
    for step in (HOUR, -2 * HOUR):
        steps.note(hands.wall, hands.seconds)
        hands.pass_seconds(10)
        hands.wall += step
        assert [step, step] == [steps.since(hands.wall, hands.seconds) for _ in range(2)]
