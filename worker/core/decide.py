"""A claimed video and its outcome as the next transition. Knows nothing of how that is stored."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from worker.core.backoff import backoff
from worker.core.model import (
    Accepted,
    AccountRefused,
    Claim,
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
    """What the settings say about repeating; times in seconds."""

    max_attempts: int
    backoff_base_seconds: float
    backoff_max_seconds: float

    def wait(self, attempt: int, dice: float) -> timedelta:
        """The backoff after the ``attempt``-th spent attempt."""
        return timedelta(
            seconds=backoff(attempt, dice, self.backoff_base_seconds, self.backoff_max_seconds)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the table knows beside the claim: whether an earlier attempt is still in ``doubt`` (law
    5), the other video that is ``holder`` of the job id that came, and the ``job_id`` that a late
    answer of an earlier attempt has brought meanwhile (law 6).
    """

    doubt: bool = False
    holder: int | None = None
    job_id: str | None = None


def decide(
    claim: Claim,
    outcome: Outcome,
    around: Circumstances,
    now: datetime,
    dice: float,
    policy: Policy,
) -> Transition:
    """The transition of ``claim``'s video at ``now`` (UTC). ``dice``: a roll from 0 to 1."""
    ending = _without_a_job(claim, outcome, around, now, dice, policy)
    return ending if around.job_id is None else _keep(ending, outcome, around.job_id)


def _without_a_job(
    claim: Claim,
    outcome: Outcome,
    around: Circumstances,
    now: datetime,
    dice: float,
    policy: Policy,
) -> Transition:
    """What the outcome alone makes of the video."""
    match outcome:
        case Accepted():
            return _accept(outcome, around)
        case InDoubt(message):
            return Transition.park(message)
        case Refused(message):
            return _close(Transition.fail(message), around)
        case Invalid(message):
            return _close(Transition.reject(message), around)
        case TryLater(message, spent=True):
            return _try_later(claim, message, around, now, dice, policy)
        case Throttled() | TryLater() | AccountRefused() | WrongAddress() | NotSent():
            return Transition.postpone(outcome.message, now + policy.wait(1, dice))
        case Released():
            return Transition.release()
        case _:
            assert_never(outcome)


def _keep(ending: Transition, outcome: Outcome, job_id: str) -> Transition:
    """A video that has a job is submitted, whatever a further attempt ended in."""
    note = None
    if isinstance(outcome, Accepted) and outcome.job_id != job_id:
        note = f"bought twice: job {outcome.job_id} was made as well"
    return Transition.submit(job_id, note, spent=ending.spent)


def _accept(outcome: Accepted, around: Circumstances) -> Transition:
    if around.holder is None:
        return Transition.submit(outcome.job_id)
    return Transition.park(
        f"the API answered with job {outcome.job_id}, which video {around.holder} holds already"
    )


def _try_later(
    claim: Claim,
    message: str,
    around: Circumstances,
    now: datetime,
    dice: float,
    policy: Policy,
) -> Transition:
    spent = claim.attempts + 1
    if spent < policy.max_attempts:
        return Transition.retry(message, now + policy.wait(spent, dice))
    return _close(Transition.fail(f"{message} (attempt {spent}, the last one allowed)"), around)


def _close(ending: Transition, around: Circumstances) -> Transition:
    """A failure, unless an earlier attempt is still in doubt: then the doubt stays (law 5)."""
    if not around.doubt:
        return ending
    why = f"an earlier attempt is still in doubt; the last one ended in: {ending.error}"
    return Transition.park(why, spent=ending.spent)
