from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.decide import Policy, decide
from worker.core.model import (
    Accepted,
    AccountRefused,
    Claim,
    ClaimStatus,
    InDoubt,
    Invalid,
    NotSent,
    Outcome,
    Refused,
    Released,
    State,
    Throttled,
    Transition,
    TryLater,
    Video,
    WrongAddress,
)

NOW = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
POLICY = Policy(max_attempts=3, backoff_base_seconds=10, backoff_max_seconds=60)
HALF = 0.5

ALONE = ClaimStatus()
IN_DOUBT = ClaimStatus(in_doubt=True)
HELD = ClaimStatus(holder=7)
HAS_JOB = ClaimStatus(job_id="known")

ACCEPTED = Accepted("new", 200)
REFUSED = Refused("no", 400)
INVALID = Invalid("url: is empty")
ACCOUNT = AccountRefused("who?", 401)
ADDRESS = WrongAddress("where?", 404)
THROTTLED = Throttled("slow down", 429, 600.0)
TRY_LATER = TryLater("oops", 503, 600.0)
TRY_LATER_UNSPENT = TryLater("oops", 503, spent=False)
LOST = InDoubt("no answer")
NOT_SENT = NotSent("no way")
RELEASED = Released("our own stop")

UNSPENT = (ACCOUNT, ADDRESS, THROTTLED, TRY_LATER_UNSPENT, NOT_SENT)
"""Endings that a video is put back for, behind the others (law 7)."""

COUNTED = (ACCEPTED, REFUSED, TRY_LATER, LOST)
NOT_COUNTED = (*UNSPENT, INVALID, RELEASED)
EVERY_OUTCOME = (*COUNTED, *NOT_COUNTED)
EVERY_CIRCUMSTANCE = [
    ClaimStatus(in_doubt=doubt, holder=holder, job_id=job_id)
    for doubt, holder, job_id in product((False, True), (None, 7), (None, "known", "new"))
]

DICE = st.floats(0, 1)
OUTCOMES = st.sampled_from(EVERY_OUTCOME)
AROUND = st.sampled_from(EVERY_CIRCUMSTANCE)


def claim(attempts: int = 0) -> Claim:
    """Return a claim on a video that has spent ``attempts`` so far."""
    return Claim(
        video_id=1,
        video=Video(url="https://host.example/v.mp4"),
        attempt=attempts + 1,
        attempts=attempts,
        token="t",
        request_id="r",
        lease_until=NOW + timedelta(seconds=180),
    )


def name(outcome: Outcome) -> str:
    """Return the id of a test for an outcome."""
    unspent = isinstance(outcome, TryLater) and not outcome.spent
    return f"{outcome.fact}-unspent" if unspent else str(outcome.fact)


def in_seconds(seconds: float) -> datetime:
    """Return the moment that many seconds from now."""
    return NOW + timedelta(seconds=seconds)


