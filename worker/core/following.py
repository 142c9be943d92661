"""Decide what the API's word makes of a job, and when it is asked again (law 15). Times are UTC."""

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
"""The statuses that are documented as ends (worker/api/README.md, section 4)."""

SHORTEST_HINT, LONGEST_HINT = 5.0, 900.0
SHORTEST_WAIT, LONGEST_WAIT = 30.0, 300.0
"""Seconds between questions about a job; the second where the API gives no hint."""

GONE_AFTER = timedelta(hours=1)
"""Between the first 404 and a list that proves a job gone."""

OVERDUE_SECONDS, OVERDUE_TIMES, OVERDUE_UNKNOWN_SECONDS = 3600.0, 5, 86_400.0
"""The least age of an overdue job, in 95th percentiles too; its age while none has ended."""

STARTS_A_QUESTION, LONGEST_SPACING = 5, timedelta(seconds=30)

SOONEST_LIST, RAREST_LIST, JOBS_A_SECOND = 30.0, 300.0, 50
"""Seconds between two lists: one for so many open jobs."""


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
    """The API's word on a job; of a ``listed`` one the status alone. ``again_after``: its hint in
    seconds.
    """

    status: str
    transfer_status: str | None = None
    details: str | None = None
    again_after: float | None = None
    listed: bool = False


@value
class JobMissing:
    """The API does not know the job (404)."""

    reason: str


@value
class JobUnknown:
    """No word about the job. ``retry_after``: seconds that the API asked to wait. ``refused``: it
    turned the key or the address away.
    """

    reason: str
    retry_after: float | None = None
    refused: bool = False


JobAnswer = JobStatus | JobMissing | JobUnknown


@value
class JobTimes:
    """The seconds that own jobs take: median and 95th percentile, None while none has ended."""

    median: float = 60.0
    most: float | None = None


def heard(
    job: FollowedJob, answer: JobAnswer, now: datetime, dice: float, times: JobTimes
) -> FollowedJob:
    """Return an open job after an answer; the same one if that changes nothing."""
    # 1. No word says nothing about the job. 2. A 404 alone is no end. 3. A list's word on a job
    # that is not due brings nothing new. 4. A list's error is asked about once more, for its
    # details; if that failed, the list's next word is enough. 5. An end. 6. Anything else.
    if isinstance(answer, JobUnknown):
        again = _later(now, _wait(SHORTEST_WAIT * 2.0 ** min(job.poll_errors, 9)), dice)
        errors = job.poll_errors + 1
        return replace(job, polls=job.polls + 1, poll_errors=errors, next_poll_at=again)
    age = (now - job.accepted_at).total_seconds()
    late_since = (job.overdue_since or now) if age > overdue_after(times) else None
    known = replace(job, polled_at=now, polls=job.polls + 1, overdue_since=late_since)
    if isinstance(answer, JobMissing):
        since = job.missing_since or now
        return _scheduled(replace(known, missing_since=since), None, since, dice, times)
    is_new = answer.status != job.status
    if answer.listed and not is_new and job.next_poll_at is not None and job.next_poll_at > now:
        return job
    since = now if is_new else job.status_since or now
    known = replace(known, status=answer.status, status_since=since, missing_since=None)
    if not answer.listed:
        told = answer.transfer_status or job.transfer_status
        known = replace(known, transfer_status=told, details=answer.details)
    elif answer.status == JobEnd.ERROR and (is_new or not (job.poll_errors or job.missing_since)):
        return replace(known, poll_errors=0, next_poll_at=job.accepted_at)
    if answer.status in ENDS:
        return ended(known, ENDS[answer.status], now)
    return _scheduled(replace(known, poll_errors=0), answer.again_after, since, dice, times)


def ended(job: FollowedJob, end: JobEnd, now: datetime) -> FollowedJob:
    """Return the job at its end."""
    return replace(job, ended_at=now, ended_as=end, missing_since=None, overdue_since=None)


def is_gone(job: FollowedJob, asked_at: datetime, around: tuple[datetime, datetime]) -> bool:
    """Return True if a whole list that does not show the job, but others accepted at ``around``,
    proves that the API has it no more.
    """
    was_missing = job.missing_since is not None and asked_at >= job.missing_since + GONE_AFTER
    return was_missing and around[0] < job.accepted_at < around[1]


def overdue_after(times: JobTimes) -> float:
    """Return the age in seconds from which a job without an end needs a person."""
    if times.most is None:
        return OVERDUE_UNKNOWN_SECONDS
    return max(OVERDUE_SECONDS, OVERDUE_TIMES * times.most)


def _scheduled(
    job: FollowedJob, hint: float | None, since: datetime, dice: float, times: JobTimes
) -> FollowedJob:
    """Return the job with the time of its next question: by the hint, or a quarter of the time
    since ``since``. No job is expected to end before the median.
    """
    now = job.polled_at or job.accepted_at
    seconds = _wait((now - since).total_seconds() / 4)
    if hint is not None and hint > 0:
        seconds = min(LONGEST_HINT, max(SHORTEST_HINT, hint))
    left = times.median - (now - job.accepted_at).total_seconds()
    seconds = max(seconds, min(LONGEST_HINT, left))
    if job.overdue_since is not None:
        seconds = OVERDUE_SECONDS
    return replace(job, next_poll_at=_later(now, seconds, dice))


def _wait(seconds: float) -> float:
    return min(LONGEST_WAIT, max(SHORTEST_WAIT, seconds))


def _later(now: datetime, seconds: float, dice: float) -> datetime:
    return now + timedelta(seconds=seconds * (0.9 + 0.2 * dice))


def news(before: FollowedJob, after: FollowedJob) -> tuple[Fact, str | None] | None:
    """Return the fact that an answer has brought, with its message; None without a change."""
    if after.ended_as is not None:
        return Fact(f"job_{after.ended_as}"), after.details
    if after.status in {None, before.status, *ENDS}:
        return None
    return Fact.JOB_STATUS, after.status


def typical(finished: Sequence[FollowedJob]) -> JobTimes | None:
    """Return the times that jobs took; None if none was asked about in time."""
    took = sorted(filter(None, map(_took, finished)))
    if not took:
        return None
    median, most = took[(len(took) - 1) // 2], took[-1 - len(took) // 20]
    return JobTimes(median=max(SHORTEST_HINT, median), most=most)


def _took(job: FollowedJob) -> float | None:
    """Return the seconds that a job took; None where its end was seen so late, as after a time
    without a worker, that this says little. One that had ended at the first look took less, so
    that the looks after it come sooner.
    """
    if job.ended_at is None or job.next_poll_at is None:
        return None
    took = (job.ended_at - job.accepted_at).total_seconds()
    planned = (job.next_poll_at - job.accepted_at).total_seconds()
    if took > 2 * max(planned, JobTimes().median):
        return None
    return round(took * 0.9 if job.polls <= 1 else took, 3)


def question_spacing(between_starts: timedelta) -> timedelta:
    """Return the least time between two questions, of all processes together."""
    return min(LONGEST_SPACING, STARTS_A_QUESTION * between_starts)


def next_list_at(
    listed_at: datetime | None, open_jobs: int, now: datetime, *, shows_status: bool
) -> datetime:
    """Return when the next list may be asked for jobs: the more of them are open, the rarer. One
    that shows no status is tried as rarely as an overdue job.
    """
    seconds = min(RAREST_LIST, max(SOONEST_LIST, open_jobs / JOBS_A_SECOND))
    if listed_at is None or listed_at > now:  # the clock was set
        return now
    return listed_at + timedelta(seconds=seconds if shows_status else OVERDUE_SECONDS)
