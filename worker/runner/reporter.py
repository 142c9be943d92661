"""What people get to know of a run while it lasts: log lines, and a tally. Decides nothing."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from worker.core.evidence import Absent, Ambiguous, Found
from worker.core.job_list import Listing, Unlisted
from worker.core.model import Accepted, Claim, Expired, Outcome, Released, State
from worker.core.redact import without_secrets
from worker.db.database import DatabaseProblem
from worker.log import Event, Log
from worker.runner.orders import Counts
from worker.runner.terms import ClaimResult, CoolDown, Settled, WaitReason
from worker.runner.verdicts import JudgedDoubt


class Reporter:
    """One run's story. ``watch`` is called after each change of the tally; ``doubts`` are the
    videos that this run has left in doubt so far.
    """

    def __init__(self, log: Log, watch: Callable[[Counts], None]) -> None:
        self.log = log
        self.counts = Counts()
        self.doubts: set[int] = set()
        self._watch = watch
        self._shape_told = False
        self._database_works = True
        self._capped = False

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
        elif settled.transition.state is State.IN_DOUBT:
            self.doubts.add(settled.ending.claim.video_id)
        else:
            self.doubts.discard(settled.ending.claim.video_id)
        self.counts.count(settled)
        self._watch(self.counts)

    def closed(self, settled: Settled) -> None:
        """A row was refused without a request."""
        claim, outcome = settled.ending.claim, settled.ending.outcome
        self.log.warning(Event.VIDEO_REFUSED, video=claim.video_id, message=outcome.message)
        self.counts.count(settled)
        self._watch(self.counts)

    def expired(self, expired: Expired) -> None:
        """A lease ran out: another process, or an earlier run, left a doubt."""
        self.log.warning(
            Event.LEASE_EXPIRED,
            video=expired.video_id,
            attempt=expired.attempt,
            claimed_by=expired.claimed_by,
        )
        self.doubts.add(expired.video_id)
        self.counts.in_doubt += 1
        self._watch(self.counts)

    def must_wait(self, until: datetime) -> None:
        """The list may not be asked for before then (UTC): in a cool-down, maybe for hours."""
        self.log.warning(Event.LIST_WAITED_FOR, until=until.isoformat(" ", "seconds"))

    def reconciled(self, shown: Listing | Unlisted, findings: Sequence[JudgedDoubt]) -> None:
        """A list was read, and what it proves is on disk."""
        self._tell_list(shown, findings)
        for finding in findings:
            self._tell_finding(finding)
        self._watch(self.counts)

    def _tell_list(self, shown: Listing | Unlisted, findings: Sequence[JudgedDoubt]) -> None:
        verdicts = Counter(type(finding.verdict).__name__ for finding in findings)
        if isinstance(shown, Unlisted):
            self.log.warning(Event.LIST_READ, jobs=None, reason=shown.reason)
            return
        self.log.info(Event.LIST_READ, jobs=len(shown.entries), verdicts=dict(verdicts))
        if not self._shape_told:
            self._shape_told = True
            self.log.info(Event.LIST_SHAPE, shape=shown.shape, paged=shown.paged)

    def _tell_finding(self, finding: JudgedDoubt) -> None:
        doubt, verdict = finding.doubt, finding.verdict
        own = doubt.video_id in self.doubts
        match verdict:
            case Found(job_id):
                self.log.info(Event.DOUBT_FOUND, video=doubt.video_id, job_id=job_id)
                self.counts.submitted += 1
            case Absent():
                self.log.info(Event.DOUBT_ABSENT, video=doubt.video_id, attempt=doubt.attempt)
            case Ambiguous() if finding.is_recheck:
                self.doubts.add(doubt.video_id)
                self.counts.in_doubt += 1
        if own and finding.hope is None:
            self.doubts.discard(doubt.video_id)
            self.counts.in_doubt -= 1

    def cool_down(self, asked: CoolDown) -> None:
        """Everybody waits."""
        self.log.warning(Event.COOL_DOWN, seconds=round(asked.seconds, 1), reason=asked.reason)

    def turned(self, turn: ClaimResult) -> None:
        """One line when a cap begins to hold everybody, the next when it does so after a start."""
        if turn.why is WaitReason.CAP and not turn.submitting and not self._capped:
            self.log.warning(Event.CAP_REACHED, reason=turn.detail)
            self._capped = True
        elif turn.starts:
            self._capped = False

    def database(self, problem: DatabaseProblem | None) -> None:
        """One line when the database stops working, one when it works again."""
        if problem is not None and self._database_works:
            self.log.error(Event.DATABASE_TROUBLE, problem=str(problem))
        if problem is None and not self._database_works:
            self.log.warning(Event.DATABASE_WORKS)
        self._database_works = problem is None


def _loggable(message: str | None, claim: Claim) -> str | None:
    """A message without the query strings of this row's links."""
    if message is None:
        return None
    video = claim.video
    for link in filter(None, (video.url, video.transcript_url, video.callback_url)):
        message = without_secrets(message, link)
    return message
