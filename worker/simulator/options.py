"""Hold the options of a simulator. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.simulator import faults, lists
from worker.simulator.limit import Change, Limit
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
        uploads: Those of uploads.

    Raises ValueError for an unknown kind or an impossible share.

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
    uploads: Uploading = field(default_factory=Uploading)

    def __post_init__(self) -> None:
        for kind in (*self.failures, *self.script.values()):
            faults.check_kind(kind)
        for kind in self.listing:
            lists.check_kind(kind)
        for share in (*self.failures.values(), self.finished_share):
            faults.check_share(share)
        faults.check_share(round(math.fsum(self.failures.values()), 9))
