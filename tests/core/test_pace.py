import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.pace import (
    DOUBLING_SECONDS,
    FLOOR_SHARE,
    LEAD,
    MARGIN_SECONDS,
    RECOVERY_SECONDS,
    STEP,
    Brake,
    Grant,
    Wait,
    cut,
    full_at,
    moved,
    plan,
    rate_in_force,
    resume,
    spacing,
)

NOW = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)


def at(seconds: float) -> datetime:
    """Return that many seconds from now."""
    return NOW + timedelta(seconds=seconds)


# Spacing.


@pytest.mark.parametrize(
    ("rate", "period_seconds", "expected"),
    [
        pytest.param(1, 1.0, timedelta(seconds=1.02), id="1-a-second"),
        pytest.param(5, 1.0, timedelta(seconds=0.204), id="5-a-second"),
        pytest.param(500, 1.0, timedelta(microseconds=2_040), id="500-a-second"),
        pytest.param(100, 60.0, timedelta(seconds=0.6002), id="100-a-minute"),
        pytest.param(0.5, 1.0, timedelta(seconds=2.04), id="slowed-to-half"),
        pytest.param(90_000, 1.0, timedelta(microseconds=12), id="rounded-up"),
        pytest.param(10**9, 1.0, timedelta(microseconds=1), id="absurd"),
    ],
)
def test_starts_are_spaced_evenly(rate: float, period_seconds: float, expected: timedelta) -> None:
    """The distance between starts is the period and 20 ms, shared among the rate."""
    assert expected == spacing(rate, period_seconds)


@given(st.integers(1, 1_000_000), st.floats(0.001, 86_400))
def test_the_spacing_never_undercuts_the_period(rate: int, period_seconds: float) -> None:
    """As many distances as the rate allows starts are longer than the period, for any rate."""
    assert rate * spacing(rate, period_seconds) > timedelta(seconds=period_seconds)


# Plan.


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        pytest.param(1000, 1, id="one-a-second"),
        pytest.param(101, 1, id="longer-than-the-lead"),
        pytest.param(100, 2, id="as-long-as-the-lead"),
        pytest.param(40, 3, id="40-ms"),
        pytest.param(2, 51, id="2-ms"),
    ],
)
def test_a_full_lead_is_granted(gap: int, expected: int) -> None:
    """As many starts are granted as begin within the next 100 ms, the first one now."""
    granted = plan(NOW, LONG_AGO, None, gap * MILLISECOND)
    assert Grant(first=NOW, room=expected, spacing=gap * MILLISECOND) == granted


def test_a_grant_continues_where_the_last_one_ended() -> None:
    """A start that is reserved already is not granted again."""
    next_start = at(0.05)
    expected = Grant(first=next_start, room=26, spacing=2 * MILLISECOND)
    assert expected == plan(NOW, next_start, None, 2 * MILLISECOND)


def test_less_than_half_a_lead_is_waited_for() -> None:
    """One start after the other is not worth a transaction each: wait until half can be had."""
    next_start = at(0.06)
    waiting = plan(NOW, next_start, None, 2 * MILLISECOND)
    assert Wait(until=at(0.008)) == waiting
    granted = plan(at(0.008), next_start, None, 2 * MILLISECOND)
    assert Grant(first=next_start, room=25, spacing=2 * MILLISECOND) == granted


def test_a_slow_pace_is_waited_for() -> None:
    """With seconds between starts, the next one is reserved 100 ms before it."""
    gap = timedelta(seconds=10)
    assert Wait(until=at(7.4)) == plan(NOW, at(7.5), None, gap)
    assert Grant(first=at(7.5), room=1, spacing=gap) == plan(at(7.4), at(7.5), None, gap)


@pytest.mark.parametrize("next_start", [LONG_AGO, NOW, at(0.5)], ids=["long-ago", "now", "soon"])
def test_a_cool_down_is_waited_for(next_start: datetime) -> None:
    """Nothing is granted before a cool-down is over, not even ahead of its end."""
    assert Wait(until=at(30)) == plan(NOW, next_start, at(30), SECOND)
    assert Wait(until=at(0.01)) == plan(NOW, next_start, at(0.01), SECOND)


