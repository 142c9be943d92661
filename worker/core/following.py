"""Decide what the API's word makes of a job, and when it is asked again (law 15). Times are UTC."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from worker.core.model import Fact, value

ENDS = ("finished", "error")
"""The statuses that are documented as ends (worker/api/README.md, section 4)."""

BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)
"""When a planned job is due whose end was called or shown: before all others, and asked itself."""

GONE, GONE_AFTER = "gone", timedelta(hours=1)
"""The end of a job that the API knows no more, and the least time from its first 404 to another."""

SHORTEST_HINT, LONGEST_HINT = 5.0, 900.0
SHORTEST_WAIT, LONGEST_WAIT = 30.0, 300.0
"""Seconds between questions about a job, where the API gives no hint, and between two lists."""

JOBS_A_SECOND = 50
"""Open jobs for each second between two lists."""

LISTS_LEFT_OUT = 2
"""Times between two lists, after which one comes before jobs that are due before all others."""

OVERDUE_SECONDS, OVERDUE_TIMES, OVERDUE_UNKNOWN_SECONDS = 3600.0, 5, 86_400.0
"""Least age of an overdue job, in 95th percentiles too; its age until own jobs have ended."""

OVERDUE_PART, LONGEST_OVERDUE_WAIT = 24, 86_400.0
"""An overdue job waits for such a part of its age: an hour at least, so many seconds at most."""

FARTHEST = timedelta(seconds=2 * LONGEST_OVERDUE_WAIT)
"""No question is planned so far ahead but by a clock that was set back since; none about a job in
time so far as ``Asking.farthest``.
"""


@value
class FollowedJob:
    """A row of ``jobs``, as following reads and writes it."""

    job_id: str
    video_id: int
    attempt: int
    accepted_at: datetime
    status: str | None = None
    status_since: datetime | None = None
    transfer_status: str | None = None
    details: str | None = None
    polled_at: datetime | None = None
    next_poll_at: datetime | None = None
    polls: int = 0
    poll_errors: int = 0
    missing_since: datetime | None = None
    overdue_since: datetime | None = None
    ended_at: datetime | None = None
    ended_as: str | None = None


@value
class JobStatus:
    """The API's word on a job. ``again_after``: its hint in seconds; ``listed``: by a list."""

    status: str
    transfer_status: str | None = None
    details: str | None = None
    again_after: float | None = None
    listed: bool = False


@value
class NoStatus:
    """An answer without a status. ``retry_after``: seconds that the API asked to wait; ``missing``:
    it does not know the job (404); ``refused``: ACCOUNT_REFUSED or WRONG_ADDRESS, if it was that.
    """

    reason: str
    retry_after: float | None = None
    missing: bool = False
    refused: Fact | None = None


@value
class Asking:
    """The account on questions about jobs: ``list_shows_status`` is None if no list has shown an
    own job; ``job_seconds`` that own jobs take are the median and the 95th percentile.
    """

    next_question_at: datetime | None = None
    jobs_listed_at: datetime | None = None
    list_shows_status: int | None = None
    job_seconds: float = 60.0
    job_seconds_most: float | None = None

    @property
    def farthest(self) -> timedelta:
        """Return how far ahead no question about a job in time is planned."""
        return timedelta(seconds=2 * max(LONGEST_HINT, self.job_seconds))

    @property
    def overdue_seconds(self) -> float:
        """Return the age from which a job needs a person."""
        most = self.job_seconds_most
        return max(OVERDUE_SECONDS, OVERDUE_TIMES * most) if most else OVERDUE_UNKNOWN_SECONDS


def heard(
    job: FollowedJob, said: JobStatus | NoStatus, now: datetime, dice: float, known: Asking
) -> FollowedJob:
    """Return an open job after an answer; the same one if that changes nothing."""
    # 1. No status says nothing about the job. 2. A 404 alone is no end. 3. A list says nothing new
    # of a job that is not due, unless it was missing. 4. A list's error is asked about once more,
    # for its details; if that failed, the list's next word is enough. 5. An end, since it was shown
    # first, so that a host is judged by what one list has shown at once. 6. Anything else is
    # followed on.
    age = (now - job.accepted_at).total_seconds()
    is_late = age > known.overdue_seconds and job.status != "error"  # which is over
    late = (job.overdue_since or now) if is_late else None
    if isinstance(said, NoStatus) and not said.missing:
        seconds = SHORTEST_WAIT * 2.0 ** min(job.poll_errors, 9)
        seconds = _overdue_wait(age) if late else min(LONGEST_WAIT, seconds)
        asked = replace(job, polls=job.polls + 1, poll_errors=job.poll_errors + 1)
        return replace(asked, overdue_since=late, next_poll_at=_later(now, seconds, dice))
    after = replace(job, polled_at=now, polls=job.polls + 1, overdue_since=late)
    if isinstance(said, NoStatus):
        since = job.missing_since or now
        return _scheduled(replace(after, missing_since=since), None, since, now, dice, known)
    is_new = said.status != job.status
    is_told = job.missing_since is None and not is_new
    if said.listed and is_told and job.next_poll_at is not None and job.next_poll_at > now:
        return job
    since = now if is_new else job.status_since or now
    after = replace(after, status=said.status, status_since=since, missing_since=None)
    if not said.listed:
        transfer = said.transfer_status or job.transfer_status
        after = replace(after, transfer_status=transfer, details=said.details)
    elif said.status == "error" and (is_new or not (job.poll_errors or job.missing_since)):
        soon = job.next_poll_at and BEFORE_ALL  # an unplanned one keeps its turn
        shown = replace(after, poll_errors=0, overdue_since=None, next_poll_at=soon)
        return shown if is_new else job
    if said.status in ENDS:
        return replace(after, overdue_since=None, ended_at=since, ended_as=said.status)
    return _scheduled(replace(after, poll_errors=0), said.again_after, since, now, dice, known)


