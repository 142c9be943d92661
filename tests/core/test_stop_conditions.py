import math
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from tests.conftest import START
from worker.core.breaker import Breaker, Suspicion
from worker.core.evidence import Resolvable
from worker.core.reasons import ClaimResult, Stop, StopReason, WaitReason
from worker.core.run_state import RunState
from worker.core.stop_conditions import (
    PATIENCE_SECONDS,
    RunOptions,
    deadline,
    free_slots,
    stalls,
    stop_after_claim,
    stop_before_claim,
    stop_without_database,
    with_late_failures,
)

DRAIN = RunOptions(drain=True)
DRAIN_ALL = RunOptions(drain=True, wait=True)
DAEMON = RunOptions(drain=False)
LONGEST = 3_600.0
BEGAN = 1_000.0
EMPTY = Stop(reason=StopReason.EMPTY)
REFUSED = Stop(reason=StopReason.ACCOUNT, message="HTTP 401: who?")


@dataclass
class Story:
    """A run under these options, as its loop asks whether it is over."""

    options: RunOptions = DRAIN
    run: RunState = field(default_factory=lambda: RunState(began_at=BEGAN, reconciles=True))
    now: float = BEGAN

    def after(
        self,
        reason: WaitReason,
        seconds: float | None = None,
        *,
        detail: str = "",
        submitting: int = 0,
    ) -> Stop | None:
        """Return the stop after a claim result whose moment is so many seconds away."""
        until = None if seconds is None else START + timedelta(seconds=seconds)
        result = ClaimResult(reason=reason, until=until, detail=detail, submitting=submitting)
        if self.options.drain and not self.run.busy:
            self.run.note_wait(stalls(result, seconds), self.now)
        return stop_after_claim(
            result, self.run, self.options, self.now, seconds=seconds, longest=LONGEST
        )

    def without_database(self, *, unreachable: bool) -> Stop | None:
        """Return the stop after a claim that failed."""
        lost_at = self.run.database_lost_at
        self.run.database_lost_at = self.now if lost_at is None else lost_at
        return stop_without_database(
            self.run, self.options, "gone", self.now, unreachable=unreachable
        )


@pytest.mark.parametrize(
    ("reason", "drain", "drain_all"),
    [
        (WaitReason.PACE, None, None),
        (WaitReason.PAUSE, StopReason.PAUSED, StopReason.PAUSED),
        (WaitReason.MOVED, StopReason.MOVED, StopReason.MOVED),
        (WaitReason.UPLOADS, None, None),
        (WaitReason.NOTHING, StopReason.EMPTY, StopReason.EMPTY),
        (WaitReason.LATER, StopReason.EMPTY, None),
        (WaitReason.OTHERS, StopReason.EMPTY, None),
        (WaitReason.DOUBTS, StopReason.EMPTY, None),
        (WaitReason.LIST, StopReason.EMPTY, StopReason.EMPTY),
        (WaitReason.HELD, None, None),
        (WaitReason.COOL_DOWN, None, None),
        (WaitReason.CAP, None, None),
        (WaitReason.JOBS, None, None),
        (WaitReason.HOSTS, StopReason.EMPTY, StopReason.EMPTY),
    ],
)
def test_a_reason_to_wait_ends_a_drain_or_not(
    reason: WaitReason, drain: StopReason | None, drain_all: StopReason | None
) -> None:
    """Each reason to wait for ten seconds has its end, with and without ``--wait``; a daemon ends
    only with a queue that has moved.
    """
    for options, expected in ((DRAIN, drain), (DRAIN_ALL, drain_all)):
        stop = Story(options).after(reason, 10, detail="why")
        assert expected == (stop and stop.reason)
    moved = Stop(reason=StopReason.MOVED, message="why")
    expected_of_daemon = moved if reason is WaitReason.MOVED else None
    assert expected_of_daemon == Story(DAEMON).after(reason, 10, detail="why")


def test_a_stop_says_what_the_claim_said() -> None:
    """The reason of a pause and the place of a moved queue reach the person."""
    assert Stop(reason=StopReason.PAUSED, message="lunch") == Story().after(
        WaitReason.PAUSE, detail="lunch"
    )


