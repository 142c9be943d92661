"""``reconcile``: doubts settled by the API's list, now."""

from collections.abc import Sequence

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_change
from worker.core.evidence import Absent, Found
from worker.core.job_list import Listing, Unlisted
from worker.runner.verdicts import JudgedDoubt, next_list_at
from worker.store import leases

COLUMNS = ("id", "verdict", "job_id", "reason")


def reconcile(call: Invocation) -> int:
    """Ask once, and settle what the list proves; ``--dry-run`` only prints it."""
    args, key, done = call.args, call.key(), None
    with open_to_change(call.settings) as session:
        reconciler = session.reconciler(key)
        if not args.dry_run:
            session.run(reconciler.expire())
        lapsed = session.read(leases.lapsed)
        if session.read(next_list_at) is not None:
            done = session.run(reconciler.examine() if args.dry_run else reconciler.settle())
    findings, shown = (done.judged, done.shown) if done else ((), None)
    if args.json:
        jobs = len(shown.entries) if isinstance(shown, Listing) else None
        rows = output.objects(COLUMNS, map(_row, findings))
        output.document({"asked": done is not None, "jobs": jobs, "findings": rows})
    elif done is None:
        output.paragraph("nothing is in doubt, so the API was not asked")
    else:
        output.table(COLUMNS, map(_row, findings))
        settled = sum(finding.resolvable is None for finding in findings)
        dry = "could be settled" if args.dry_run else "settled"
        output.line(f"\n{settled} of {len(findings)} {dry}")
    if isinstance(shown, Unlisted):
        return exits.no_list(shown.reason)
    if lapsed:
        told = f"in flight, with a lease that has run out: {len(lapsed)}"
        ends = "without --dry-run they come into doubt first"
        return exits.complain([f"{told}; {ends}"], exits.PROBLEMS)
    return exits.PROBLEMS if any(finding.resolvable for finding in findings) else exits.OK


def _row(finding: JudgedDoubt) -> Sequence[object]:
    match finding.verdict:
        case Found(job_id):
            return (finding.doubt.video_id, "found", job_id, None)
        case Absent():
            return (finding.doubt.video_id, "absent", None, "the API has no job of it")
        case undecided:
            return (finding.doubt.video_id, "in doubt", None, undecided.reason)
