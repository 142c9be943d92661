"""Following a job, rule by rule."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from worker.core.following import (
    BEFORE_ALL,
    Asking,
    FollowedJob,
    JobStatus,
    NoStatus,
    buried,
    heard,
    news,
    question,
    typical,
)
from worker.core.model import Fact

ACCEPTED = datetime(2026, 1, 1, 12, tzinfo=UTC)
JOB = FollowedJob(job_id="j", video_id=7, attempt=1, accepted_at=ACCEPTED)
KNOWN = Asking()
MIDDLE = 0.5
BRIEF = timedelta(seconds=1)


def at(seconds: float) -> datetime:
    """Return the moment so long after the acceptance."""
    return ACCEPTED + timedelta(seconds=seconds)


def told(
    job: FollowedJob,
    said: JobStatus | NoStatus,
    seconds: float,
    known: Asking = KNOWN,
    dice: float = MIDDLE,
) -> FollowedJob:
    """Return the job after an answer that came so long after its acceptance."""
    return heard(job, said, at(seconds), dice, known)


def wait(job: FollowedJob) -> float:
    """Return the seconds from the last answer to the next question."""
    assert job.polled_at is not None
    assert job.next_poll_at is not None
    return round((job.next_poll_at - job.polled_at).total_seconds(), 3)


@pytest.mark.parametrize("status", ["finished", "error"])
def test_a_documented_end_is_an_end(status: str) -> None:
    """Law 15: the two documented ends end a job, with what was said of them."""
    said = JobStatus(status=status, transfer_status="error", details="HTTP 403")
    after = told(replace(JOB, poll_errors=2, missing_since=at(1)), said, 90)
    assert (status, at(90)) == (after.ended_as, after.ended_at)
    assert (status, at(90), "error", "HTTP 403") == (
        after.status,
        after.status_since,
        after.transfer_status,
        after.details,
    )
    assert after.missing_since is None
    assert (Fact(f"job_{status}"), "HTTP 403") == news(JOB, after)


@pytest.mark.parametrize(
    "status",
    [
        *("queued", "on_hold", "preparing_analysis", "processing"),
        *("Finished", "ERROR", "finished ", "failed", "done", "cancelled", "gone", "null", "?"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_any_other_status_is_shown_and_followed_on(status: str, listed: bool) -> None:  # noqa: FBT001
    """Law 15: a status that is not documented as an end never ends a job, whoever shows it."""
    after = told(JOB, JobStatus(status=status, listed=listed), 90)
    assert (None, None, status) == (after.ended_as, after.ended_at, after.status)
    assert after.next_poll_at is not None
    assert after.next_poll_at > at(90)
    assert (Fact.JOB_STATUS, status) == news(JOB, after)
    again = told(after, JobStatus(status=status, listed=listed), 1000)
    assert news(after, again) is None
    assert at(90) == again.status_since


def test_no_answer_says_nothing_about_a_job() -> None:
    """Law 15: a failed question changes nothing but when the next one comes, ever later."""
    job = replace(JOB, status="processing", status_since=at(10), polled_at=at(60), polls=1)
    waits = []
    for _ in range(6):
        after = told(job, NoStatus(reason="HTTP 502"), 100)
        assert after.next_poll_at is not None
        waits.append((after.next_poll_at - at(100)).total_seconds())
        same = {"polls": job.polls, "poll_errors": job.poll_errors, "next_poll_at": None}
        assert replace(after, **same) == replace(job, next_poll_at=None)  # type: ignore[arg-type]
        assert news(job, after) is None
        job = after
    assert [30, 60, 120, 240, 300, 300] == waits
    assert (7, 6) == (job.polls, job.poll_errors)
    assert 0 == told(job, JobStatus(status="processing"), 900).poll_errors


@pytest.mark.parametrize(
    ("hint", "seconds"),
    [
        *((30.0, 30.0), (1.0, 5.0), (5.0, 5.0), (1e9, 900.0), (float("inf"), 900.0)),
        *((None, 30.0), (0.0, 30.0), (-5.0, 30.0), (float("nan"), 30.0)),
    ],
)
def test_the_hint_of_each_answer_is_taken_within_bounds(hint: float | None, seconds: float) -> None:
    """The next question comes after the last hint, between 5 s and 15 min; 30 s without one."""
    after = told(JOB, JobStatus(status="processing", again_after=hint), 60)
    assert seconds == wait(after)
    anew = told(after, JobStatus(status="processing", again_after=7.0), 100)
    assert 7.0 == wait(anew)


@pytest.mark.parametrize(
    ("age", "seconds"), [(0, 30), (120, 30), (200, 50), (1200, 300), (9000, 300)]
)
def test_without_a_hint_the_wait_grows_to_five_minutes(age: float, seconds: float) -> None:
    """Without a hint a job is asked about after a quarter of the time that it has been so."""
    job = replace(JOB, status="processing", status_since=at(100))
    assert seconds == wait(told(job, JobStatus(status="processing"), 100 + age))


def test_the_waits_are_spread_by_ten_per_cent() -> None:
    """Dice make each wait ten per cent shorter to ten per cent longer."""
    said = JobStatus(status="processing", again_after=100.0)
    assert [90.0, 100.0, 110.0] == [wait(told(JOB, said, 60, dice=d)) for d in (0.0, 0.5, 1.0)]


def test_no_job_is_expected_before_the_median() -> None:
    """A job that is younger than own jobs grow is asked about at that age, 15 min on at most."""
    known, said = Asking(job_seconds=600.0), JobStatus(status="processing", again_after=30.0)
    assert [540.0, 30.0] == [wait(told(JOB, said, age, known)) for age in (60, 600)]
    assert 900.0 == wait(told(JOB, said, 60, Asking(job_seconds=7200.0)))


def test_a_list_answers_for_what_is_due_or_new() -> None:
    """A list's word on a job that is not due changes nothing, unless it is news."""
    job = replace(JOB, status="processing", status_since=at(10), next_poll_at=at(500))
    assert job is told(job, JobStatus(status="processing", listed=True), 100)
    assert "queued" == told(job, JobStatus(status="queued", listed=True), 100).status
    due = told(job, JobStatus(status="processing", listed=True), 500)
    assert 122.5 == wait(due)
    backlog = replace(job, next_poll_at=None)
    assert told(backlog, JobStatus(status="processing", listed=True), 500).next_poll_at is not None
    assert "finished" == told(job, JobStatus(status="finished", listed=True), 100).ended_as


