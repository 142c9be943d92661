"""Log a run while it lasts. Decides nothing."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from worker.core.evidence import Absent, Found
from worker.core.job_list import Listing, Unlisted
from worker.core.model import (
    Accepted,
    Claim,
    CoolDown,
    Expired,
    Fact,
    Outcome,
    Released,
    Settlement,
)
from worker.core.reasons import ClaimResult, WaitReason
from worker.db.address import DatabaseProblem
from worker.db.database import refusal
from worker.log import Event, Log
from worker.runner.verdicts import JudgedDoubt
from worker.store.jobs import JobChange

Observe = Callable[[str, float], None]
"""Takes the fact of each attempt and its seconds; ``turn`` and its Unix time, for each turn of the
claim loop; ``database_transaction`` and its seconds.
"""

SAME_REASON_AGAIN = timedelta(hours=1)


class Reporter:
    """The report of one run."""

    def __init__(self, log: Log, observe: Observe = lambda *_: None) -> None:
        self.log = log
        self.observe = observe
        self._shape_is_logged = False
        self._database_works = True
        self._capped = False
        self._cooling = ""
        self._told: dict[str, datetime] = {}

    def ended(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        """Log the outcome of one attempt. On a full disk this line is the only record of it."""
        self.observe(outcome.fact, seconds)
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
            message=outcome.message,
        )

    def settled(self, settlement: Settlement) -> None:
        """Log a committed result whose claim was lost."""
        if settlement.written is None:
            self.lost(settlement.result.claim)

    def lost(self, claim: Claim) -> None:
        """Log a claim whose result changed no row."""
        self.log.warning(Event.CLAIM_LOST, video=claim.video_id, attempt=claim.attempt)

    def refused(self, video_id: int, why: str | None) -> None:
        """Log a row that was refused without a request, by its own values or its file."""
        self.log.warning(Event.VIDEO_REFUSED, video=video_id, message=why)

    def unwritable(self, video_id: int, why: str) -> None:
        """Log a row that the database refuses to write."""
        self.log.error(Event.VIDEO_REFUSED, video=video_id, message=why)

    def expired(self, expired: Expired) -> None:
        """Log a lease that ran out: another process, or an earlier run, left a doubt."""
        self.log.warning(
            Event.LEASE_EXPIRED,
            video=expired.video_id,
            attempt=expired.attempt,
            claimed_by=expired.claimed_by,
        )

    def must_wait(self, until: datetime) -> None:
        """Log that the list may not be asked for before ``until`` (UTC)."""
        self.log.warning(Event.LIST_WAITED_FOR, until=until.isoformat(" ", "seconds"))

    def reconciled(self, shown: Listing | Unlisted, judged: Sequence[JudgedDoubt]) -> None:
        """Log a list that was read, and the verdicts that were committed."""
        if isinstance(shown, Unlisted):
            self.log.warning(Event.LIST_READ, jobs=None, reason=shown.reason)
        else:
            verdicts = Counter(type(each.verdict).__name__ for each in judged)
            self.log.info(Event.LIST_READ, jobs=len(shown.entries), verdicts=dict(verdicts))
            if not self._shape_is_logged:
                self._shape_is_logged = True
                self.log.info(Event.LIST_SHAPE, shape=shown.shape, paged=shown.paged)
        for each in judged:
            self._log_verdict(each)

    def _log_verdict(self, judged: JudgedDoubt) -> None:
        doubt = judged.doubt
        match judged.verdict:
            case Found(job_id):
                self.log.info(Event.DOUBT_FOUND, video=doubt.video_id, job_id=job_id)
            case Absent():
                self.log.info(Event.DOUBT_ABSENT, video=doubt.video_id, attempt=doubt.attempt)

    def followed(self, change: JobChange) -> None:
        """Log a change of a job."""
        job, fact, message = change
        say = self.log.warning if fact in {Fact.JOB_ERROR, Fact.JOB_GONE} else self.log.info
        say(Event.JOB_CHANGED, video=job.video_id, job_id=job.job_id, fact=fact, message=message)

    def unanswered(self, reason: str, now: datetime) -> None:
        """Log why a question about a job has no answer, the same reason once an hour."""
        if self._is_new(reason, now):
            self.log.warning(Event.JOB_UNANSWERED, reason=reason)

    def unwritten(self, error: Exception, now: datetime) -> None:
        """Log why work beside the claims failed, the same reason once an hour."""
        if isinstance(error, DatabaseProblem):
            if self._is_new(str(error), now):
                self.database(error)
        elif self._is_new(reason := refusal(error), now):
            purpose = " ".join(getattr(error, "__notes__", ()))
            self.log.warning(Event.WRITE_REFUSED, purpose=purpose, reason=reason)

    def _is_new(self, reason: str, now: datetime) -> bool:
        """Return True unless the reason was told within the last hour."""
        self._told = {r: at for r, at in self._told.items() if now < at + SAME_REASON_AGAIN}
        is_new = reason not in self._told
        self._told.setdefault(reason, now)
        return is_new

    def cool_down(self, asked: CoolDown) -> None:
        """Log a pause of all processes."""
        seconds = round(asked.seconds, 1)
        self.log.warning(Event.COOL_DOWN, seconds=seconds, reason=asked.reason)

    def claimed(self, result: ClaimResult) -> None:
        """Log once that a cool-down or a cap holds all, the cap again only after a start."""
        if result.reason is WaitReason.COOL_DOWN and result.detail != self._cooling:
            self._cooling = result.detail
            self.log.warning(Event.COOL_DOWN, reason=result.detail)
        if result.reason is WaitReason.CAP and not result.submitting and not self._capped:
            self.log.warning(Event.CAP_REACHED, reason=result.detail)
            self._capped = True
        elif result.starts:
            self._capped = False

    def database(self, problem: DatabaseProblem | None) -> None:
        """Log once that the database stopped working, once that it works again."""
        if problem is not None and self._database_works:
            self.log.error(Event.DATABASE_TROUBLE, problem=str(problem))
        if problem is None and not self._database_works:
            self.log.warning(Event.DATABASE_WORKS)
        self._database_works = problem is None
