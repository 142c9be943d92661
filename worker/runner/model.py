"""The values that one run hands out: what a transaction committed, and how the run ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.core.model import Claim, Expired, Outcome, Result, Settlement
from worker.core.reasons import ClaimResult, Stop
from worker.core.run_state import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The work of one transaction, reported to no one before it is on disk. ``settled`` are the
    results that it was given, in their order, without those ``held``, whose rows another program
    holds; ``closed`` are rows refused without a request.
    """

    settled: Sequence[Settlement]
    closed: Sequence[Settlement]
    expired: Sequence[Expired]
    claimed: ClaimResult
    held: Sequence[Result] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The end of a run. ``last``: its last request, None if it made none."""

    stop: Stop
    counts: Counts
    last: tuple[Claim, Outcome] | None = field(default=None, compare=False)