def test_an_error_of_a_list_is_asked_about_once_more() -> None:
    """A list shows an error without details, so the job is due at once, before all others; the
    answer ends it. If there is none, the list's next word does.
    """
    listed = JobStatus(status="error", listed=True)
    job = replace(JOB, poll_errors=3, next_poll_at=at(500), transfer_status="downloading")
    seen = told(job, listed, 100)
    assert (None, "error", BEFORE_ALL, 0) == (
        seen.ended_as,
        seen.status,
        seen.next_poll_at,
        seen.poll_errors,
    )
    assert news(job, seen) is None
    assert seen is told(seen, listed, 130)
    full = told(seen, JobStatus(status="error", transfer_status="error", details="HTTP 403"), 110)
    assert ("error", "error", "HTTP 403") == (full.ended_as, full.transfer_status, full.details)
    assert at(100) == full.ended_at
    assert "error" == told(told(seen, NoStatus(reason="HTTP 500"), 110), listed, 140).ended_as
    unknown = told(seen, NoStatus(reason="HTTP 404", missing=True), 110)
    assert "error" == told(unknown, listed, 140).ended_as
    other = told(seen, JobStatus(status="processing"), 110)
    assert (None, "processing") == (other.ended_as, other.status)
    assert "downloading" == other.transfer_status


def test_an_error_of_the_backlog_keeps_its_turn_and_is_not_overdue() -> None:
    """An error is over, though its details are not known; an unplanned job stays unplanned."""
    known, listed = Asking(job_seconds_most=60.0), JobStatus(status="error", listed=True)
    late = replace(JOB, overdue_since=at(4000))
    assert (None, None) == (
        told(late, listed, 5000, known).overdue_since,
        told(late, listed, 5000, known).next_poll_at,
    )
    seen = told(replace(late, next_poll_at=at(4500)), listed, 5000, known)
    assert (None, BEFORE_ALL) == (seen.overdue_since, seen.next_poll_at)
    failed = told(seen, NoStatus(reason="HTTP 500"), 5000, known)
    assert (None, at(5030)) == (failed.overdue_since, failed.next_poll_at)


