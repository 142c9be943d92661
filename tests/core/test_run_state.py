from dataclasses import replace

import pytest

from tests.conftest import START
from worker.core.breaker import Breaker
from worker.core.evidence import Resolvable
from worker.core.model import (
    Accepted,
    Claim,
    ClaimStatus,
    InDoubt,
    Invalid,
    Outcome,
    Refused,
    Released,
    Result,
    Settlement,
    State,
    Throttled,
    Transition,
    Video,
)
from worker.core.reasons import WaitReason
from worker.core.run_state import Counts, RunState

CLAIM = Claim(
    video_id=7,
    video=Video(url="https://example.org/a.mp4"),
    attempt=3,
    attempts=1,
    token="token",
    request_id="ours-7",
    lease_until=START,
)


def settlement(outcome: Outcome, transition: Transition, *, lost: bool = False) -> Settlement:
    """Return a settled result of the video."""
    status = ClaimStatus(state=State.SUBMITTED, holds=False) if lost else ClaimStatus()
    return Settlement(
        result=Result(claim=CLAIM, outcome=outcome), status=status, transition=transition
    )


IN_DOUBT = settlement(InDoubt("no answer"), Transition.park("no answer"))


@pytest.mark.parametrize(
    ("outcome", "transition", "counts"),
    [
        (Accepted("job-1", 200), Transition.submit("job-1"), Counts(submitted=1)),
        (Refused("no", 400), Transition.fail("no"), Counts(failed=1)),
        (Invalid("url: is empty"), Transition.reject("url: is empty"), Counts(failed=1)),
        (InDoubt("no answer"), Transition.park("no answer"), Counts(in_doubt=1)),
        (Refused("no", 400), Transition.postpone("no", START), Counts(postponed=1)),
        (Released("our own stop"), Transition.release(), Counts()),
    ],
)
def test_a_settled_attempt_is_counted(
    outcome: Outcome, transition: Transition, counts: Counts
) -> None:
    """Each transition counts once; a released claim counts as nothing."""
    run = RunState(began_at=0.0)
    run.settle(settlement(outcome, transition))
    assert counts == run.counts


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [(Accepted("job-1", 200), Counts(submitted=1)), (Refused("no", 400), Counts())],
)
def test_the_job_of_a_lost_claim_is_counted(outcome: Outcome, counts: Counts) -> None:
    """A lost claim counts only where it brought a job id, which is written all the same."""
    run = RunState(began_at=0.0, doubts={7})
    run.settle(settlement(outcome, Transition.fail("no"), lost=True))
    assert (counts, {7}) == (run.counts, run.doubts)


def test_a_doubt_lasts_until_a_clear_settlement() -> None:
    """A run knows the videos that it has left in doubt."""
    run = RunState(began_at=0.0)
    run.settle(IN_DOUBT)
    assert {7} == run.doubts
    run.settle(settlement(Accepted("job-1", 200), Transition.submit("job-1")))
    assert set() == run.doubts


@pytest.mark.parametrize(
    ("outcome", "transition", "counts"),
    [
        (Accepted("job-1", 200), Transition.submit("job-1"), Counts(submitted=1)),
        (Refused("no", 400), Transition.fail("no"), Counts(failed=1)),
        (InDoubt("no answer"), Transition.park("no answer"), Counts(in_doubt=1)),
    ],
)
@pytest.mark.parametrize("expired_here", [True, False])
def test_a_late_answer_counts_its_video_once(
    outcome: Outcome, transition: Transition, counts: Counts, *, expired_here: bool
) -> None:
    """An answer after the end of its lease takes the place of the doubt, whoever wrote that."""
    run = RunState(began_at=0.0)
    if expired_here:
        run.open_doubt(7)
    late = replace(settlement(outcome, transition), status=ClaimStatus(state=State.IN_DOUBT))
    run.settle(late)
    assert (counts, 1) == (run.counts, run.counts.ended)


def test_a_doubt_that_the_list_settles_is_counted_no_more() -> None:
    """A settled doubt leaves the counts if this run had made it."""
    run = RunState(began_at=0.0)
    run.open_doubt(7)
    assert (Counts(in_doubt=1), {7}) == (run.counts, run.doubts)
    run.close_doubt(7)
    run.close_doubt(8)
    assert (Counts(), set()) == (run.counts, run.doubts)


def test_an_end_counts_in_flight_spent_and_clear_answers() -> None:
    """A request is spent once begun, and no longer if it was released; yes and no are clear."""
    run = RunState(began_at=5.0)
    for outcome in (Accepted("job-1", 200), Refused("no", 400), InDoubt("lost"), Released("stop")):
        run.begin()
        assert 1 == run.in_flight
        run.end(CLAIM, outcome, 10.0 if isinstance(outcome, Accepted | Refused) else 20.0)
    assert (0, 3) == (run.in_flight, run.spent)
    assert (10.0, "stop") == (run.last_clear_at, run.last_unclear)
    assert (CLAIM, InDoubt("lost")) == run.last


def test_a_list_teaches_which_doubts_are_left() -> None:
    """A doubt that another process has settled is none of this run any more."""
    run = RunState(began_at=0.0, reconciles=True, doubts={5, 6, 7})
    run.learn({5: Resolvable.NEWS, 6: Resolvable.NONE, 7: Resolvable.NONE}, {5, 6})
    assert ({5, 6}, {5, 6}) == (run.doubts, set(run.resolvable))


def test_a_stalled_wait_counts_from_its_first_moment() -> None:
    """The same reason keeps its first moment, another one begins anew, none ends it."""
    run = RunState(began_at=0.0)
    run.note_wait(WaitReason.HELD, 1.0)
    run.note_wait(WaitReason.HELD, 2.0)
    assert (WaitReason.HELD, 1.0) == run.stalled
    run.note_wait(WaitReason.LIST, 3.0)
    assert (WaitReason.LIST, 3.0) == run.stalled
    run.note_wait(None, 4.0)
    assert run.stalled is None


def test_a_silence_is_told_with_its_reason() -> None:
    """Before the first clear answer, and while unclear ones come; not where the API slows."""
    run, told = RunState(began_at=0.0), []
    told.append(run.silence)
    run.begin()
    told.append(run.silence)
    run.end(CLAIM, InDoubt("connection reset"), 1.0)
    told.append(run.silence)
    run.breaker = Breaker(blanks=1)
    told.append(run.silence)
    run.begin()
    run.end(CLAIM, Throttled("slower", 429, 1.0), 2.0)
    told.append(run.silence)
    assert [None, "no answer yet", None, "connection reset", None] == told


def test_a_trouble_of_the_database_is_no_silence_of_the_api() -> None:
    """A request whose claim or answer cannot be written is not blamed on the API."""
    run = RunState(began_at=0.0)
    run.begin()
    run.database_problem = "the disk is full"
    assert run.silence is None