@pytest.mark.parametrize("over", [LONG_AGO, NOW], ids=["long-over", "just-over"])
def test_a_cool_down_that_is_over_holds_nobody(over: datetime) -> None:
    """A cool-down ends when it said."""
    assert Grant(first=NOW, room=1, spacing=SECOND) == plan(NOW, LONG_AGO, over, SECOND)


@pytest.mark.parametrize(
    ("gap", "farthest"),
    [pytest.param(0.01, 1.1, id="fast"), pytest.param(10.0, 11.0, id="slow")],
)
def test_a_clock_that_stepped_back_is_repaired(gap: float, farthest: float) -> None:
    """Only a next start further ahead than any reservation could be is brought back."""
    distance = timedelta(seconds=gap)
    kept = plan(NOW, at(farthest), None, distance)
    assert isinstance(kept, Wait)
    assert None is kept.repair
    soon = NOW + LEAD + distance
    assert Wait(until=soon, repair=soon) == plan(NOW, at(farthest + 0.001), None, distance)
    assert Wait(until=soon, repair=soon) == plan(NOW, at(3600), at(7200), distance)


def test_a_repaired_clock_grants_again() -> None:
    """After an hour's step back the queue stands still for one distance, not for an hour."""
    stuck = plan(NOW, at(3600), None, SECOND)
    assert isinstance(stuck, Wait)
    assert stuck.repair
    assert isinstance(plan(stuck.until, stuck.repair, None, SECOND), Grant)


def test_what_was_reserved_before_a_repair_keeps_its_distance() -> None:
    """A start may still begin a lead from now; the next one is a whole distance behind it."""
    repaired = plan(NOW, at(3600), None, 10 * MILLISECOND)
    assert isinstance(repaired, Wait)
    assert repaired.repair == NOW + LEAD + 10 * MILLISECOND


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("written", "step", "expected"),
    [
        pytest.param(-60, timedelta(0), 0, id="nothing-was-set"),
        pytest.param(3540, timedelta(0), -3540, id="stepped-back"),
        pytest.param(3540, -HOUR, -3540, id="stepped-back-and-seen"),
        pytest.param(-60, -HOUR, 0, id="stepped-back-and-followed"),
        pytest.param(1, timedelta(0), 0, id="a-second-back-is-waited-out"),
        pytest.param(1.1, timedelta(0), -1.1, id="more-than-a-second-back"),
        pytest.param(-3660, HOUR, 3600, id="stepped-forward"),
        pytest.param(-3600, HOUR, 3600, id="stepped-forward-at-once"),
        pytest.param(-3599, HOUR, 0, id="stepped-forward-and-followed"),
        pytest.param(-60, LEAD, 0, id="a-lead-forward-is-noise"),
    ],
)
def test_the_account_is_moved_by_as_much_as_its_clock(
    written: float, step: timedelta, expected: float
) -> None:
    """Times written before the clock was set are moved by that step, once."""
    assert timedelta(seconds=expected) == moved(NOW, at(written), step)


def test_an_account_that_nobody_wrote_is_not_moved() -> None:
    """Without a reading of the clock that wrote it, there is nothing to compare with."""
    assert timedelta(0) == moved(NOW, None, HOUR)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(1.001, 1e5))
def test_a_step_back_never_shortens_a_cool_down(told: float, passed: float, back: float) -> None:
    """It lasts as long as it was told, at least; and no longer than once more, at most."""
    now = at(passed - back)
    until = at(told) + moved(now, NOW, timedelta(0))
    lasted = passed + (until - now).total_seconds()
    slack = STEP.total_seconds() + 1e-3
    if passed < told:
        assert told - 1e-3 <= lasted <= max(2 * told, told + passed) + slack