TABLE: list[tuple[Outcome, int, ClaimStatus, Transition]] = [
    (ACCEPTED, 0, ALONE, Transition.submit("new")),
    (ACCEPTED, 2, ALONE, Transition.submit("new")),
    (ACCEPTED, 0, IN_DOUBT, Transition.submit("new")),
    (
        ACCEPTED,
        0,
        HELD,
        Transition.park("the API answered with job new, which video 7 holds already"),
    ),
    (
        ACCEPTED,
        0,
        HAS_JOB,
        Transition.submit("known", "bought twice: job new was made as well"),
    ),
    (ACCEPTED, 0, ClaimStatus(job_id="new"), Transition.submit("new")),
    (REFUSED, 0, ALONE, Transition.fail("no")),
    (
        REFUSED,
        0,
        IN_DOUBT,
        Transition.park("an earlier attempt is still in doubt; the last one ended in: no"),
    ),
    (REFUSED, 0, HAS_JOB, Transition.submit("known")),
    (INVALID, 0, ALONE, Transition.reject("url: is empty")),
    (
        INVALID,
        0,
        IN_DOUBT,
        Transition.park(
            "an earlier attempt is still in doubt; the last one ended in: url: is empty",
            spent=False,
        ),
    ),
    (INVALID, 0, HAS_JOB, Transition.submit("known", spent=False)),
    (LOST, 0, ALONE, Transition.park("no answer")),
    (LOST, 2, ALONE, Transition.park("no answer")),
    (LOST, 0, IN_DOUBT, Transition.park("no answer")),
    (LOST, 0, HAS_JOB, Transition.submit("known")),
    (TRY_LATER, 0, ALONE, Transition.retry("oops", in_seconds(5))),
    (TRY_LATER, 1, ALONE, Transition.retry("oops", in_seconds(10))),
    (TRY_LATER, 1, IN_DOUBT, Transition.retry("oops", in_seconds(10))),
    (TRY_LATER, 2, ALONE, Transition.fail("oops (attempt 3, the last one allowed)")),
    (TRY_LATER, 9, ALONE, Transition.fail("oops (attempt 10, the last one allowed)")),
    (
        TRY_LATER,
        2,
        IN_DOUBT,
        Transition.park(
            "an earlier attempt is still in doubt; the last one ended in: "
            "oops (attempt 3, the last one allowed)"
        ),
    ),
    (TRY_LATER, 0, HAS_JOB, Transition.submit("known")),
    (RELEASED, 0, ALONE, Transition.release()),
    (RELEASED, 2, IN_DOUBT, Transition.release()),
    (RELEASED, 0, HAS_JOB, Transition.submit("known", spent=False)),
    *(
        (outcome, attempts, around, Transition.postpone(outcome.message or "", in_seconds(5)))
        for outcome in UNSPENT
        for attempts in (0, 2, 9)
        for around in (ALONE, IN_DOUBT)
    ),
    *((outcome, 0, HAS_JOB, Transition.submit("known", spent=False)) for outcome in UNSPENT),
]


@pytest.mark.parametrize(
    ("outcome", "attempts", "around", "expected"),
    [
        pytest.param(
            *line,
            id=f"{name(line[0])}-after-{line[1]}"
            + ("-in-doubt" if line[2].in_doubt else "")
            + ("-held" if line[2].holder else "")
            + (f"-has-job-{line[2].job_id}" if line[2].job_id else ""),
        )
        for line in TABLE
    ],
)
def test_every_ending_has_its_transition(
    outcome: Outcome, attempts: int, around: ClaimStatus, expected: Transition
) -> None:
    """The result of an attempt moves its video as `README.md, What an answer means` says."""
    assert expected == decide(claim(attempts), outcome, around, NOW, HALF, POLICY)


@pytest.mark.parametrize("outcome", EVERY_OUTCOME, ids=name)
@pytest.mark.parametrize("attempts", [0, 2])
def test_law_5_no_clean_ending_closes_an_earlier_doubt(outcome: Outcome, attempts: int) -> None:
    """While an earlier attempt is in doubt, nothing that a later one ends in fails the video."""
    assert State.FAILED != decide(claim(attempts), outcome, IN_DOUBT, NOW, HALF, POLICY).state


def test_law_5_doubts_that_use_up_the_attempts_end_in_doubt() -> None:
    """A last attempt that is itself unclear leaves a doubt and not a failure."""
    assert State.IN_DOUBT == decide(claim(2), LOST, ALONE, NOW, HALF, POLICY).state


@pytest.mark.parametrize("around", [a for a in EVERY_CIRCUMSTANCE if a.job_id], ids=repr)
@pytest.mark.parametrize("outcome", EVERY_OUTCOME, ids=name)
def test_law_6_a_video_that_has_a_job_keeps_it(outcome: Outcome, around: ClaimStatus) -> None:
    """A job id that a late answer brought survives whatever another attempt ends in."""
    transition = decide(claim(), outcome, around, NOW, HALF, POLICY)
    assert (State.SUBMITTED, around.job_id) == (transition.state, transition.job_id)


def test_law_6_a_second_purchase_is_named() -> None:
    """A second job for one video is told, and not dropped in silence."""
    transition = decide(claim(), ACCEPTED, HAS_JOB, NOW, HALF, POLICY)
    assert "bought twice: job new was made as well" == transition.error


