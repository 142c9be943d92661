"""Turn a claimed video and its outcome into the next transition. Knows no table."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from worker.core.backoff import backoff
from worker.core.model import (
    Accepted,
    AccountRefused,
    Claim,
    ClaimStatus,
    InDoubt,
    Invalid,
    NotSent,
    Outcome,
    Refused,
    Released,
    Throttled,
    Transition,
    TryLater,
    WrongAddress,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings about repeating; times in seconds."""

    max_attempts: int
    backoff_base_seconds: float
    backoff_max_seconds: float

    def wait(self, attempt: int, dice: float) -> timedelta:
        """Return the backoff after the ``attempt``-th spent attempt."""
        return timedelta(
            seconds=backoff(attempt, dice, self.backoff_base_seconds, self.backoff_max_seconds)
        )


def decide(
    claim: Claim, outcome: Outcome, status: ClaimStatus, now: datetime, dice: float, policy: Policy
) -> Transition:
    """Return the transition of ``claim``'s video at ``now`` (UTC). ``dice``: a roll from 0 to 1."""
    transition = _without_a_job(claim, outcome, status, now, dice, policy)
    return transition if status.job_id is None else _keep(transition, outcome, status.job_id)


def _without_a_job(
    claim: Claim, outcome: Outcome, status: ClaimStatus, now: datetime, dice: float, policy: Policy
) -> Transition:
    spent = claim.attempts + 1
    match outcome:
        case Accepted(job_id) if status.holder is None:
            return Transition.submit(job_id)
        case Accepted(job_id):
            holder = f"which video {status.holder} holds already"
            return Transition.park(f"the API answered with job {job_id}, {holder}")
        case InDoubt(message):
            return Transition.park(message)
        case Refused(message):
            return _close(Transition.fail(message), status)
        case Invalid(message):
            return _close(Transition.reject(message), status)
        case TryLater(message, spent=True) if spent < policy.max_attempts:
            return Transition.retry(message, now + policy.wait(spent, dice))
        case TryLater(message, spent=True):
            last = f"{message} (attempt {spent}, the last one allowed)"
            return _close(Transition.fail(last), status)
        case Throttled() | TryLater() | AccountRefused() | WrongAddress() | NotSent():
            return Transition.postpone(outcome.message, now + policy.wait(1, dice))
        case Released():
            return Transition.release()
        case _:
            assert_never(outcome)


def _keep(transition: Transition, outcome: Outcome, job_id: str) -> Transition:
    """Return ``submitted`` for a video that has a job, whatever a later attempt ended in."""
    note = None
    if isinstance(outcome, Accepted) and outcome.job_id != job_id:
        note = f"bought twice: job {outcome.job_id} was made as well"
    return Transition.submit(job_id, note, spent=transition.spent)


def _close(transition: Transition, status: ClaimStatus) -> Transition:
    """Return the failure, or a doubt while an earlier attempt is in doubt (law 5)."""
    if not status.in_doubt:
        return transition
    why = f"an earlier attempt is still in doubt; the last one ended in: {transition.error}"
    return Transition.park(why, spent=transition.spent)