def test_a_drain_gives_up_on_uploads_that_a_trouble_holds() -> None:
    """It names the trouble after a minute of it; one that waits does not, nor one at the sends."""
    run, silence = RunState(began_at=BEGAN), Stop(reason=StopReason.UNREACHABLE, message="lost")
    run.note_uploads(silence, BEGAN)
    run.note_uploads(silence, BEGAN + 30)
    assert Story(DRAIN, run, BEGAN + PATIENCE_SECONDS - 1).after(WaitReason.UPLOADS) is None
    late = BEGAN + PATIENCE_SECONDS
    assert silence == Story(DRAIN, run, late).after(WaitReason.UPLOADS)
    run.uploading = 1
    assert Story(DRAIN, run, late).after(WaitReason.UPLOADS) is None
    run.uploading = 0
    assert Story(DRAIN_ALL, run, late).after(WaitReason.UPLOADS) is None
    assert Story(DRAIN, run, late).after(WaitReason.PACE) is None
    run.note_uploads(None, late)
    assert Story(DRAIN, run, late).after(WaitReason.UPLOADS) is None
    run.note_uploads(silence, late)
    assert Story(DRAIN, run, late).after(WaitReason.UPLOADS) is None


@pytest.mark.parametrize("reason", [StopReason.DATABASE, StopReason.ACCOUNT, StopReason.ADDRESS])
def test_what_lasts_ends_a_drain_of_uploads_that_waits(reason: StopReason) -> None:
    """A refused key, a wrong address and a database that cannot be written end both, in time."""
    run, late = RunState(began_at=BEGAN), BEGAN + PATIENCE_SECONDS
    trouble = Stop(reason=reason, message="why")
    run.note_uploads(trouble, BEGAN)
    for options in (DRAIN, DRAIN_ALL):
        assert Story(options, run, late - 1).after(WaitReason.UPLOADS) is None
        assert trouble == Story(options, run, late).after(WaitReason.UPLOADS)


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
def test_an_answer_on_its_way_comes_first(options: RunOptions) -> None:
    """A drain goes on while a request or a question for the list awaits its answer."""
    story = Story(options)
    story.run.begin()
    assert story.after(WaitReason.NOTHING) is None
    story.run.in_flight = 0
    story.run.reads_list = True
    assert story.after(WaitReason.NOTHING) is None
    story.run.reads_list = False
    assert EMPTY == story.after(WaitReason.NOTHING)


def test_a_queue_that_has_moved_ends_a_busy_run() -> None:
    """A run ends where no video comes any more, whatever it has in flight."""
    story = Story(DAEMON)
    story.run.begin()
    stop = story.after(WaitReason.MOVED, detail="sqlite:///b.db")
    assert Stop(reason=StopReason.MOVED, message="sqlite:///b.db") == stop


def test_a_drain_that_waits_does_so_for_its_own_young_doubts() -> None:
    """``--wait`` stays for the doubts of this run that time alone may settle, and for no others."""
    story = Story(DRAIN_ALL)
    assert EMPTY == story.after(WaitReason.LIST, 60)
    story.run.doubts.add(5)
    assert story.after(WaitReason.LIST, 60) is None
    story.run.learn({5: Resolvable.NEWS}, {5})
    assert EMPTY == story.after(WaitReason.LIST, 60)
    assert EMPTY == Story(DRAIN, story.run).after(WaitReason.LIST, 60)
    held = RunState(began_at=BEGAN, doubts={5})
    assert EMPTY == Story(DRAIN_ALL, held).after(WaitReason.LIST, 60)


@pytest.mark.parametrize(("options", "longest"), [(DRAIN, PATIENCE_SECONDS), (DRAIN_ALL, LONGEST)])
@pytest.mark.parametrize("reason", [WaitReason.LIST, WaitReason.HELD])
def test_a_wait_without_an_end_has_a_limit(
    options: RunOptions, longest: float, reason: WaitReason
) -> None:
    """An overdue list, or rows that another program holds, are waited for only so long."""
    story = Story(options)
    assert story.after(reason, 0) is None
    story.now += longest - 0.1
    assert story.after(reason, 0) is None
    story.now += 0.1
    assert EMPTY == story.after(reason, 0)


@pytest.mark.parametrize(
    ("between", "seconds"), [(WaitReason.LIST, 60), (WaitReason.LATER, 60), (WaitReason.PACE, 0)]
)
def test_patience_begins_anew_after_another_reason(between: WaitReason, seconds: float) -> None:
    """A second look at the list gets as long as the first."""
    story = Story(DRAIN_ALL)
    assert story.after(WaitReason.LIST, 0) is None
    story.now += LONGEST
    story.after(between, seconds)
    assert story.after(WaitReason.LIST, 0) is None


def test_patience_does_not_pass_from_one_reason_to_the_other() -> None:
    """Rows that are held after an overdue list are waited for as long as at first."""
    story = Story()
    assert story.after(WaitReason.LIST, 0) is None
    story.now += PATIENCE_SECONDS
    assert story.after(WaitReason.HELD, 1) is None


