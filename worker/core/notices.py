"""Decide when a person is notified of a queue, and why. Sends nothing."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from worker.core.model import Fact
from worker.core.verdict import Facts, VerdictState

QUIET_SECONDS = 15 * 60.0
"""Between two notices for the same reason."""


class Notice(StrEnum):
    """The reasons to notify a person, the most urgent first."""

    KEY = "key"
    ADDRESS = "address"
    STALLED = "stalled"
    WORKER_SILENT = "worker_silent"
    DOUBTS = "doubts"
    HELD_HOST = "held_host"
    OVERDUE = "overdue"
    UPLOADS = "uploads"
    FAILED = "failed"
    SPENT = "spent_for_nothing"
    DRAIN_FAILED = "drain_failed"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The notices so far: the open troubles, and when each reason was told last (Unix time)."""

    open: frozenset[str] = frozenset()
    at: Mapping[str, float] = field(default_factory=dict)


def needs(facts: Facts) -> dict[str, float]:
    """Return how much of each kind needs a person."""
    refusal = facts.refusal and facts.refusal.fact
    return {
        Notice.KEY: refusal is Fact.ACCOUNT_REFUSED,
        Notice.ADDRESS: refusal is Fact.WRONG_ADDRESS,
        Notice.WORKER_SILENT: len(facts.silent),
        Notice.DOUBTS: facts.for_person,
        Notice.HELD_HOST: len(facts.hosts),
        Notice.OVERDUE: facts.overdue,
        Notice.UPLOADS: facts.homeless or facts.stuck_cause is not None,
        Notice.FAILED: facts.failed,
    }


def troubles(state: VerdictState, facts: Facts | None, known: AbstractSet[str]) -> AbstractSet[str]:
    """Return the troubles; without a worker the ``known`` ones, since nothing ends or begins.
    ``facts`` is None if the database cannot be read.
    """
    if state is VerdictState.NOT_RUNNING:
        return known
    if state is VerdictState.NEEDS_PERSON and facts:
        return {kind for kind, number in needs(facts).items() if number}
    return {Notice.STALLED, *known} if state is VerdictState.STALLED else set()


def tell(
    told: Told,
    found: AbstractSet[str],
    now: datetime,
    *,
    drain_failed: bool,
    wasted_at: datetime | None = None,
) -> tuple[Told, list[Notice]]:
    """Return the record at ``now``, and the reasons to notify now; often none. A trouble that comes
    back too soon, or the end of the last one, is told later if it lasts. ``wasted_at``: when the
    last end in error was written.
    """
    moment = now.timestamp()
    quiet = {reason for reason, at in told.at.items() if abs(moment - at) < QUIET_SECONDS}
    new = found - told.open - quiet
    over: set[str] = {Notice.RESOLVED} if told.open and not found else set()
    ended: set[str] = {Notice.DRAIN_FAILED} if drain_failed else set()
    if wasted_at is not None and wasted_at.timestamp() > told.at.get(Notice.SPENT, 0):
        ended.add(Notice.SPENT)
    reasons = new | ((over | ended) - quiet)
    left = told.open if over & quiet else (told.open & found) | new
    record = Told(open=frozenset(left), at={**told.at, **dict.fromkeys(reasons, moment)})
    return record, [reason for reason in Notice if reason in reasons]


def spent(jobs: int, host: str | None, details: str | None) -> str:
    """Return the sentence on jobs that ended in error within a day; the words of the first one."""
    of_host = f" of {host}" if host else ""
    first = f"the first{of_host}: {details or 'the API gives no reason'}"
    ended = "1 job ended in error within a day and was" if jobs == 1 else ""
    ended = ended or f"{jobs} jobs ended in error within a day and were"
    return f"{ended} paid for nothing, {first}; valossa-ingest list --job-status error names them"