@pytest.mark.parametrize("around", EVERY_CIRCUMSTANCE, ids=repr)
@pytest.mark.parametrize("outcome", NOT_COUNTED, ids=name)
def test_law_7_not_the_videos_fault_is_not_its_attempt(
    outcome: Outcome, around: ClaimStatus
) -> None:
    """Throttling, a refused account, an unreachable API and our own stop are charged to no row."""
    assert not decide(claim(2), outcome, around, NOW, HALF, POLICY).spent


@pytest.mark.parametrize("around", EVERY_CIRCUMSTANCE, ids=repr)
@pytest.mark.parametrize("outcome", COUNTED, ids=name)
def test_what_reached_the_api_is_counted(outcome: Outcome, around: ClaimStatus) -> None:
    """An attempt that the API answered, or perhaps got, is one of the video's attempts."""
    assert decide(claim(), outcome, around, NOW, HALF, POLICY).spent


@pytest.mark.parametrize("outcome", UNSPENT, ids=name)
def test_law_7_such_a_video_goes_behind_the_others(outcome: Outcome) -> None:
    """A row that the API will not take now cannot hold up the queue."""
    transition = decide(claim(), outcome, ALONE, NOW, 1.0, POLICY)
    assert (State.PENDING, in_seconds(10)) == (transition.state, transition.due_at)


def test_law_7_our_own_stop_costs_no_place_in_the_queue() -> None:
    """A claim that our own stop gave back is due when it was due before."""
    assert Transition.release() == decide(claim(), RELEASED, ALONE, NOW, 1.0, POLICY)


@given(st.integers(1, 12), st.lists(st.tuples(OUTCOMES, st.booleans(), DICE), max_size=40))
def test_attempts_never_exceed_what_is_allowed(
    max_attempts: int, story: list[tuple[Outcome, bool, float]]
) -> None:
    """However a video's attempts end, no more are spent on it than the settings allow."""
    policy = Policy(max_attempts=max_attempts, backoff_base_seconds=1, backoff_max_seconds=9)
    attempts = 0
    for outcome, doubt, dice in story:
        around = ClaimStatus(in_doubt=doubt)
        transition = decide(claim(attempts), outcome, around, NOW, dice, policy)
        attempts += transition.spent
        repeatable = transition.state is State.IN_DOUBT and attempts < max_attempts
        if transition.state is not State.PENDING and not repeatable:
            break
    assert attempts <= max_attempts


@given(OUTCOMES, AROUND, st.integers(0, 10_000), DICE)
def test_nothing_is_due_in_the_past_or_too_far_ahead(
    outcome: Outcome, around: ClaimStatus, attempts: int, dice: float
) -> None:
    """A wait is between nothing and the longest backoff, and only a row that waits has one."""
    transition = decide(claim(attempts), outcome, around, NOW, dice, POLICY)
    if transition.due_at is not None:
        assert State.PENDING == transition.state
        assert NOW <= transition.due_at <= in_seconds(60)


@given(OUTCOMES, AROUND, st.integers(0, 20), DICE)
def test_every_transition_can_be_written(
    outcome: Outcome, around: ClaimStatus, attempts: int, dice: float
) -> None:
    """No transition breaks a CHECK: what is submitted has a job id, and what is pending none."""
    transition = decide(claim(attempts), outcome, around, NOW, dice, POLICY)
    kept = around.job_id or transition.job_id
    after_an_attempt = {State.PENDING, State.SUBMITTED, State.FAILED, State.IN_DOUBT}
    assert transition.state in after_an_attempt
    assert (transition.state is State.SUBMITTED) == (kept is not None)
    assert (transition.job_id is None) == (transition.state is not State.SUBMITTED)


@given(OUTCOMES, AROUND, st.integers(0, 20), DICE)
def test_every_state_that_a_person_reads_has_a_reason(
    outcome: Outcome, around: ClaimStatus, attempts: int, dice: float
) -> None:
    """A failure, a doubt and a postponement say why."""
    transition = decide(claim(attempts), outcome, around, NOW, dice, POLICY)
    if transition.state in {State.FAILED, State.IN_DOUBT} or transition.due_at is not None:
        assert transition.error
