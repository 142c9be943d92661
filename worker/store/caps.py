"""Count the attempts that fill a cap, and find when it has room again. Moments are UTC.

An attempt counts while it is submitting, once it was accepted, and once it is in doubt, until a
proof that it made no job. Imported and adopted jobs are no attempts.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, exists, func, select, text, union_all

from worker.core.model import Cap, State
from worker.db.column_types import LAST, Unreadable
from worker.db.schema import account, history, is_of_video, is_open, is_submitting, jobs, videos
from worker.store.history import IS_DOUBT, IS_OPEN_DOUBT
from worker.store.statistics import count_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The attempts that count against a cap.

    Attributes:
        settled: Accepted or in doubt; of a cap of jobs, those that have not ended.
        submitting: Claimed, and reserved until their outcome.
        doubted: Of a cap of jobs, the doubts among the settled, which no end of a job frees.
        opens_at: When time makes room in a full cap (UTC); None if only an outcome or a person can.
    """

    cap: Cap
    settled: int
    submitting: int
    opens_at: datetime | None
    doubted: int = 0

    @property
    def used(self) -> int:
        """Return how many attempts count."""
        return self.settled + self.submitting

    @property
    def room(self) -> int:
        """Return how many more attempts may be claimed."""
        return max(0, self.cap.most - self.used)

    @property
    def jobs_end(self) -> bool:
        """Return True if jobs fill the cap, at least a part of it, and make room as they end."""
        return self.cap.of_jobs and self.used > self.doubted

    @property
    def told(self) -> str:
        """Return the sentence about a full cap: the setting, its value and the way out."""
        reached = f"{self.cap.name} = {self.cap.most} is reached"
        if self.cap.of_jobs and not self.jobs_end:
            return f"{reached}, by {self.doubted} in doubt: settle them, or raise it to go on"
        if self.cap.of_jobs:
            return f"{reached}: it goes on as jobs end; raise or unset it to go on at once"
        if self.opens_at is None:
            return f"{reached}: raise or unset it to go on"
        return f"{reached} until {self.opens_at:%Y-%m-%d %H:%M:%S} UTC: wait, or raise it"


def level(connection: Connection, cap: Cap, now: datetime) -> Level:
    """Return how full the cap is. Attempts later than ``now``, by a clock ahead, count as well."""
    lately = () if cap.window is None else (history.c.at > now - cap.window,)
    wanted = _in_progress(cap.most) if cap.of_jobs else _numbers(*lately)
    settled, submitting, *rest = connection.execute(wanted).one()
    doubted = sum(rest)
    opens_at = None
    if cap.window is not None and settled + submitting >= cap.most:
        moments = union_all(*_settled(*lately)).order_by("at").limit(1)
        last: datetime | None = connection.scalar(moments.offset(settled + submitting - cap.most))
        if last is not None and not isinstance(last, Unreadable):
            opens_at = min(last, LAST) + cap.window
    return Level(
        cap=cap, settled=settled, submitting=submitting, opens_at=opens_at, doubted=doubted
    )


def counted(connection: Connection, *among: ColumnElement[bool]) -> int:
    """Count the attempts that fill a cap for all time, by those facts of the history."""
    return connection.execute(_numbers(*among)).one()[0]


def _numbers(*lately: ColumnElement[bool]) -> Select[int, int]:
    settled = [count_of(kind.subquery("counted")).scalar_subquery() for kind in _settled(*lately)]
    number = settled[0] + settled[1] + settled[2]
    if not lately:
        number += select(account.c.pruned_attempts).scalar_subquery()
    return select(number, count_of(videos, is_submitting).scalar_subquery())


def _in_progress(most: int) -> Select[int, int, int]:
    """Return a query for the jobs that have not ended, as far as ``most``, with the open doubts of
    videos that are worked on still; for the claims in flight; and for these doubts alone.
    """
    going = select(jobs.c.job_id).where(is_open).limit(most).subquery("going")
    of_video = history.join(videos, videos.c.id == history.c.video_id)
    worked_on = videos.c.state.in_(_WORKED_ON)
    doubted = count_of(of_video, IS_OPEN_DOUBT, worked_on).scalar_subquery()
    settled = count_of(going).scalar_subquery() + doubted
    return select(settled, count_of(videos, is_submitting).scalar_subquery(), doubted)


_WORKED_ON = (State.PENDING, State.SUBMITTING, State.IN_DOUBT)


def _settled(*lately: ColumnElement[bool]) -> tuple[Select[datetime], ...]:
    """Return queries for when attempts were accepted, doubted or found, by facts that satisfy these
    conditions.
    """
    at = history.c.at.label("at")
    accepted = select(at).where(_has_a_job, history.c.fact == text("'accepted'"), *lately)
    doubted = (
        select(func.max(history.c.at).label("at"))
        .where(IS_DOUBT, *lately, _may_be_a_job)
        .group_by(history.c.video_id, history.c.attempt)
    )
    # Few are found: for all time, an index on facts has them, without a walk over all jobs.
    among = lately or (is_of_video,)
    found = select(at).where(_has_a_job, history.c.fact == text("'found'"), *among)
    return accepted, doubted, found.where(_was_turned_away)


_has_a_job = history.c.job_id.is_not(None)
_other = history.alias("other")


def _same_attempt(*wanted: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(
        _other.c.video_id == history.c.video_id, _other.c.attempt == history.c.attempt, *wanted
    )


_is_late, _is_absent, _is_found, _is_try_later, _is_in_doubt = (
    _other.c.fact == text(f"'{fact}'")
    for fact in ("late_answer", "absent", "found", "try_later", "in_doubt")
)
_made_none = _same_attempt(_other.c.id > history.c.id, _is_absent | _is_late)
_made_one = _same_attempt(_other.c.job_id.is_not(None), _is_found | _is_late)
_may_be_a_job = ~_made_none | _made_one
"""A job that arrives after the proof of absence counts again."""
_was_turned_away = _same_attempt(_is_try_later) & ~_same_attempt(_is_in_doubt)
"""A documented 500 that made a job all the same; only the job list shows it."""
