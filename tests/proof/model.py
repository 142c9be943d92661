"""The API of the model test: a book of the jobs that it made, its answers, and its lists.

Whatever it says, the book tells what it did. An exchange that is over makes no job any more, and a
list hides no job among its neighbours: what a server does beyond that, nobody can settle.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.lists import listing
from worker.core.classify import Answer, ExchangeResult, NoAnswer
from worker.core.job_list import Listing, Unlisted

SETTLE_SECONDS = 300
"""A job is in every list after that, unless the list is late as a whole."""

DOCUMENTED = b'{"errors": [{"message": "Internal server error"}]}'


@dataclass(slots=True)
class Job:
    """A job in the book. ``video_id``: whose it really is, None if another program's; ``denied``:
    the worker was told by a documented 500 that there is none. ``ended``: its documented end, once
    it has one; ``lost``: the API knows it no more for now, ``was_lost``: it did so once;
    ``unknown_at``: when a 404 said so first.
    """

    job_id: str
    video_id: int | None
    request_id: str | None
    url: str
    made_at: float
    denied: bool = False
    status: str = "queued"
    ended: str | None = None
    lost: bool = False
    was_lost: bool = False
    unknown_at: float | None = None

    def become(self, status: str) -> None:
        """Go on to another status, unless it has ended; or be lost, or found again."""
        if status in {LOST, FOUND}:
            self.lost = status == LOST
            self.was_lost |= self.lost
        elif self.ended is None:
            self.status = status
            self.ended = status if status in ENDS else None


ENDS = {"finished", "error"}
LOST, FOUND = "lost", "found"
COURSE = ("on_hold", "processing", "Finished", "transcoding", *sorted(ENDS), LOST, FOUND)
"""What may become of a job; two of the words are in no documentation."""


@dataclass(frozen=True, slots=True)
class Say:
    """An answer as far as it does not name a job; status 0 is none at all."""

    status: int
    body: bytes = b""
    retry_after: str | None = None
    sent: bool = True

    def exchange(self, now: datetime) -> ExchangeResult:
        """Return the same as facts for the outcome table."""
        if not self.status:
            return NoAnswer("the connection broke", sent=self.sent)
        return Answer(
            status=self.status, body=self.body, received_at=now, retry_after=self.retry_after
        )


UNCLEAR = (
    Say(0),
    Say(200, b"{}"),
    Say(201, b'{"job_id": "'),
    Say(303),
    Say(408),
    Say(409),
    Say(500, b"<html>"),
    Say(502),
    Say(504),
    Say(999),
)
"""Answers after which a job may exist or not."""

DENIAL = Say(500, DOCUMENTED)
"""An answer that denies a job and may be wrong (worker/api/README.md, section 15)."""

CLEAR = (
    Say(0, sent=False),
    DENIAL,
    Say(503, DOCUMENTED),
    Say(503, b"", "20"),
    Say(400, b'{"errors": [{"message": "Invalid value"}]}'),
    Say(413),
    Say(401),
    Say(404),
    Say(425),
    Say(429, b"", "20"),
)
"""Answers after which there is none."""


def accepted(job_id: str) -> Say:
    """Return the answer that names a job."""
    return Say(200, json.dumps({"job_id": job_id}).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A list as the book shows it. ``late``: as it was so many seconds ago; ``first`` and
    ``last``: how many jobs are cut off at its ends; ``staggered``: young jobs come one by one;
    ``identified``: which jobs show their identifier; ``order``: a seed for their order;
    ``statuses``: each job shows its own.
    """

    late: float = 0
    first: int = 0
    last: int = 0
    staggered: bool = False
    identified: str = "all"
    addressed: bool = True
    order: int = 0
    sign: str | None = None
    failure: bool = False
    statuses: bool = True


WHOLE = Shown()


@dataclass(slots=True)
class Book:
    """Every job that the API made, oldest first."""

    jobs: list[Job] = field(default_factory=list)

    def make(self, video_id: int | None, request_id: str | None, url: str, now: float) -> Job:
        """Return one more job."""
        job = Job(f"job-{len(self.jobs) + 1}", video_id, request_id, url, now)
        self.jobs.append(job)
        return job

    def find(self, job_id: str) -> Job | None:
        """Return the job of this id."""
        return next((job for job in self.jobs if job.job_id == job_id), None)

    def of(self, video_id: int) -> list[Job]:
        """Return the jobs of a video."""
        return [job for job in self.jobs if job.video_id == video_id]

    def listed(self, shown: Shown, now: float) -> Listing | Unlisted:
        """Return the answer to ``list_jobs`` at ``now``, as the worker reads it."""
        if shown.failure:
            return Unlisted(reason="HTTP 502", lasting=False)
        jobs = [job for job in self.jobs if job.made_at <= now - shown.late and not job.lost]
        jobs = jobs[shown.first : len(jobs) - shown.last]
        if shown.staggered:
            young = now - SETTLE_SECONDS
            jobs = [j for n, j in enumerate(jobs) if j.made_at <= young or n % 2 == 0]
        jobs.sort(key=lambda job: hash((shown.order, int(job.job_id[4:]))) if shown.order else 0)
        read = listing(json.dumps(_document(jobs, shown, now)).encode())
        assert read is not None
        return read


def _document(jobs: Sequence[Job], shown: Shown, now: float) -> Mapping[str, object]:
    """Return a list in two arrays, an undocumented shape."""
    older = [_entry(job, shown, "finished") for job in jobs if now - job.made_at > SETTLE_SECONDS]
    young = [_entry(job, shown, "queued") for job in jobs if now - job.made_at <= SETTLE_SECONDS]
    more = {shown.sign: "more"} if shown.sign else {}
    return {"jobs": older, "queue": {"jobs": young}, **more}


def _entry(job: Job, shown: Shown, age: str) -> Mapping[str, object]:
    media: dict[str, object] = {}
    if job.request_id is not None and shown.identified in {"all", age}:
        media["customer_media_info"] = {"id": job.request_id}
    if shown.addressed:
        media["video"] = {"url": job.url}
    status = {"status": job.status} if shown.statuses else {}
    return {"job_id": job.job_id, **status, "media": media}