def test_a_404_is_no_end() -> None:
    """A job that the API does not know is followed on; the first 404 is noted."""
    missing = NoStatus(reason="HTTP 404: Job not found", missing=True)
    first = told(JOB, missing, 100)
    again = told(first, missing, 100 + 7200)
    assert (at(100), None) == (again.missing_since, again.ended_as)
    assert (30.0, 300.0) == (wait(first), wait(again))
    assert news(JOB, again) is None
    assert told(again, JobStatus(status="queued"), 7400).missing_since is None
    shown = replace(again, status="queued", next_poll_at=at(7500))
    assert told(shown, JobStatus(status="queued", listed=True), 7400).missing_since is None


@pytest.mark.parametrize(
    ("missing", "again", "around", "end"),
    [
        pytest.param(100, 3700, (-1, 1), "gone", id="404 an hour later, its neighbours are there"),
        pytest.param(100, 3699, (-1, 1), None, id="not an hour yet"),
        pytest.param(100, 100, (-1, 1), None, id="one 404, however long ago"),
        pytest.param(None, 3700, (-1, 1), None, id="no 404 yet"),
        pytest.param(100, 3700, (0, 1), None, id="nothing from before it"),
        pytest.param(100, 3700, (-1, 0), None, id="nothing from after it"),
    ],
)
def test_gone_is_what_a_list_proves(
    missing: float | None, again: float, around: tuple[float, float], end: str | None
) -> None:
    """A job is gone that is 404 an hour after its first 404, if a list shows its neighbours and
    not it.
    """
    since = None if missing is None else at(missing)
    job = replace(JOB, missing_since=since, polled_at=at(again))
    after = buried(job, (at(around[0]), at(around[1])), at(9000))
    assert (end, at(9000) if end else None) == (after.ended_as, after.ended_at)
    assert ((Fact.JOB_GONE, None) if end else None) == news(job, after)
    assert end or after is job


@pytest.mark.parametrize(
    ("most", "age", "overdue"),
    [
        *((None, 86_400, False), (None, 86_401, True)),
        *((60.0, 3600, False), (60.0, 3601, True), (1200.0, 6000, False), (1200.0, 6001, True)),
    ],
)
@pytest.mark.parametrize("said", [JobStatus(status="queued"), NoStatus(reason="", missing=True)])
def test_what_stays_too_long_needs_a_person_and_is_asked_about_hourly(
    most: float | None,
    age: float,
    overdue: bool,  # noqa: FBT001
    said: JobStatus | NoStatus,
) -> None:
    """A job is overdue beyond five times the 95th percentile, an hour at least; it is no end."""
    known = Asking(job_seconds_most=most)
    after = told(replace(JOB, status="queued", status_since=at(0)), said, age, known)
    assert (at(age) if overdue else None) == after.overdue_since
    assert (max(3600.0, round(age / 24, 3)) if overdue else wait(after)) == wait(after)
    assert after.ended_as is None
    later = told(after, said, age + 3600, Asking(job_seconds_most=1e6))
    assert later.overdue_since is None
    assert told(after, JobStatus(status="finished"), age + 3600, known).overdue_since is None


@pytest.mark.parametrize(
    ("age", "seconds"), [(3600, 30), (3601, 3600), (172_800, 7200), (9e6, 86_400)]
)
@pytest.mark.parametrize(
    "said",
    [
        *(JobStatus(status="queued", again_after=30), NoStatus(reason="HTTP 500")),
        NoStatus(reason="HTTP 404", missing=True),
    ],
)
def test_the_wait_of_an_overdue_job_grows_to_a_day(
    age: float, seconds: float, said: JobStatus | NoStatus
) -> None:
    """An overdue job is asked about each hour, then each day, whatever the answers are; that it is
    so is known without any.
    """
    after = told(JOB, said, age, Asking(job_seconds_most=60.0))
    assert after.next_poll_at is not None
    assert seconds == (after.next_poll_at - at(age)).total_seconds()
    assert (seconds > 30) is (after.overdue_since is not None)


def finished(took: float, polls: int = 2, planned: float = 60) -> FollowedJob:
    """Return a job that ended after so many seconds, and was to be asked about at ``planned``."""
    return replace(
        JOB, polls=polls, next_poll_at=at(planned), ended_at=at(took), ended_as="finished"
    )