MOMENTS = st.floats(-100, 100).map(at)
GAPS = st.floats(0.0001, 200).map(lambda seconds: timedelta(seconds=seconds))


@given(MOMENTS, MOMENTS, st.none() | MOMENTS, GAPS)
def test_a_plan_is_never_early_nor_far_ahead(
    now: datetime, next_start: datetime, cool_down_until: datetime | None, gap: timedelta
) -> None:
    """A grant begins at its turn and ends within 250 ms (law 12); a wait ends in the future."""
    planned = plan(now, next_start, cool_down_until, gap)
    if isinstance(planned, Wait):
        assert planned.until > now
        assert planned.repair is None or planned.repair < next_start
    else:
        assert planned.room >= 1
        assert planned.first >= max(now, next_start, cool_down_until or now)
        assert planned.first + (planned.room - 1) * gap <= now + timedelta(milliseconds=250)


@given(MOMENTS, MOMENTS, st.none() | MOMENTS, GAPS)
def test_who_waits_as_told_gets_a_start(
    now: datetime, next_start: datetime, cool_down_until: datetime | None, gap: timedelta
) -> None:
    """Three waits at most lead to a grant, whatever stood in the way: no wait is endless."""
    for _ in range(4):
        planned = plan(now, next_start, cool_down_until, gap)
        if isinstance(planned, Grant):
            return
        now, next_start = planned.until, planned.repair or next_start
    pytest.fail("no start was granted")


# Law 10: the pace holds for everybody.

PERIODS = st.sampled_from([0.05, 0.5, 1.0, 7.0, 60.0])
WORK = st.lists(
    st.tuples(
        st.integers(0, 200),  # how many videos are due
        st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.03, 0.1, 1.0, 90.0]),  # seconds until asked again
        st.sampled_from([0.0, *[None] * 15]),  # a 429 now and then, with its hold
    ),
    max_size=80,
)


def worst_window(starts: list[datetime], period: timedelta) -> int:
    """Return the most starts in any stretch of time as long as the period, both ends included."""
    worst = first = 0
    for last, start in enumerate(starts):
        while start - starts[first] > period:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


@settings(max_examples=200)
@given(st.integers(1, 120), PERIODS, WORK)
def test_law_10_no_window_holds_more_than_the_rate(
    rate: int, period_seconds: float, work: list[tuple[int, float, float | None]]
) -> None:
    """However many ask and whenever, no sliding period sees more starts than the rate."""
    now, next_start, brake = NOW, LONG_AGO, None
    starts: list[datetime] = []
    for due, pause, throttled in work:
        brake = resume(brake, next_start, now)
        gap = spacing(rate_in_force(rate, brake, now), period_seconds)
        planned = plan(now, next_start, None, gap)
        if isinstance(planned, Wait):
            now = planned.until
            next_start = planned.repair or next_start
            continue
        taken = min(due, planned.room)
        starts += [planned.first + place * planned.spacing for place in range(taken)]
        if taken:
            next_start = planned.first + taken * planned.spacing
        if throttled is not None and starts:
            brake = cut(rate, brake, starts[-1], now)
        now += timedelta(seconds=pause)
    assert starts == sorted(starts)
    assert worst_window(starts, timedelta(seconds=period_seconds)) <= rate


@pytest.mark.parametrize("rate", [1, 3, 40, 500, 5_000])
def test_law_10_the_pace_is_used(rate: int) -> None:
    """A queue that is always full gets all but the 20 ms of margin of what is allowed."""
    now, next_start, started = NOW, LONG_AGO, 0
    gap = spacing(rate, 1.0)
    while next_start < at(10):
        planned = plan(now, next_start, None, gap)
        if isinstance(planned, Wait):
            now = planned.until
            continue
        started += planned.room
        next_start = planned.first + planned.room * gap
    assert 10 * rate / (1 + MARGIN_SECONDS) == pytest.approx(started, abs=LEAD / gap + 1, rel=0.01)


# The brake.

