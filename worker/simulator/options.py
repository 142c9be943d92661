"""Hold the options of a simulator. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.simulator import faults, lists, lives, polls, results
from worker.simulator.limit import Change, Limit
from worker.simulator.lives import Span
from worker.simulator.upload_kinds import Uploading


@dataclass(frozen=True)
class Options:
    """The options of a simulator. Seed (for job ids) and book cannot change after its creation.

    Attributes:
        latency_seconds: Time that new_job takes to answer.
        failures: Kind of trouble -> share of the requests (0 to 1, in sum at most 1).
        script: Number of a new_job request, from 1 -> its kind; wins over `failures`.
        limit: Beyond it, 429 with Retry-After; a request answered 429 does not count.
        limit_changes: Later limits, timed from the first request.
        seed: Of dice and job ids.
        book: File of accepted jobs; with it job ids are random, so that a restart repeats none.
        listing: Kinds of list, all at once; by default it is complete.
        finished_share: Share of jobs (0 to 1) finished at once.
        finish_seconds: Age at which every job is finished.
        job_seconds: Life of a job, by dice; with it jobs pass through all statuses, and the book
            gets their ends. It takes the place of `finished_share` and `finish_seconds`.
        dead_hosts: Hosts, or buckets written HOST/BUCKET, from which nothing can be downloaded.
        job_failures: Kind of life -> share of the jobs.
        job_script: Number of an accepted job, from 1 -> its kind of life; wins over the others.
        poll_seconds: The poll_again_after_seconds of a job without end; None for null.
        status_failures: Kind of trouble of job_status -> share of its questions.
        result_failures: Kind of trouble of job_results -> share of its questions.
        results_delay_seconds: How long after a job's end its results answer an error.
        result_bytes: Least size of a job's `core` results.
        uploads: Those of uploads.

    A job's life is fixed when it is accepted or read from the book. Raises ValueError for an
    unknown kind or an impossible share.

    """

    keys: frozenset[str] = frozenset({"demo-key"})
    latency_seconds: float = 0.0
    failures: Mapping[str, float] = field(default_factory=dict)
    script: Mapping[int, str] = field(default_factory=dict)
    limit: Limit | None = None
    limit_changes: Sequence[Change] = ()
    seed: int = 0
    book: Path | None = None
    listing: Sequence[str] = ()
    list_delay_seconds: float = 0.0
    finished_share: float = 0.0
    finish_seconds: float | None = None
    job_seconds: Span | None = None
    dead_hosts: frozenset[str] = frozenset()
    job_failures: Mapping[str, float] = field(default_factory=dict)
    job_script: Mapping[int, str] = field(default_factory=dict)
    poll_seconds: int | None = 30
    status_failures: Mapping[str, float] = field(default_factory=dict)
    result_failures: Mapping[str, float] = field(default_factory=dict)
    results_delay_seconds: float = 0.0
    result_bytes: int = 0
    uploads: Uploading = field(default_factory=Uploading)

    def __post_init__(self) -> None:
        for check, kinds in (
            (faults.check_kind, (*self.failures, *self.script.values())),
            (lists.check_kind, self.listing),
            (lives.check_job_kind, (*self.job_failures, *self.job_script.values())),
            (polls.check_kind, self.status_failures),
            (results.check_kind, self.result_failures),
        ):
            for kind in kinds:
                check(kind)
        faults.check_share(self.finished_share)
        for shares in (
            *(self.failures, self.job_failures),
            *(self.status_failures, self.result_failures),
        ):
            for share in shares.values():
                faults.check_share(share)
            faults.check_share(round(math.fsum(shares.values()), 9))
        if self.job_seconds is None and (self.dead_hosts or self.job_failures or self.job_script):
            raise ValueError(
                "without their duration jobs never end; say how long they take, such as 20 or 10-30"
            )
