"""``follow``: jobs asked about until they have ended."""

import sys
from datetime import timedelta

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import Session, open_to_change
from worker.core.following import NoStatus
from worker.core.job_list import Unlisted
from worker.core.model import Fact
from worker.runner.follower import Follower
from worker.store import jobs
from worker.store.jobs import JobChange, JobCounts

PATIENCE = timedelta(minutes=10)
"""While no question about a job that is left is answered."""

SHORT_WAIT = timedelta(seconds=10)
"""A longer one is said on a terminal."""

IN_VAIN = (
    "no question about the {} jobs that are left was answered for 10 minutes; valossa-ingest check "
    "--online says whether key and address are right, valossa-ingest follow goes on"
)


def follow(call: Invocation) -> int:
    """Print each change, until only jobs are left that are overdue, or about which no question is
    answered; with ``--once``, ask once.
    """
    key, as_json = call.key(), call.args.json
    with open_to_change(call.settings) as session:
        follower = session.follower(key, lambda change: _print(change, as_json=as_json))
        refused = _ask(session, follower, once=call.args.once)
        counts = _counts(session)
    ended = counts.ended | {"open": counts.open, "overdue": counts.overdue}
    if as_json:
        output.document({**ended, "for_nothing": counts.for_nothing})
    else:
        output.pairs({**ended, "spent for nothing": counts.for_nothing})
    if refused is not None:
        return exits.KEY if refused is Fact.ACCOUNT_REFUSED else exits.CONFIG
    if counts.for_nothing or counts.overdue or (counts.open and not call.args.once):
        return exits.PROBLEMS
    return exits.LATER if counts.open else exits.OK


def _counts(session: Session) -> JobCounts:
    return session.read(lambda connection, _: jobs.counts(connection))


def _ask(session: Session, follower: Follower, *, once: bool) -> Fact | None:
    """Ask until all have ended. Return the refusal of the key or the address, None without one."""
    limiter, clock = follower.reconciler.limiter, follower.reconciler.transaction.clock
    told, answered_at, said_at = "", clock.now(), clock.now()
    while (counts := _counts(session)).open > counts.overdue:
        if session.read(lambda connection, _: jobs.is_any_answered(connection)):
            answered_at = clock.now()
        elif clock.now() >= answered_at + PATIENCE:
            exits.complain([IN_VAIN.format(counts.open - counts.overdue)])
            break
        said, again_at = session.run(follower.ask())
        if isinstance(said, NoStatus | Unlisted) and said.reason != told:
            told = said.reason
            exits.complain([told])
        if isinstance(said, NoStatus) and said.refused is not None:
            return said.refused
        if once:
            break
        asks_at = max(again_at, session.read(lambda c, _: jobs.next_at(c)) or again_at)
        if sys.stderr.isatty() and asks_at > max(said_at, clock.now() + SHORT_WAIT):
            exits.complain([f"{counts.open} open, to be asked about at {output.text(asks_at)} UTC"])
            said_at = asks_at
        session.run(limiter.wait_until(clock.until(again_at)))
    return None


def _print(change: JobChange, *, as_json: bool) -> None:
    job, fact, message = change
    words = fact.removeprefix("job_") if message is None or fact is not Fact.JOB_STATUS else message
    more = f": {message}" if message and fact is not Fact.JOB_STATUS else ""
    output.paragraph(
        f"video {job.video_id}, job {job.job_id}: {words}{more}",
        file=sys.stderr if as_json else None,
    )