BRAKE = Brake(low=4.0, ceiling=8.0, cut_at=NOW)


def test_without_a_brake_the_setting_is_in_force() -> None:
    """Until the API throttles, the rate is the one that was set."""
    assert 10 == rate_in_force(10, None, NOW)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(-60, 4.0, id="before-the-hold-is-over"),
        pytest.param(0, 4.0, id="at-the-cut"),
        pytest.param(RECOVERY_SECONDS / 4, 6.0, id="half-way-after-a-quarter"),
        pytest.param(RECOVERY_SECONDS, 8.0, id="at-the-ceiling"),
        pytest.param(RECOVERY_SECONDS + DOUBLING_SECONDS, 16.0, id="doubled"),
        pytest.param(RECOVERY_SECONDS + 2 * DOUBLING_SECONDS, 32.0, id="doubled-twice"),
        pytest.param(RECOVERY_SECONDS + 4 * DOUBLING_SECONDS, 100.0, id="at-the-setting"),
        pytest.param(10**8, 100.0, id="years-later"),
    ],
)
def test_the_rate_climbs_back(seconds: float, expected: float) -> None:
    """After a cut the rate climbs along a square root for 35 s, then doubles every 10 s."""
    assert expected == pytest.approx(rate_in_force(100, BRAKE, at(seconds)))


def test_the_recovery_takes_35_seconds() -> None:
    """The times of the climb are those that the prototypes were measured with."""
    assert (35, 10) == (RECOVERY_SECONDS, DOUBLING_SECONDS)


def test_a_lowered_setting_holds_at_once() -> None:
    """A brake from a faster time does not lift the rate above a setting that was lowered since."""
    rates = [rate_in_force(3, BRAKE, at(seconds)) for seconds in (0, 10, 35, 100)]
    assert [3, 3, 3, 3] == rates


def test_a_first_cut_is_mild() -> None:
    """After a calm time a 429 takes a tenth off, and the climb begins when the hold is over."""
    expected = Brake(low=9.0, ceiling=9.0, cut_at=at(5))
    assert expected == cut(10, None, NOW, at(5))


def test_a_cut_after_a_calm_time_is_mild() -> None:
    """More than three seconds after the last cut, a 429 is a gentle hint."""
    before = rate_in_force(100, BRAKE, at(3.1))
    expected = Brake(low=0.9 * before, ceiling=0.9 * before, cut_at=at(8))
    assert expected == cut(100, BRAKE, at(3.1), at(8))


def test_a_cut_soon_after_another_is_hard() -> None:
    """Within three seconds of the last cut, a 429 takes three tenths off and lowers the ceiling."""
    before = rate_in_force(100, BRAKE, at(3))
    expected = Brake(low=0.7 * before, ceiling=0.85 * before, cut_at=at(8))
    assert expected == cut(100, BRAKE, at(3), at(8))


@pytest.mark.parametrize("started", [-10, 0], ids=["before-the-cut", "at-the-cut"])
def test_one_cut_for_each_flight(started: float) -> None:
    """A 429 to a request from before the cut cuts nothing more, and only its hold counts."""
    assert replace(BRAKE, cut_at=at(7)) == cut(100, BRAKE, at(started), at(7))
    assert BRAKE == cut(100, BRAKE, at(started), at(-1))


def test_a_whole_flight_is_one_cut() -> None:
    """Sixty 429s to requests that were in flight together cost what one costs."""
    brake = None
    for place in range(60):
        brake = cut(10, brake, at(place * 0.001), at(5))
    assert Brake(low=9.0, ceiling=9.0, cut_at=at(5)) == brake


def test_cuts_end_at_the_floor() -> None:
    """However often the API throttles, a hundredth of the setting stays."""
    brake = None
    for place in range(200):
        brake = cut(10, brake, at(place), at(place))
    expected = 10 * FLOOR_SHARE
    assert brake
    assert (expected, expected) == (brake.low, brake.ceiling)


CUTS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=30)