def test_the_times_are_learnt_from_own_jobs() -> None:
    """The first look comes at the median, and the 95th percentile says what is overdue."""
    assert (50.0, 95.0) == typical([finished(n) for n in range(1, 101)])
    assert (100.0, 100.0) == typical([finished(100)])
    assert (5.0, 2.0) == typical([finished(2)])
    assert typical([]) is None


def test_what_was_seen_late_is_not_learnt_from() -> None:
    """An end that is seen long after its question was planned says nothing, as of a backlog."""
    assert typical([finished(86_400)]) is None
    assert typical([replace(finished(86_400), next_poll_at=None)]) is None
    assert (1200.0, 1200.0) == typical([finished(1200, planned=600)])
    assert (900.0, 900.0) == typical([replace(finished(900), next_poll_at=BEFORE_ALL)])


def test_the_first_look_comes_sooner_if_it_finds_an_end() -> None:
    """A job that had ended at the first look took less, so that the median can fall."""
    assert (540.0, 540.0) == typical([finished(600, polls=1, planned=600)])


LISTED = at(1000)
"""When the last list was asked for."""


@pytest.mark.parametrize(
    ("due", "known", "open_jobs", "now", "expected"),
    [
        pytest.param([0, 0], {}, 2, 1030, "list", id="never listed"),
        pytest.param([0], {}, 9, 1030, "job", id="one due job is asked about"),
        pytest.param([1001, 0], {"at": LISTED, "shows": 1}, 2, 1030, "list", id="half a minute on"),
        pytest.param([0, 0], {"at": LISTED, "shows": 1}, 2, 1030, "job", id="was left due by it"),
        pytest.param([None, 0], {"at": LISTED, "shows": 0}, 2, 9e9, "job", id="so was a backlog"),
        pytest.param([1001, 1001], {"at": LISTED, "shows": 1}, 2, 1029, 1030, id="will be shown"),
        pytest.param([1001], {"at": LISTED, "shows": 1}, 9, 1029, 1030, id="one waits as well"),
        pytest.param([1001], {"at": LISTED, "shows": 1}, 9, 1030, "job", id="but not for ever"),
        pytest.param([1000, 1], {"at": LISTED, "shows": 1}, 2, 1029, "job", id="was not shown"),
        pytest.param([None, None], {"at": LISTED, "shows": 1}, 2, 1029, "job", id="backlog"),
        pytest.param([1001, 1001], {"at": LISTED}, 2, 1029, "job", id="unknown if it shows any"),
        pytest.param([1001, 1001], {"at": LISTED}, 2, 1030, "list", id="so it is asked for again"),
        pytest.param([1001, 1001], {"at": LISTED, "shows": 0}, 2, 1030, "job", id="shows none"),
        pytest.param([1001, 1], {"at": LISTED, "shows": 0}, 2, 4600, "list", id="tried each hour"),
        pytest.param([1001, 1], {"at": LISTED, "shows": 1}, 5000, 1099, 1100, id="many jobs"),
        pytest.param([1001, 1], {"at": LISTED, "shows": 1}, 10**6, 1299, 1300, id="very many"),
        pytest.param([1001, 1], {"at": LISTED, "shows": 1}, 10**6, 1300, "list", id="5 minutes"),
        pytest.param([1001, 1], {"at": at(9e9), "shows": 1}, 2, 1001, "list", id="clock was set"),
    ],
)
def test_the_list_comes_first_where_it_answers_for_several(
    due: list[float | None], known: dict[str, object], open_jobs: int, now: float, expected: object
) -> None:
    """One list answers for all that are due; a job alone, or one that no list shows, by itself."""
    jobs = [replace(JOB, next_poll_at=None if n is None else at(n)) for n in due]
    asking = Asking(
        jobs_listed_at=known.get("at"),  # type: ignore[arg-type]
        list_shows_status=known.get("shows"),  # type: ignore[arg-type]
    )
    found = question(jobs, asking, open_jobs, at(now), spacing=BRIEF, unproven=False)
    wanted = {"list": None, "job": jobs[0]}.get(str(expected), expected)
    assert (at(wanted) if isinstance(wanted, int) else wanted) == found


