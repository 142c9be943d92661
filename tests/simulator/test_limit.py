import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.simulator import Change, Limit, parse_change, parse_limit
from worker.simulator.limit import Window, limit_at


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("20/1s", Limit(20, 1.0)),
        ("100/60s", Limit(100, 60.0)),
        ("100/m", Limit(100, 60.0)),
        ("5/s", Limit(5, 1.0)),
        ("7/0.5h", Limit(7, 1800.0)),
    ],
)
def test_a_limit_is_read_from_text(text: str, limit: Limit) -> None:
    """COUNT/PERIOD is what it says; a period without a number is one of its unit."""
    assert limit == parse_limit(text)


@pytest.mark.parametrize("text", ["", "20", "20/", "20/1", "0/s", "5/0s", "5/d", "-1/s", "five/s"])
def test_a_wrong_limit_is_named_with_the_way_out(text: str) -> None:
    """A mistyped limit is an error that names it and the right form."""
    with pytest.raises(ValueError, match="for example 20/1s") as raised:
        parse_limit(text)
    assert repr(text) in str(raised.value)


@given(
    st.integers(1, 5),
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
)
def test_no_sliding_period_holds_more_than_the_limit(count: int, gaps: list[int]) -> None:
    """Wherever a period begins, at most `count` requests were let through in it."""
    limit, window, now, through = Limit(count, 10.0), Window(), 0.0, list[float]()
    for gap in gaps:
        now += gap / 4
        if window.wait_seconds(limit, now) == 0:
            window.count(now)
            through.append(now)
    for start in through:
        assert count >= sum(start <= at < start + 10.0 for at in through)


def test_the_wait_ends_when_there_is_room_and_not_before() -> None:
    """After exactly the told wait a request fits."""
    limit, window = Limit(2, 10.0), Window()
    window.count(0.0)
    window.count(3.0)
    assert 6.0 == window.wait_seconds(limit, 4.0)
    assert 0.0 < window.wait_seconds(limit, 9.75)
    assert 0.0 == window.wait_seconds(limit, 10.0)


def test_a_narrowed_limit_counts_what_came_before() -> None:
    """After the limit is lowered, the wait is that of the lower limit."""
    window = Window()
    for at in (0.0, 1.0, 2.0):
        window.count(at)
    assert 9.0 == window.wait_seconds(Limit(1, 10.0), 3.0)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("60=5/1s", Change(60.0, Limit(5, 1.0))),
        ("0.5=100/m", Change(0.5, Limit(100, 60.0))),
    ],
)
def test_a_change_is_read_from_text(text: str, change: Change) -> None:
    """SECONDS=LIMIT is what it says."""
    assert change == parse_change(text)


@pytest.mark.parametrize("text", ["", "60", "60:5/1s", "=5/1s", "-1=5/1s", "nan=5/1s", "x=5/1s"])
def test_a_wrong_change_is_named_with_the_way_out(text: str) -> None:
    """A mistyped change is an error that names it and the right form."""
    with pytest.raises(ValueError, match="SECONDS=LIMIT, such as 60=5/1s") as raised:
        parse_change(text)
    assert repr(text) in str(raised.value)


def test_a_change_to_no_limit_is_named_as_such() -> None:
    """The limit in a change is read as any other."""
    with pytest.raises(ValueError, match="for example 20/1s"):
        parse_change("60=many")


@pytest.mark.parametrize(
    ("seconds", "count"), [(0, 20), (59.9, 20), (60, 5), (119, 5), (120, 30), (1e6, 30)]
)
def test_the_latest_change_holds(seconds: float, count: int) -> None:
    """Each change holds from its moment on, in whatever order they were given."""
    changes = (Change(120, Limit(30, 1.0)), Change(60, Limit(5, 1.0)))
    assert Limit(count, 1.0) == limit_at(Limit(20, 1.0), changes, seconds)


def test_a_limit_may_come_later() -> None:
    """Without a first limit, every request passes until the first change."""
    changes = (Change(60, Limit(5, 1.0)),)
    assert [None, Limit(5, 1.0)] == [limit_at(None, changes, at) for at in (59, 60)]
