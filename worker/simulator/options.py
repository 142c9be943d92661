"""What a simulator is told to do. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.simulator import faults, lists
from worker.simulator.limit import Change, Limit


@dataclass(frozen=True)
class Options:
    """What a simulator is told to do. Raises ValueError for kinds and shares that make no sense.

    `keys`: the keys it takes. `latency_seconds`: how long new_job takes to answer. `failures`:
    kind of trouble -> share of the requests (0 to 1, in sum at most 1). `script`: the n-th new_job
    request since the start, from 1, -> its kind; wins over `failures`. `limit`: beyond it, 429
    with Retry-After; requests answered 429 do not count against it. `limit_changes`: what it is
    later, counted from the first request on. `seed`: of dice and job ids.
    `book`: the file of accepted jobs; job ids are then random, so that a restart repeats none.
    `listing`: the kinds of list that list_jobs shows, all at once; none is a whole one.
    `list_delay_seconds`: how long a new job is missing from it (valossa-api.md, section 15, line
    6). `finished_share`: of the jobs, this share (0 to 1) is finished at once, `finish_seconds`:
    and every job is at that age; the others wait in the queue. Seed (for job ids) and book count
    as they were when the simulator was made.
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

    def __post_init__(self) -> None:
        for kind in (*self.failures, *self.script.values()):
            faults.check_kind(kind)
        for kind in self.listing:
            lists.check_kind(kind)
        for share in (*self.failures.values(), self.finished_share):
            faults.check_share(share)
        faults.check_share(round(math.fsum(self.failures.values()), 9))