@pytest.mark.parametrize("shows", [None, 0, 1])
def test_a_list_is_never_asked_for_twice_in_a_row(shows: int | None) -> None:
    """Where questions are as rare as lists, each second one is about a job that the list has left
    due: it would never end otherwise, where the list is refused or shows only the newest jobs.
    """
    listed = Asking(jobs_listed_at=at(1000), next_question_at=at(1030), list_shows_status=shows)
    asked = replace(listed, next_question_at=at(4630))
    due, spacing = [replace(JOB, next_poll_at=at(0)), JOB], timedelta(seconds=30)
    for known, second, expected in (
        (listed, 9000, due[0]),
        (asked, 1059, due[0]),
        (asked, 9000, None),
    ):
        assert expected == question(due, known, 2, at(second), spacing=spacing, unproven=False)


ERROR = replace(JOB, status="error", next_poll_at=BEFORE_ALL)


@pytest.mark.parametrize(
    "first", [ERROR, replace(ERROR, next_poll_at=None), replace(ERROR, status="queued")]
)
@pytest.mark.parametrize(
    ("last_question", "now", "job"),
    [
        pytest.param(1000, 1001, True, id="after the list"),
        pytest.param(1000, 9000, True, id="the list was the last question, of a drain"),
        pytest.param(8700, 9000, False, id="so they take turns"),
        pytest.param(1031, 1059, True, id="many errors"),
        pytest.param(1059, 1060, False, id="but not for ever"),
    ],
)
def test_what_is_due_before_all_comes_before_the_list(
    first: FollowedJob,
    last_question: float,
    now: float,
    job: bool,  # noqa: FBT001
) -> None:
    """A shown error and a job that was called for are asked about before the next list, which is
    put off once at most, or for one question where questions are rare.
    """
    asking = replace(KNOWN, jobs_listed_at=LISTED, list_shows_status=1)
    known = replace(asking, next_question_at=at(last_question) + BRIEF)
    due = [first, JOB]
    found = question(due, known, 2, at(now), spacing=BRIEF, unproven=False)
    assert (first if job else None) is found
    unknown = replace(known, jobs_listed_at=None)
    assert question(due, unknown, 2, at(now), spacing=BRIEF, unproven=False) is None


TIMES = (None, 0, 1000, 1029, 1030, 1031, 1060)


@pytest.mark.parametrize("status", [None, "queued", "error"])
@pytest.mark.parametrize("spacing", [0.2, 1.0, 30.0])
def test_a_look_that_is_put_off_lies_ahead(status: str | None, spacing: float) -> None:
    """A follower whose next look were past would look on at once for ever, and ask nothing."""
    moments = [None if seconds is None else at(seconds) for seconds in TIMES]
    step, put_off = timedelta(seconds=spacing), 0
    for listed_at, asked_at, due_at in product(moments, moments, [BEFORE_ALL, *moments]):
        for shows in (None, 0, 1):
            known = Asking(
                next_question_at=asked_at and asked_at + step,
                jobs_listed_at=listed_at,
                list_shows_status=shows,
            )
            due = [replace(JOB, status=status, next_poll_at=due_at), JOB]
            found = question(due, known, 2, at(1060), spacing=step, unproven=False)
            put_off += isinstance(found, datetime)
            assert not isinstance(found, datetime) or found > at(1060)
    assert put_off


@pytest.mark.parametrize(("now", "expected"), [(1040, at(1060)), (1060, None)])
def test_an_error_without_details_waits_for_the_next_list(
    now: float, expected: datetime | None
) -> None:
    """One whose question failed: the list's next word is enough."""
    failed = replace(JOB, status="error", poll_errors=1, next_poll_at=at(1035))
    known = Asking(jobs_listed_at=at(1030), next_question_at=at(1031), list_shows_status=1)
    assert expected == question([failed, JOB], known, 2, at(now), spacing=BRIEF, unproven=False)


def test_a_list_is_asked_for_to_prove_a_job_gone() -> None:
    """A job that is missing for an hour makes a list worth its question, at the time for one."""
    known = Asking(jobs_listed_at=LISTED, next_question_at=at(9e3), list_shows_status=0)
    assert JOB == question([JOB], known, 1, at(1030), spacing=BRIEF, unproven=True)
    assert None is question([JOB], known, 1, at(4600), spacing=BRIEF, unproven=True)
