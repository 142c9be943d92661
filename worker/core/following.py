"""Decide what the API's word makes of a job, and when the API is asked again (law 15).

Pure: a job as it stands in the table and an answer go in, the job as it is to be written comes out.
Moments are UTC.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from worker.core.model import Fact, value


class JobEnd(StrEnum):
    """The ends of a job; GONE is one that the API no longer knows."""

    FINISHED = "finished"
    ERROR = "error"
    GONE = "gone"


ENDS = {"finished": JobEnd.FINISHED, "error": JobEnd.ERROR}
"""The statuses that are ends, as they are documented (worker/api/README.md, section 4)."""

_FACTS = {
    JobEnd.FINISHED: Fact.JOB_FINISHED,
    JobEnd.ERROR: Fact.JOB_ERROR,
    JobEnd.GONE: Fact.JOB_GONE,
}

FIRST_LOOK_SECONDS = 60.0
"""Age of a job at the first question about it, until own jobs have ended."""

SHORTEST_HINT, LONGEST_HINT = 5.0, 900.0
SHORTEST_WAIT, LONGEST_WAIT = 30.0, 300.0
"""Seconds between questions about a job where the API names no time."""

GONE_AFTER = timedelta(hours=1)
"""Between the first 404 and a list that proves a job gone."""

OVERDUE_SECONDS, OVERDUE_TIMES = 3600.0, 5
OVERDUE_UNKNOWN_SECONDS = 86_400.0
"""Age of an overdue job while no own job has ended."""

SHARE = 5
"""Starts for each question."""

LONGEST_SPACING = timedelta(seconds=30)
"""Between two questions, however slow the starts are."""

SOONEST_LIST, RAREST_LIST, JOBS_A_SECOND = 30.0, 300.0, 50
"""Seconds between two lists: the more jobs are open, the rarer."""

FIRST_LOOK_SHARE = 0.9
"""A job found ended at the first look may have ended before, so the next looks come sooner."""


@value
class FollowedJob:
    """A row of ``jobs``, as following reads and writes it. ``attempt``: the one that bought it."""

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
    ended_as: JobEnd | None = None


@value
class JobStatus:
    """An answer of ``job_status``. ``again_after``: seconds, as the API hints; None without."""

    status: str
    transfer_status: str | None = None
    details: str | None = None
    again_after: float | None = None


@value
class JobListed:
    """A job as a list of jobs shows it."""

    status: str


@value
class JobMissing:
    """The API says that it does not know the job (404)."""

    reason: str


@value
class JobUnlisted:
    """A whole list, asked for at ``asked_at``, shows own jobs from before and after, but not it."""

    asked_at: datetime


@value
class JobUnknown:
    """No answer about the job. ``retry_after``: seconds that the API asked to wait. ``refused``:
    the API turned the key or the address away.
    """

    reason: str
    retry_after: float | None = None
    refused: bool = False


JobAnswer = JobStatus | JobListed | JobMissing | JobUnlisted | JobUnknown


@value
class JobTimes:
    """The time that own jobs take: the median and the 95th percentile, None until one has ended."""

    median: float = FIRST_LOOK_SECONDS
    most: float | None = None


def heard(
    job: FollowedJob, answer: JobAnswer, now: datetime, dice: float, times: JobTimes
) -> FollowedJob:
    """Return an open job after an answer; the same one if the answer changes nothing."""
    match answer:
        case JobUnknown():
            failed = replace(job, polls=job.polls + 1, poll_errors=job.poll_errors + 1)
            seconds = _bounded(SHORTEST_WAIT * 2.0 ** min(job.poll_errors, 9))
            return replace(failed, next_poll_at=_later(now, seconds, dice))
        case JobUnlisted(asked_at=asked_at):
            first_missed = job.missing_since
            is_gone = first_missed is not None and asked_at >= first_missed + GONE_AFTER
            return _ended(job, JobEnd.GONE, now) if is_gone else job
        case JobMissing():
            missing = replace(_answered(job, now, times), missing_since=job.missing_since or now)
            return _scheduled(missing, None, missing.missing_since or now, now, dice, times)
        case JobListed(status=status):
            is_due = job.next_poll_at is None or job.next_poll_at <= now
            return (
                job
                if status == job.status and not is_due
                else _listed(job, status, now, dice, times)
            )
        case JobStatus(status=status):
            told = replace(
                _stated(job, status, now, times),
                transfer_status=answer.transfer_status or job.transfer_status,
                details=answer.details,
            )
            if status in ENDS:
                return _ended(told, ENDS[status], now)
            since = told.status_since or now
            return _scheduled(told, answer.again_after, since, now, dice, times)


def _listed(
    job: FollowedJob, status: str, now: datetime, dice: float, times: JobTimes
) -> FollowedJob:
    """Return the job after a list. Its error is asked about once more, for the details; if that
    question failed, the list's next word is enough.
    """
    told = _stated(job, status, now, times)
    if ENDS.get(status) is JobEnd.ERROR:
        was_asked = job.status == status and (job.poll_errors or job.missing_since)
        return _ended(told, JobEnd.ERROR, now) if was_asked else replace(told, next_poll_at=now)
    if status in ENDS:
        return _ended(told, ENDS[status], now)
    return _scheduled(told, None, told.status_since or now, now, dice, times)


def _stated(job: FollowedJob, status: str, now: datetime, times: JobTimes) -> FollowedJob:
    since = job.status_since if status == job.status else now
    known = replace(job, status=status, status_since=since, missing_since=None)
    return _answered(known, now, times)


def _answered(job: FollowedJob, now: datetime, times: JobTimes) -> FollowedJob:
    age = (now - job.accepted_at).total_seconds()
    overdue_since = (job.overdue_since or now) if age > overdue_after(times) else None
    answered = replace(job, polled_at=now, polls=job.polls + 1, poll_errors=0)
    return replace(answered, overdue_since=overdue_since)


def _ended(job: FollowedJob, end: JobEnd, now: datetime) -> FollowedJob:
    """Return the job at its end. The time of its next question stays, for ``typical``."""
    return replace(job, ended_at=now, ended_as=end, missing_since=None, overdue_since=None)


def overdue_after(times: JobTimes) -> float:
    """Return the age in seconds from which a job without an end needs a person."""
    if times.most is None:
        return OVERDUE_UNKNOWN_SECONDS
    return max(OVERDUE_SECONDS, OVERDUE_TIMES * times.most)


def _scheduled(
    job: FollowedJob,
    hint: float | None,
    since: datetime,
    now: datetime,
    dice: float,
    times: JobTimes,
) -> FollowedJob:
    """Return the job with the time of its next question. Without a hint: a quarter of the time that
    it has been as it is. No job is expected to end before the median of own ended jobs.
    """
    seconds = _bounded((now - since).total_seconds() / 4)
    if hint is not None and hint > 0:
        seconds = min(LONGEST_HINT, max(SHORTEST_HINT, hint))
    left = times.median - (now - job.accepted_at).total_seconds()
    seconds = max(seconds, min(LONGEST_HINT, left))
    if job.overdue_since is not None:
        seconds = OVERDUE_SECONDS
    return replace(job, next_poll_at=_later(now, seconds, dice))


def _bounded(seconds: float) -> float:
    return min(LONGEST_WAIT, max(SHORTEST_WAIT, seconds))


def _later(now: datetime, seconds: float, dice: float) -> datetime:
    """Return so long after ``now``, ten per cent more or less."""
    return now + timedelta(seconds=seconds * (0.9 + 0.2 * dice))


def news(before: FollowedJob, after: FollowedJob) -> tuple[Fact, str | None] | None:
    """Return the fact that an answer has brought, with its message; None without a change."""
    if after.ended_as is not None:
        return _FACTS[after.ended_as], after.details
    if after.status in {None, before.status, *ENDS}:
        return None
    return Fact.JOB_STATUS, after.status


def typical(ended: Sequence[FollowedJob]) -> JobTimes | None:
    """Return the times of finished jobs; None if none was asked about in time."""
    took = sorted(seconds for job in ended if (seconds := _took(job)) is not None)
    if not took:
        return None
    median, most = took[(len(took) - 1) // 2], took[math.ceil(0.95 * len(took)) - 1]
    return JobTimes(median=max(SHORTEST_HINT, round(median)), most=round(most))


def _took(job: FollowedJob) -> float | None:
    """Return the seconds from the acceptance of a job to its end. None where the end was seen so
    late that this says little, as after a time without a worker.
    """
    if job.ended_at is None or job.next_poll_at is None:
        return None
    planned = max(job.next_poll_at - job.accepted_at, timedelta(seconds=FIRST_LOOK_SECONDS))
    if job.ended_at - job.next_poll_at > planned:
        return None
    took = (job.ended_at - job.accepted_at).total_seconds()
    return took * FIRST_LOOK_SHARE if job.polls <= 1 else took


def question_spacing(between_starts: timedelta) -> timedelta:
    """Return the least time between two questions, of all processes together."""
    return min(LONGEST_SPACING, SHARE * between_starts)


def list_is_due(
    now: datetime, listed_at: datetime | None, open_jobs: int, due: int, *, shows_status: bool
) -> bool:
    """Return True if a list is worth more than a question about one job. A list that shows no
    status is asked for as rarely as a job that is overdue.
    """
    seconds = min(RAREST_LIST, max(SOONEST_LIST, open_jobs / JOBS_A_SECOND))
    if not shows_status:
        seconds = OVERDUE_SECONDS
    is_old = listed_at is None or abs(now - listed_at) >= timedelta(seconds=seconds)
    return is_old and due > 1