@pytest.mark.parametrize(
    ("options", "longest"),
    [(DRAIN, PATIENCE_SECONDS), (DRAIN_ALL, LONGEST)],
)
@pytest.mark.parametrize("reason", [WaitReason.COOL_DOWN, WaitReason.CAP])
def test_a_short_wait_by_the_clock_is_sat_out(
    options: RunOptions, longest: float, reason: WaitReason
) -> None:
    """A drain waits for a cool-down or a cap that is over soon, and ends for a longer one."""
    story = Story(options)
    assert story.after(reason, longest) is None
    stop = story.after(reason, longest + 0.001, detail="too fast")
    expected = StopReason.COOL_DOWN if reason is WaitReason.COOL_DOWN else StopReason.CAP
    assert Stop(reason=expected, message="too fast") == stop


def test_patience_counts_from_the_last_clear_answer() -> None:
    """A drain without ``--wait`` sits out cool-downs for a minute in all without a clear answer."""
    story = Story()
    story.now += 50
    assert story.after(WaitReason.COOL_DOWN, 10) is None
    assert story.after(WaitReason.COOL_DOWN, 10.001) is not None


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
def test_a_cap_that_no_time_opens_ends_a_drain(options: RunOptions) -> None:
    """A drain does not wait for a person who raises a cap."""
    stop = Story(options).after(WaitReason.CAP, detail="max_total = 3 is reached")
    assert Stop(reason=StopReason.CAP, message="max_total = 3 is reached") == stop


def test_jobs_in_progress_are_waited_for_by_a_drain_that_waits() -> None:
    """At max_in_progress a drain ends as at a cap; one with --wait waits while jobs end."""
    told = "max_in_progress = 3 is reached"
    stop = Stop(reason=StopReason.CAP, message=told)
    assert stop == Story(DRAIN).after(WaitReason.JOBS, detail=told)
    assert Story(DRAIN).after(WaitReason.JOBS, submitting=1) is None
    for seconds in (None, 10, 86_400):
        assert Story(DRAIN_ALL).after(WaitReason.JOBS, seconds, detail=told) is None


def test_an_own_doubt_that_may_prove_empty_is_waited_for_in_a_full_cap() -> None:
    """A drain with --wait awaits the list that may free the room of its own doubts, and no other
    doubt, which only a person may settle.
    """
    run, told = RunState(began_at=BEGAN, reconciles=True), "max_in_progress = 1 is reached"
    stop = Stop(reason=StopReason.CAP, message=told)
    assert stop == Story(DRAIN_ALL, run).after(WaitReason.CAP, detail=told)
    run.open_doubt(7)
    assert Story(DRAIN_ALL, run).after(WaitReason.CAP, detail=told) is None
    assert stop == Story(DRAIN, run).after(WaitReason.CAP, detail=told)


@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
@pytest.mark.parametrize("seconds", [None, 10, 86_400])
def test_claims_that_may_free_room_are_waited_for(
    options: RunOptions, seconds: float | None
) -> None:
    """A drain waits at a full cap while a claim of any process may still make no job."""
    assert Story(options).after(WaitReason.CAP, seconds, submitting=1) is None


def test_an_empty_queue_leaves_an_unconfirmed_refusal() -> None:
    """A refused account that no other video could confirm ends the drain as confirmed."""
    suspicion = Suspicion(video_id=1, seen_at=BEGAN, stop=REFUSED)
    story = Story(run=RunState(began_at=BEGAN, breaker=Breaker(suspicion=suspicion)))
    assert REFUSED == story.after(WaitReason.NOTHING)


def test_a_drain_sits_out_a_lost_database_for_a_minute() -> None:
    """A drain outlasts a restart of its server, and ends where the server stays away."""
    story = Story()
    gone = Stop(reason=StopReason.DATABASE, message="gone")
    assert gone == story.without_database(unreachable=False)
    assert story.without_database(unreachable=True) is None
    story.now += PATIENCE_SECONDS - 1
    assert story.without_database(unreachable=True) is None
    story.now += 1
    assert gone == story.without_database(unreachable=True)


def test_a_daemon_waits_for_its_database() -> None:
    """A daemon outlasts a disk that is full for an hour."""
    story = Story(DAEMON)
    assert story.without_database(unreachable=False) is None
    story.now += 10 * PATIENCE_SECONDS
    assert story.without_database(unreachable=True) is None