def _scheduled(
    job: FollowedJob, hint: float | None, since: datetime, now: datetime, dice: float, known: Asking
) -> FollowedJob:
    """Return the job with the time of its next question: by the hint, or after a quarter of the
    time that it has been so. No job is expected to end before the median.
    """
    seconds = min(LONGEST_WAIT, max(SHORTEST_WAIT, (now - since).total_seconds() / 4))
    if hint is not None and hint > 0:
        seconds = min(LONGEST_HINT, max(SHORTEST_HINT, hint))
    age = (now - job.accepted_at).total_seconds()
    young = max(seconds, min(LONGEST_HINT, known.job_seconds - age))
    seconds = young if job.overdue_since is None else _overdue_wait(age)
    return replace(job, next_poll_at=_later(now, seconds, dice))


def _overdue_wait(age: float) -> float:
    return min(LONGEST_OVERDUE_WAIT, max(OVERDUE_SECONDS, age / OVERDUE_PART))


def _later(now: datetime, seconds: float, dice: float) -> datetime:
    return now + timedelta(seconds=seconds * (0.9 + 0.2 * dice))


def buried(job: FollowedJob, around: tuple[datetime, datetime], now: datetime) -> FollowedJob:
    """Return a job that a whole list does not show, though others that were accepted at ``around``:
    gone if it was 404 once more an hour after its first 404, else the same.
    """
    first, last = job.missing_since, job.polled_at
    was_missing = first is not None and last is not None and last >= first + GONE_AFTER
    is_gone = was_missing and around[0] < job.accepted_at < around[1]
    return replace(job, overdue_since=None, ended_at=now, ended_as=GONE) if is_gone else job


def news(before: FollowedJob, after: FollowedJob) -> tuple[Fact, str | None] | None:
    """Return the fact that an answer has brought, with its message; None without a change."""
    if after.ended_as is not None:
        return Fact(f"job_{after.ended_as}"), after.details
    is_new = after.status not in {None, before.status, *ENDS}
    return (Fact.JOB_STATUS, after.status) if is_new else None


def typical(finished: Iterable[FollowedJob]) -> tuple[float, float] | None:
    """Return the median and the 95th percentile of the seconds that jobs took; None without any. A
    job whose end was seen far too late says little, but one whose end was called was seen in time;
    one that had ended at the first look took less.
    """
    took = []
    for job in finished:
        at, planned = job.ended_at or job.accepted_at, job.next_poll_at or job.accepted_at
        seconds = (at - job.accepted_at).total_seconds()
        if planned == BEFORE_ALL or seconds <= 2 * max(
            (planned - job.accepted_at).total_seconds(), Asking().job_seconds
        ):
            took.append(seconds * 0.9 if job.polls <= 1 else seconds)
    took.sort()
    median, most = (took[(len(took) - 1) // 2], took[-1 - len(took) // 20]) if took else (0.0, 0.0)
    return (max(SHORTEST_HINT, median), most) if took else None


def question(
    due: Sequence[FollowedJob],
    known: Asking,
    open_jobs: int,
    now: datetime,
    *,
    spacing: timedelta,
    unproven: bool,
) -> FollowedJob | datetime | None:
    """Return the due job to ask about, None for the list, or when to look again. ``spacing``: from
    one question to the next; ``unproven``: a list may prove a job gone.
    """
    # 1. The list, if it is time for it and it answers for several jobs; one that shows no status is
    # tried as rarely as an overdue job. What it has left due is asked about before the next one;
    # where questions are rarer than lists could be, as of drains, they take turns. A shown error,
    # and a job that was called for, may put it off once more. 2. The next list will answer for this
    # job, which was not due at the last one. 3. The job.
    seconds = min(LONGEST_WAIT, max(SHORTEST_WAIT, open_jobs / JOBS_A_SECOND))
    seconds = OVERDUE_SECONDS if known.list_shows_status == 0 else seconds
    wait = max(timedelta(seconds=seconds), 2 * spacing)
    listed_at, due_at = known.jobs_listed_at, due[0].next_poll_at
    patience = wait
    if listed_at is not None and (due_at is None or due_at <= listed_at):
        is_turn = known.next_question_at is None or known.next_question_at <= listed_at + wait
        is_shown = due_at == BEFORE_ALL or due[0].status == "error"
        patience = timedelta.max if is_turn else wait * (LISTS_LEFT_OUT if is_shown else 1)
    if listed_at is None or not timedelta() <= now - listed_at < patience:  # or the clock was set
        return None if len(due) > 1 or unproven else due[0]
    waits = known.list_shows_status and due_at is not None and due_at > listed_at
    return listed_at + wait if waits else due[0]
