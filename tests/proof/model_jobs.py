"""Jobs in the model test: the questions of workers about them, step by step, and law 15.

A question is the product's own. It stops before each transaction and at the API, so that anything
can happen between two steps, and its worker can die at each.
"""

import json
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tests.parts import listener
from tests.proof.model import Book, Job, Say
from tests.proof.model_hosts import transfer
from tests.proof.model_laws import Found
from worker.core.classify import Answer, job_answer
from worker.core.following import GONE_AFTER, JobStatus, NoStatus
from worker.core.job_list import Listing, Unlisted
from worker.core.run_state import RunState
from worker.runner.follower import Follower
from worker.runner.limiter import Limiter
from worker.runner.reconciler import Reconciler
from worker.runner.reporter import Reporter
from worker.runner.transaction import QueueTransaction

UNKNOWN = b'{"errors": [{"message": "Job not found"}]}'

SILENCE: Mapping[str, Say] = {
    "broken": Say(0),
    "page": Say(404, b"<html>"),
    "unknown": Say(404, UNKNOWN),
    "error": Say(500, UNKNOWN),
    "busy": Say(429, b"", "20"),
    "refused": Say(401, UNKNOWN),
    "empty": Say(200, b"{}"),
    "a list": Say(200, b'[{"status": "finished"}]'),
}
"""Answers of job_status that tell nothing of the job, or that it is not there."""

WORDS = ("truth", "truth", "truth", *SILENCE)


@dataclass(frozen=True, slots=True)
class Stop:
    """A step of a question: a transaction of this purpose, or the API's answer about a job, or all
    of them.
    """

    purpose: str
    job_id: str | None = None

    def __await__(self) -> Generator["Stop", Any, Any]:
        """Return what the model sends."""
        return (yield self)


STATUS, LIST = "status", "list"


class _Api:
    """The API as a question sees it."""

    async def job_status(self, job_id: str) -> JobStatus | NoStatus:
        said: JobStatus | NoStatus = await Stop(STATUS, job_id)
        return said

    async def list_jobs(self) -> Listing | Unlisted:
        said: Listing | Unlisted = await Stop(LIST)
        return said


class Question:
    """One question in a worker's hands. ``stop``: its next step, None when it is over."""

    def __init__(
        self,
        transaction: QueueTransaction,
        transact: Callable[[Callable[[Connection], object]], object],
    ) -> None:
        async def write(work: Callable[[Connection], Any], purpose: str) -> Any:  # noqa: ANN401 - what the work returns
            await Stop(purpose)
            return transact(work)

        reconciler = Reconciler(
            api=_Api(),  # type: ignore[arg-type]
            limiter=Limiter(rate=1, period_seconds=1, monotonic=transaction.clock.monotonic),
            write=write,
            transaction=transaction,
            state=RunState(began_at=transaction.clock.monotonic()),
            reporter=Reporter(listener()[0]),
        )
        self._steps: Coroutine[Stop, Any, object] = Follower(reconciler, lambda _: None).ask()
        self.stop: Stop | None = None
        self.step(None)

    def step(self, said: object) -> None:
        """Take the next step, with the API's answer where it is that."""
        try:
            self.stop = self._steps.send(said)
        except StopIteration:
            self.stop = None

    def die(self) -> None:
        """End with the process."""
        self._steps.close()
        self.stop = None


def told(job: Job | None, word: str, now: datetime, seconds: float) -> JobStatus | NoStatus:
    """Return the answer about a job, None if there is none, as the worker reads it."""
    if word == "truth" and job is not None and not job.lost:
        details = "it failed" if job.status == "error" else None
        body = {"job_id": job.job_id, "status": job.status, "details": details}
        body["media_transfer_status"] = transfer(job)
        say = Say(200, json.dumps(body).encode())
    else:
        say = SILENCE["unknown" if word == "truth" else word]
    if say is SILENCE["unknown"] and job is not None and job.unknown_at is None:
        job.unknown_at = seconds
    exchange, job_id = say.exchange(now), job.job_id if job else ""
    return (
        job_answer(exchange, job_id)
        if isinstance(exchange, Answer)
        else NoStatus(reason="it broke")
    )


def misread(
    jobs: Sequence[Found],
    rows: Sequence[Found],
    book: Book,
    seen: dict[str, str],
    now: float | None,
) -> Iterator[str]:
    """Yield each end that none of the API's words was, each that was taken back, and each job that
    nobody follows. ``seen``: the ends so far; ``now``: None where the wall clock was set.
    """
    followed = {row["job_id"] for row in jobs}
    for row in rows:
        if row["job_id"] is not None and row["job_id"] not in followed:
            yield f"law 15: nobody follows {row['job_id']}"
    for row in jobs:
        job_id, end, job = row["job_id"], row["ended_as"], book.find(row["job_id"])
        if job_id in seen and end != seen[job_id]:
            yield f"law 15: {job_id} was {seen[job_id]} and is {end}"
        if end is None:
            continue
        seen[job_id] = end
        if end == "gone":
            yield from _alive(job, now)
        elif job is None or job.ended != end:
            yield f"law 15: {job_id} is said to be {end}, but the API has it as {job}"


def _alive(job: Job | None, now: float | None) -> Iterator[str]:
    if now is None or job is None:
        return
    if not job.was_lost:
        yield f"law 15: {job.job_id} is said to be gone, and was never lost"
    hour = GONE_AFTER.total_seconds()
    if job.unknown_at is None or now - job.unknown_at < hour:
        yield f"law 15: {job.job_id} is said to be gone within an hour"
