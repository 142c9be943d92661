"""``reconcile``: doubts settled by the API's list, now."""

import argparse
from collections.abc import Mapping, Sequence

from worker.cli import exits, output
from worker.cli.session import open_to_change
from worker.core.evidence import Absent, Found
from worker.core.job_list import Listing, Unlisted
from worker.runner.reconciler import Reconciled
from worker.runner.verdicts import JudgedDoubt, next_list_at
from worker.settings_sources import Loaded, read_key

COLUMNS = ("id", "verdict", "job_id", "reason")


def reconcile(args: argparse.Namespace, loaded: Loaded, environment: Mapping[str, str]) -> int:
    """Ask once, and settle what the list proves; ``--dry-run`` only prints it."""
    key, done = read_key(environment), None
    with open_to_change(loaded) as session:
        if session.read(next_list_at) is not None:
            reconciler = session.reconciler(key)
            done = session.run(reconciler.examine() if args.dry_run else reconciler.settle())
    findings = done.judged if done else ()
    if args.json:
        output.document(_document(done))
    elif done is None:
        print("nothing is in doubt, so the API was not asked")
    else:
        output.table(COLUMNS, map(_row, findings))
        settled = sum(finding.resolvable is None for finding in findings)
        dry = "could be settled" if args.dry_run else "settled"
        print(f"\n{settled} of {len(findings)} {dry}")
    if done and isinstance(done.shown, Unlisted):
        return exits.no_list(done.shown.reason)
    return exits.PROBLEMS if any(finding.resolvable for finding in findings) else exits.OK


def _document(done: Reconciled | None) -> dict[str, object]:
    listed = done.shown if done and isinstance(done.shown, Listing) else None
    return {
        "asked": done is not None,
        "jobs": listed and len(listed.entries),
        "findings": output.objects(COLUMNS, map(_row, done.judged if done else ())),
    }


def _row(finding: JudgedDoubt) -> Sequence[object]:
    match finding.verdict:
        case Found(job_id):
            return (finding.doubt.video_id, "found", job_id, None)
        case Absent():
            return (finding.doubt.video_id, "absent", None, "the API has no job of it")
        case undecided:
            return (finding.doubt.video_id, "in doubt", None, undecided.reason)