@given(st.floats(0.01, 10_000), CUTS, st.floats(0, 10**6))
def test_the_rate_stays_between_floor_and_setting(
    rate: float, cuts: list[tuple[float, float]], later: float
) -> None:
    """However often the API throttles, the rate is never above the setting nor below the floor."""
    brake, now = None, NOW
    for pause, hold in cuts:
        now += timedelta(seconds=pause)
        brake = resume(brake, now, now)
        brake = cut(rate, brake, now, now + timedelta(seconds=hold))
        assert brake.low <= brake.ceiling
        assert rate * FLOOR_SHARE <= rate_in_force(rate, brake, now) <= rate
    in_force = rate_in_force(rate, brake, now + timedelta(seconds=later))
    assert rate * FLOOR_SHARE <= in_force <= rate


@given(st.floats(0, 200), st.floats(0, 200))
def test_the_rate_never_falls_by_itself(one: float, other: float) -> None:
    """Without a further 429 the rate only climbs."""
    earlier, later = sorted((one, other))
    assert rate_in_force(100, BRAKE, at(earlier)) <= rate_in_force(100, BRAKE, at(later))


# Resuming after a time without starts.


def test_there_is_nothing_to_resume_without_a_brake() -> None:
    """Idle time before any 429 makes no brake."""
    assert None is resume(None, LONG_AGO, NOW)


@pytest.mark.parametrize("next_start", [0.0, 59.0, 61.0], ids=["at-the-cut", "just-now", "ahead"])
def test_a_short_pause_counts(next_start: float) -> None:
    """A pause of up to a second between starts is work, and the climb goes on through it."""
    now = at(max(1.0, next_start + 1) if next_start < 60 else 60)
    assert BRAKE == resume(BRAKE, at(next_start), now)


def test_idle_time_does_not_count() -> None:
    """A rate unused for an hour is as low as before."""
    worked, idle = 20, 3600
    brake = resume(BRAKE, at(worked), at(worked + idle))
    expected = rate_in_force(100, BRAKE, at(worked))
    assert expected == pytest.approx(rate_in_force(100, brake, at(worked + idle)))


def test_a_hold_is_no_work_either() -> None:
    """The climb begins with the first start, even long after the hold is over."""
    assert Brake(low=4.0, ceiling=8.0, cut_at=at(500)) == resume(BRAKE, LONG_AGO, at(500))


def test_before_the_hold_is_over_nothing_moves() -> None:
    """A look during the hold leaves the brake as it is."""
    assert BRAKE == resume(BRAKE, LONG_AGO, at(-5))


@given(st.floats(0, 1000), st.floats(-100, 1000))
def test_resuming_never_speeds_up(now: float, next_start: float) -> None:
    """To leave idle time out can only lower the rate, and never moves the cut into the future."""
    brake = resume(BRAKE, at(next_start), at(now))
    assert brake
    assert rate_in_force(100, brake, at(now)) <= rate_in_force(100, BRAKE, at(now))
    assert NOW <= brake.cut_at <= max(NOW, at(now))
    assert not math.isnan(brake.low)


@pytest.mark.parametrize("rate", [1.0, 5.0, 9.0, 10.0, 40.0])
def test_a_brake_is_over_when_the_rate_is_whole(rate: float) -> None:
    """From ``full_at`` on the rate in force is that of the setting, and not before."""
    brake = Brake(low=5.0, ceiling=10.0, cut_at=NOW)
    over_at = full_at(rate, brake)
    assert rate == pytest.approx(rate_in_force(rate, brake, over_at))
    before = rate_in_force(rate, brake, over_at - SECOND)
    assert before < rate or over_at == NOW


def test_a_brake_of_next_to_nothing_has_an_end() -> None:
    """A brake that plain SQL has made absurdly small is over within a calendar."""
    brake = Brake(low=1e-308, ceiling=1e-308, cut_at=NOW)
    assert full_at(1000.0, brake) < NOW + timedelta(days=1)