def test_a_limit_ends_a_run_when_its_last_request_has_ended() -> None:
    """A run begins as many requests as its limit says, and waits for their answers."""
    run, limited = RunState(began_at=BEGAN), replace(DRAIN, limit=1)
    assert stop_before_claim(run, limited, BEGAN) is None
    run.begin()
    assert stop_before_claim(run, limited, BEGAN) is None
    run.in_flight = 0
    assert Stop(reason=StopReason.LIMIT) == stop_before_claim(run, limited, BEGAN)


@pytest.mark.parametrize("options", [DRAIN, DAEMON])
def test_a_drain_with_a_limit_names_the_refusal_that_it_met(options: RunOptions) -> None:
    """The first request of a new key is refused: a drain of one says so, confirmed or not."""
    suspicion = Suspicion(stop=REFUSED, video_id=1, seen_at=BEGAN)
    for breaker in (Breaker(stop=REFUSED), Breaker(suspicion=suspicion)):
        run = RunState(began_at=BEGAN, breaker=breaker)
        run.spent = 1
        ended = stop_before_claim(run, replace(options, limit=1), BEGAN)
        assert ended == (REFUSED if options.drain else Stop(reason=StopReason.LIMIT))


def test_time_ends_a_run() -> None:
    """A run claims nothing more from its deadline on; one without a limit has none."""
    run, timed = RunState(began_at=BEGAN), replace(DAEMON, max_seconds=5.0)
    assert (BEGAN + 5, math.inf) == (deadline(run, timed), deadline(run, DAEMON))
    assert stop_before_claim(run, timed, BEGAN + 4.999) is None
    assert Stop(reason=StopReason.TIME) == stop_before_claim(run, timed, BEGAN + 5)


def test_a_confirmed_trouble_ends_a_drain_alone() -> None:
    """A drain ends with a refused account; a daemon pauses and probes."""
    run = RunState(began_at=BEGAN, breaker=Breaker(stop=REFUSED))
    assert REFUSED == stop_before_claim(run, DRAIN, BEGAN)
    assert stop_before_claim(run, DAEMON, BEGAN) is None


@pytest.mark.parametrize("cool_until", [0.0, BEGAN + PATIENCE_SECONDS + 1])
def test_a_drain_that_does_not_wait_gives_up_on_an_unreachable_api(cool_until: float) -> None:
    """A minute without a clear answer ends a drain, at once where its cool-down outlasts it."""
    run = RunState(began_at=BEGAN, breaker=Breaker(blanks=1, cool_until=cool_until))
    run.last_unclear = "no way"
    unreachable = Stop(reason=StopReason.UNREACHABLE, message="no way")
    assert (unreachable if cool_until else None) == stop_before_claim(run, DRAIN, BEGAN)
    assert unreachable == stop_before_claim(run, DRAIN, BEGAN + PATIENCE_SECONDS + 1)
    for options in (DRAIN_ALL, DAEMON):
        assert stop_before_claim(run, options, BEGAN + PATIENCE_SECONDS + 1) is None
    trusted = RunState(began_at=BEGAN, breaker=Breaker(blanks=1, trusted=True))
    assert stop_before_claim(trusted, DRAIN, BEGAN + PATIENCE_SECONDS + 1) is None


def test_a_refusal_is_told_rather_than_a_silence() -> None:
    """A drain that gives up after a refusal that nothing could confirm ends by that refusal."""
    suspicion = Suspicion(video_id=1, seen_at=BEGAN, stop=REFUSED)
    breaker = Breaker(blanks=1, suspicion=suspicion)
    run = RunState(began_at=BEGAN, breaker=breaker)
    assert REFUSED == stop_before_claim(run, DRAIN, BEGAN + PATIENCE_SECONDS + 1)


def test_slots_are_free_as_breaker_and_limit_allow() -> None:
    """One request at a time without trust, all slots with it, never more than the limit leaves."""
    run = RunState(began_at=BEGAN)
    assert 1 == free_slots(run, DRAIN, 8)
    run.breaker = Breaker(trusted=True)
    run.begin()
    assert 7 == free_slots(run, DRAIN, 8)
    assert 2 == free_slots(run, replace(DRAIN, limit=3), 8)


def test_a_stop_names_the_videos_that_failed_late() -> None:
    """Videos that fail by the same refusal while the last answers come in are in the report."""
    stop = Stop(reason=StopReason.EQUAL_REFUSALS, message="no", videos=(1, 2))
    last = replace(stop, videos=(1, 2, 3))
    run = RunState(began_at=BEGAN, breaker=Breaker(stop=last))
    assert last == with_late_failures(stop, run)
    assert EMPTY == with_late_failures(EMPTY, run)
    assert stop == with_late_failures(stop, RunState(began_at=BEGAN))
