"""``reconcile``: doubts settled by the API's list, now."""

import argparse
from collections.abc import Mapping, Sequence

from worker.cli import exits, output
from worker.cli.listed import ask_listed, no_list
from worker.core.evidence import Absent, Found
from worker.core.job_list import Listing, Unlisted
from worker.db.database import Database
from worker.runner.reconciler import Reconciled, Reconciler
from worker.runner.verdicts import JudgedDoubt, next_list_at
from worker.settings_sources import Loaded, read_key

COLUMNS = ("id", "verdict", "job_id", "reason")


def reconcile(args: argparse.Namespace, loaded: Loaded, environment: Mapping[str, str]) -> int:
    """Ask once, and settle what the list proves; ``--dry-run`` only says what that would be."""

    async def settle(reconciler: Reconciler, database: Database) -> Reconciled | None:
        if await database.read(lambda c: next_list_at(c, database.now())) is None:
            return None
        return await (reconciler.examine() if args.dry_run else reconciler.settle())

    def tell(done: Reconciled | None) -> int:
        if args.json:
            output.document(_document(done))
        elif done is None:
            print("nothing is in doubt, so the API was not asked")
        else:
            _print(done.judged, dry=args.dry_run)
        if done and isinstance(done.shown, Unlisted):
            return no_list(done.shown)
        left = done is not None and any(finding.resolvable for finding in done.judged)
        return exits.PROBLEMS if left else exits.OK

    return ask_listed(loaded, read_key(environment), settle, tell)


def _document(done: Reconciled | None) -> dict[str, object]:
    listed = done.shown if done and isinstance(done.shown, Listing) else None
    findings = done.judged if done else ()
    return {
        "asked": done is not None,
        "jobs": listed and len(listed.entries),
        "findings": [dict(zip(COLUMNS, _row(finding), strict=True)) for finding in findings],
    }


def _print(findings: Sequence[JudgedDoubt], *, dry: bool) -> None:
    output.table(COLUMNS, map(_row, findings))
    settled = sum(1 for finding in findings if finding.resolvable is None)
    print(f"\n{settled} of {len(findings)} {'could be settled' if dry else 'settled'}")


def _row(finding: JudgedDoubt) -> Sequence[object]:
    match finding.verdict:
        case Found(job_id):
            return (finding.doubt.video_id, "found", job_id, None)
        case Absent():
            return (finding.doubt.video_id, "absent", None, "the API has no job of it")
        case undecided:
            return (finding.doubt.video_id, "in doubt", None, undecided.reason)
