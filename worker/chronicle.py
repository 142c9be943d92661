"""What people get to know of a run while it lasts: log lines, and a tally. Decides nothing."""

from collections.abc import Callable

from worker.core.model import Accepted, Claim, Outcome, Released
from worker.core.redact import without_secrets
from worker.db import DatabaseProblem
from worker.log import Event, Log
from worker.orders import Tally
from worker.store.queue import Expired
from worker.turn import CoolDown, Settled


class Chronicle:
    """One run's story. ``watch`` is called after each change of the tally."""

    def __init__(self, log: Log, watch: Callable[[Tally], None]) -> None:
        self.log = log
        self.tally = Tally()
        self._watch = watch
        self._database_works = True

    def ended(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        """The closing line of an attempt; with a full disk it is the only copy."""
        fine = isinstance(outcome, Accepted | Released)
        (self.log.info if fine else self.log.warning)(
            Event.ATTEMPT_ENDED,
            video=claim.video_id,
            attempt=claim.attempt,
            outcome=outcome.fact,
            status=outcome.status,
            seconds=round(seconds, 3),
            request_id=claim.request_id,
            job_id=outcome.job_id if isinstance(outcome, Accepted) else None,
            message=_loggable(outcome.message, claim),
        )

    def settled(self, settled: Settled) -> None:
        """An attempt's ending is on disk."""
        if settled.transition is None:
            claim = settled.ending.claim
            self.log.warning(Event.CLAIM_LOST, video=claim.video_id, attempt=claim.attempt)
        self.tally.count(settled)
        self._watch(self.tally)

    def closed(self, settled: Settled) -> None:
        """A row was refused without a request."""
        claim, outcome = settled.ending.claim, settled.ending.outcome
        self.log.warning(Event.VIDEO_REFUSED, video=claim.video_id, message=outcome.message)
        self.tally.count(settled)
        self._watch(self.tally)

    def expired(self, expired: Expired) -> None:
        """A lease ran out: another process, or an earlier run, left a doubt."""
        self.log.warning(
            Event.LEASE_EXPIRED,
            video=expired.video_id,
            attempt=expired.attempt,
            claimed_by=expired.claimed_by,
        )
        self.tally.in_doubt += 1
        self._watch(self.tally)

    def cool_down(self, asked: CoolDown) -> None:
        """Everybody waits."""
        self.log.warning(Event.COOL_DOWN, seconds=round(asked.seconds, 1), reason=asked.reason)

    def database(self, problem: DatabaseProblem | None) -> None:
        """One line when the database stops working, one when it works again."""
        if problem is not None and self._database_works:
            self.log.error(Event.DATABASE_TROUBLE, problem=str(problem))
        if problem is None and not self._database_works:
            self.log.warning(Event.DATABASE_WORKS)
        self._database_works = problem is None


def _loggable(message: str | None, claim: Claim) -> str | None:
    """A message without the query strings of this row's links."""
    video = claim.video
    for link in (video.url, video.transcript_url, video.callback_url):
        if message and link:
            message = without_secrets(message, link)
    return message
